"""Sentences that a class name fills, as ViT-Lens uses them; ``{c}`` is the class. Sources stand beside each list."""

from __future__ import annotations

from itertools import product

__all__ = ["MODELNET40_64", "SCENES_19", "SOUND_AS_IMAGE_12"]

_AGAIN = ("a", "the")
_LOOKS = (
    "good", "bad", "bright", "dark", "low resolution", "cropped", "close-up", "jpeg corrupted", "blurry", "pixelated",
)  # fmt: skip
_THINGS = ("nice", "cool", "weird", "small", "large", "clean", "dirty", "hard to see")
_MADE = ("plastic", "toy", "plushie", "cartoon")

MODELNET40_64 = (  # ULIP (BSD-3-Clause), most of them CLIP's for ImageNet (MIT)
    "a point cloud model of {c}.",
    "a black and white photo of the {c}.",
    "a black and white photo of a {c}",  # without a full stop there, too
    "an embroidered {c}.",
    "the embroidered {c}.",
    *(f"There is {d} {{c}} in the scene." for d in _AGAIN),
    *(f"a photo of {d} {{c}} in the scene." for d in ("a", "the", "one")),
    *(f"itap of {d} {{c}}." for d in ("a", "my", "the")),
    *(f"a photo of {d} {{c}}." for d in ("a", "my", "the", "one", "many")),
    *(f"a {look} photo of {d} {{c}}." for look, d in product(_LOOKS, _AGAIN)),
    *(f"a photo of {d} {thing} {{c}}." for thing, d in product(_THINGS, _AGAIN)),
    *(f"{d} {made} {{c}}." for made, d in product(_MADE, _AGAIN)),
    *(f"a painting of {d} {{c}}." for d in _AGAIN),
)

SCENES_19 = (  # ViT-Lens, scene_cls_template.py (Apache-2.0)
    "An image depicting a {c} environment.",
    "This location is best described as {c}.",
    "This location is {c}.",
    "A visual scene of {c} setting.",
    "This picture showcases a {c} environment.",
    "This place is {c}.",
    "An example of {c} scene category.",
    "An example of a {c} scene.",
    "This scene can be described as {c}.",
    "A visual scene of a {c} location.",
    "This photograph captures a {c} scene.",
    "This is a {c} setting.",
    "This image corresponds to a {c} scene.",
    "This photograph shows {c}.",
    "This is an image of {c}.",
    "A good image of {c}.",
    "A photo of the nice {c}.",
    "A picture of {c}.",
    "A bright image of {c}.",
)

_SHOWS = (
    "An image depicting", "An image showing", "This is", "A photograph shows", "An image of", "A good image of",
    "A photo of", "A picture of", "A bright image of",
)  # fmt: skip
# ViT-Lens, sound_cls_template.py (Apache-2.0): the bare name is given three times, a quarter of the weight.
SOUND_AS_IMAGE_12 = ("{c}.", "{c}.", "{c}.", *(f"{shows} {{c}}." for shows in _SHOWS))
