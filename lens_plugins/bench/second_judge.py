"""A judge of drawings that had no part in any training here: an ImageNet network, which is asked what was drawn.

Of each drawing it says which of all the pictures is most like it. That needs no names, so what the network knows of the
pocket host's classes does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..pocket.seed.scenes import at_size
from ..pocket.teacher import ImageTeacher

__all__ = ["FEW", "Found", "SecondJudge", "pixels"]

SIDE = 160  # pixels at which it looks
FEW = 5


@dataclass(frozen=True)
class Found:
    """Share of drawings of which the right picture is the most like, and among the few most alike."""

    first: float
    few: float

    def __str__(self) -> str:
        return f"{self.first:.0%} ({self.few:.0%})"


class SecondJudge:
    """Finds the pictures that drawings were made of.

    Raises:
        MissingDependency: a package of the extra `pocket` is absent.
    """

    def __init__(self, pictures: Sequence[Image.Image], network: ImageTeacher | None = None) -> None:
        """`network` is EfficientNet-Lite2 with its ImageNet weights unless given."""
        self.network = network or ImageTeacher(2)
        self._pictures = self._features(pictures)

    def __call__(self, drawn: Sequence[Image.Image]) -> Found:
        """`drawn` are drawings of the pictures, in their order.

        Features are compared from the mean of their set, so that what all drawings have in common counts for nothing.
        """
        alike = self._features(drawn) @ self._pictures.T  # (N, N)
        rank = (alike > alike.diagonal()[:, None]).sum(1)
        return Found((rank < 1).float().mean().item(), (rank < FEW).float().mean().item())

    @torch.no_grad()
    def _features(self, pictures: Sequence[Image.Image]) -> Tensor:  # -> (N, F)
        found = torch.cat([self.network(at_size(pixels(picture)[None], SIDE)) for picture in pictures])
        return F.normalize(found - found.mean(0), dim=1)


def pixels(picture: Image.Image) -> Tensor:
    """(3, H, W) in [0, 1]."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255).permute(2, 0, 1)
