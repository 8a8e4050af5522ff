"""Tactile images: RGB frames of a GelSight sensor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from typing_extensions import Self

from .base import ModalityInput, Payload
from .image import check_channels
from .pictures import CLIP_MEAN, CLIP_STD, centre_crop, normalise, pixels, resize_shorter_side
from .settings import InputSettings, ViTShape

__all__ = ["TactileSettings", "read"]


@dataclass(frozen=True)
class TactileSettings(InputSettings):
    """Shorter side to `resize` (bicubic on the tensor, not antialiased), centre crop of `size`, CLIP normalisation."""

    size: int = 224  # pixels
    resize: int = 256  # pixels
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def __post_init__(self) -> None:
        self._require(
            0 < self.size <= self.resize <= 4096,
            f"size is {self.size} and resize {self.resize}; size must be 1 to resize, resize at most 4096 pixels.",
        )
        self._require(*check_channels(self.mean, self.std))

    @classmethod
    def for_vit(cls, vit: ViTShape) -> Self:
        """Frames of the size of the ViT's pictures, cut so that they show what the released lens is shown."""
        return cls(size=vit.image_size, resize=vit.image_size * cls.resize // cls.size)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(3, S, S)."""
        return 3, self.size, self.size


def read(source: Payload, settings: TactileSettings) -> ModalityInput:
    """A frame (picture file, PIL picture, or array as in `pictures.pixels`) to (3, S, S) float32.

    Raises:
        InputError: see `pictures.pixels`.
    """
    path = source if isinstance(source, Path) else None
    name = str(path or "The tactile image")
    rgb = pixels(source, name)
    unit = np.divide(rgb, 255, dtype=np.float32) if rgb.dtype == np.uint8 else rgb
    tensor = torch.from_numpy(unit).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
    tensor = centre_crop(resize_shorter_side(tensor, settings.resize, name), settings.size)
    return ModalityInput("tactile", normalise(tensor, settings.mean, settings.std), str(path) if path else None)
