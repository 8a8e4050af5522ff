"""Pictures, as the hosts' own processors make them: resized by Pillow, then CLIP's mean and standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from typing_extensions import Self

from .base import ModalityInput, Payload
from .pictures import CLIP_MEAN, CLIP_STD, centre_crop, normalise, pixels, shorter_side
from .settings import InputSettings, ViTShape

__all__ = ["ImageSettings", "check_channels", "read"]

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class ImageSettings(InputSettings):
    """How a host sees pictures.

    InstructBLIP squashes with bicubic (the default), SEED's scripts squash with bilinear, ViT-Lens-L resizes the
    shorter side and crops the centre.
    """

    size: int = 224  # pixels
    resize: str = "squash"  # "squash": ratio not kept; "shorter": shorter side to `size`, centre crop
    interpolation: str = "bicubic"  # or "bilinear"
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def __post_init__(self) -> None:
        self._require(0 < self.size <= 4096, f"size is {self.size}; it must be 1 to 4096 pixels.")
        self._require(
            self.resize in ("squash", "shorter"), f"resize is {self.resize!r}; it must be 'squash' or 'shorter'."
        )
        self._require(
            self.interpolation in _FILTERS,
            f"interpolation is {self.interpolation!r}; it must be 'bicubic' or 'bilinear'.",
        )
        self._require(*check_channels(self.mean, self.std))

    @classmethod
    def for_vit(cls, vit: ViTShape) -> Self:
        """Pictures of the size that the ViT reads."""
        return cls(size=vit.image_size)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(3, S, S)."""
        return 3, self.size, self.size


def check_channels(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[bool, str]:
    """Whether these are three means and three positive deviations, and the sentence for when they are not."""
    fits = len(mean) == len(std) == 3 and all(s > 0 for s in std)
    return fits, f"mean is {mean} and std {std}; each must have 3 numbers, those of std above 0."


def read(source: Payload, settings: ImageSettings) -> ModalityInput:
    """A picture file, PIL picture or array to (3, S, S) float32.

    Arrays are (H, W), (H, W, 3) or (3, H, W), uint8 or floats from 0 to 1; floats are rounded to 8 bits first.

    Raises:
        InputError: see `pictures.pixels`.
    """
    path = source if isinstance(source, Path) else None
    name = str(path or "The picture")
    rgb = pixels(source, name)  # (H, W, 3)
    if rgb.dtype != np.uint8:
        rgb = np.rint(rgb * 255).astype(np.uint8)
    tensor = normalise(_resize(Image.fromarray(rgb), settings, name), settings.mean, settings.std)
    return ModalityInput("image", tensor, str(path) if path else None)


def _resize(image: Image.Image, settings: ImageSettings, name: str) -> Tensor:  # -> (3, S, S) in [0, 1]
    height = width = settings.size
    if settings.resize == "shorter":
        height, width = shorter_side(image.height, image.width, settings.size, name)
    resized = np.array(image.resize((width, height), _FILTERS[settings.interpolation]))
    tensor = torch.from_numpy(resized).permute(2, 0, 1) / 255  # (h, w, 3) -> (3, h, w)
    return centre_crop(tensor, settings.size)
