"""Words for how a thing looks: its dominant colour from rendered views, its material from the names in its file."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from .classes import with_article
from .meshes import Mesh

__all__ = ["caption", "dominant_colour", "material_word"]

HUES = (
    (14, "red"),
    (42, "orange"),
    (68, "yellow"),
    (165, "green"),
    (200, "turquoise"),
    (255, "blue"),
    (295, "purple"),
    (340, "pink"),
    (361, "red"),
)
MATERIALS = (  # first match wins: word in a caption, what material and texture names say in English, Spanish and French
    ("wooden", r"wood|oak|pine|teak|madera|bois|walnut|cherry|birch|alder|parquet|wenge|mahogany|maple"),
    ("leather", r"leather|cuero|cuir"),
    ("rattan", r"rattan|wicker|mimbre"),
    ("marble", r"marble|marbre|marmol"),
    ("metal", r"metal|steel|chrome|alumin|iron|inox|brass|acero|bronze"),
    ("glass", r"glass|cristal|vidrio|verre"),
    ("ceramic", r"ceramic|porcelain|porcelana"),
    ("stone", r"stone|concrete|granite|brick|piedra"),
    ("plastic", r"plastic|plastico"),
    ("fabric", r"fabric|cloth|tela|cotton|velvet|tissu|burlap"),
)  # fmt: skip
BARE = frozenset({"person", "animal", "tree", "plant", "flower", "clothes", "car", "truck", "bus"})  # no material word


def _colour_names(rgb: np.ndarray) -> np.ndarray:
    """A colour word for each pixel of (N, 3) uint8."""
    hsv = np.asarray(Image.fromarray(rgb.reshape(-1, 1, 3), "RGB").convert("HSV"), np.float32).reshape(-1, 3)
    hue, saturation, value = hsv[:, 0] * 360 / 255, hsv[:, 1] / 255, hsv[:, 2] / 255
    names = np.select([hue < limit for limit, _ in HUES], [name for _, name in HUES], "red").astype("U9")
    names[(names == "orange") & (value < 0.72)] = "brown"
    names[(names == "orange") & (saturation < 0.45)] = "beige"
    names[(names == "yellow") & (saturation < 0.35)] = "beige"
    names[(names == "red") & (saturation < 0.6) & (value < 0.6)] = "brown"
    grey = (saturation < 0.16) | (value < 0.16)
    names[grey] = np.where(value[grey] > 0.66, "white", np.where(value[grey] > 0.3, "gray", "black"))
    return names


def dominant_colour(views: np.ndarray) -> str | None:
    """The colour that most of the object shows, "black and white" for two that share it, None for a motley one.

    Args:
        views: (V, H, W, 4) uint8, alpha not premultiplied.
    """
    pixels = views[views[..., 3] > 200][:, :3]
    if len(pixels) < 50:
        return None
    names, counts = np.unique(_colour_names(pixels[:: max(len(pixels) // 20000, 1)]), return_counts=True)
    order = np.argsort(-counts)
    shares = counts[order] / counts.sum()
    first = str(names[order[0]])
    if shares[0] > 0.55 or (shares[0] > 0.4 and (len(shares) < 2 or shares[1] < 0.2)):
        return first
    second = str(names[order[1]])
    if shares[0] + shares[1] > 0.75 and {first, second} not in NEAR:
        return f"{first} and {second}"
    return first if shares[0] > 0.4 or {first, second} in NEAR else None


NEAR = (
    {"white", "gray"},
    {"gray", "black"},
    {"brown", "orange"},
    {"brown", "beige"},
    {"brown", "red"},
    {"blue", "turquoise"},
)  # shades of one


def material_word(mesh: Mesh) -> str | None:
    """What at least half of the surface is made of, judged by material and texture names, or None."""
    areas: dict[str, float] = {}
    total = 0.0
    for part in mesh.parts:
        corners = part.points[part.triangles]
        area = float(
            np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
        )
        total += area
        text = f"{part.material.name} {part.material.texture.stem if part.material.texture else ''}".lower()
        word = next((word for word, pattern in MATERIALS if re.search(pattern, text)), None)
        if word:
            areas[word] = areas.get(word, 0.0) + area
    best = max(areas, key=areas.__getitem__, default=None)
    return best if best and areas[best] >= 0.5 * total else None


def caption(name: str, label: str | None, colour: str | None, material: str | None) -> str:
    """ "a white wooden bookshelf"; a word that the name already holds is not said twice."""
    said = set(name.lower().split())
    extra: Sequence[str | None] = (colour, None if label in BARE else material)
    synonyms = {"wooden": {"oak", "teak", "wooden"}, "glass": {"glass", "drinking"}}
    words = [w for w in extra if w and not said & (synonyms.get(w, set()) | {w})]
    if label in {"person"}:
        return with_article(name)
    return with_article(" ".join([*words, name]))
