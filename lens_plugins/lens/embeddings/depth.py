"""Depth tokenizer: one-channel patches with positions of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...errors import InputError
from .patch import SquarePatches

__all__ = ["DepthConfig", "DepthEmbedding"]


@dataclass(frozen=True)
class DepthConfig(SquarePatches):
    """Dimensions of the depth tokenizer; the defaults are those of the released lens."""

    width: int = 1024


class DepthEmbedding(nn.Module):
    """Disparity map -> patch tokens with learned positions; the ViT adds its own later."""

    config_class: ClassVar = DepthConfig
    input_dims: ClassVar = 3  # (1, H, W)

    def __init__(self, config: DepthConfig) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Conv2d(1, config.width, config.patch, config.patch, bias=False)
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
