"""Depth tokenizer: one-channel patches with positions of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...errors import CheckpointError, InputError
from ..released import CLIP, EVA, Layout, Released
from .base import Facts
from .patch import PATCHES, SquareEmbedding, SquarePatches

__all__ = ["DepthConfig", "DepthEmbedding"]


@dataclass(frozen=True)
class DepthConfig(SquarePatches):
    """Dimensions of the depth tokenizer; the defaults are those of the released lens."""

    width: int = 1024


class DepthEmbedding(SquareEmbedding):
    """Disparity map -> patch tokens with learned positions; the ViT adds its own later."""

    config_class: ClassVar = DepthConfig
    input_dims: ClassVar = 3  # (1, H, W)
    layouts: ClassVar = dict.fromkeys((EVA, CLIP), Layout("visual_adapter.", PATCHES))

    def __init__(self, config: DepthConfig) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Conv2d(1, config.width, config.patch, config.patch, bias=False)
        # Drawn as CLIP draws its positions.
        self.positions = nn.Parameter(torch.randn(config.tokens, config.width) * config.width**-0.5)

    def forward(self, depth: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, S, S) -> tokens (B, N, W), row-major; positions (N, W).

        Raises:
            InputError: another shape.
        """
        expected = (1, self.config.size, self.config.size)
        if depth.ndim != 4 or tuple(depth.shape[1:]) != expected:
            raise InputError(
                f"The depth tokenizer reads (B, {', '.join(map(str, expected))}), not {tuple(depth.shape)}."
            )
        tokens = self.proj(depth.to(self.proj.weight.dtype))  # (B, W, rows, columns)
        return tokens.flatten(2).transpose(1, 2), self.positions  # (B, W, N) -> (B, N, W)

    @classmethod
    def likeness(cls, names: Mapping[str, Tensor]) -> int:
        """One channel of patches, as in a spectrogram; the released lens has no resampler behind them."""
        if "visual_adapter.conv1.weight" not in names:
            return 0
        return 1 if any(name.startswith("perceiver.") for name in names) else 2

    @classmethod
    def facts(cls, released: Released) -> Facts:
        """Width, patch and size: positions are a square of patches."""
        width, _, patch, _ = released.shape("visual_adapter.conv1.weight", 4)
        positions, _ = released.shape("visual_adapter.pos_emb", 2)
        side = math.isqrt(positions)
        if side**2 != positions:
            raise CheckpointError(
                f"{released.path} is no depth lens: its {positions} positions are not a square of patches."
            )
        return Facts({"width": width, "patch": patch, "size": side * patch})
