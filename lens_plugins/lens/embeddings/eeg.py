"""EEG tokenizer: a convolution over time that reads all channels at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..._config import FrozenConfig
from ...errors import InputError

__all__ = ["EegConfig", "EegEmbedding"]


@dataclass(frozen=True)
class EegConfig(FrozenConfig):
    """Dimensions of the EEG tokenizer; the defaults are those of the released lens."""

    width: int = 1024
    channels: int = 128
    steps: int = 512  # time steps
    window: int = 1
    stride: int = 1

    def __post_init__(self) -> None:
        for name in ("width", "channels", "steps", "window", "stride"):
            self._require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}.")
        self._require(self.steps >= self.window, f"{self.steps} steps are shorter than a window of {self.window}.")

    @property
    def tokens(self) -> int:
        return (self.steps - self.window) // self.stride + 1

    def check_input(self, settings: Any) -> None:
        for name in ("channels", "steps"):
            mine, theirs = getattr(self, name), getattr(settings, name)
            self._require(mine == theirs, f"the lens reads {mine} {name}, the input settings make {theirs}.")


class EegEmbedding(nn.Module):
    """Signal -> one token per window of time with learned positions (upstream ``proj`` and ``pos_emb``)."""

    config_class: ClassVar = EegConfig
    input_dims: ClassVar = 2  # (C, T)

    def __init__(self, config: EegConfig) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Conv1d(config.channels, config.width, config.window, config.stride)
        self.positions = nn.Parameter(torch.randn(config.tokens, config.width) * config.width**-0.5)

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T) -> tokens (B, N, W); positions (N, W).

        Raises:
            InputError: another shape.
        """
        expected = (self.config.channels, self.config.steps)
        if signal.ndim != 3 or tuple(signal.shape[1:]) != expected:
            raise InputError(
                f"The EEG tokenizer reads (B, {expected[0]} channels, {expected[1]} steps), not {tuple(signal.shape)}."
            )
        return self.proj(signal.to(self.proj.weight.dtype)).transpose(1, 2), self.positions  # (B, W, N) -> (B, N, W)
