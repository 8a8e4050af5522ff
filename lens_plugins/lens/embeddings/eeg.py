"""EEG tokenizer: a convolution over time that reads all channels at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...inputs.settings import ViTShape
from ...keymap import KeyMap
from ..released import CLIP, EVA, Layout, Released
from .base import Embedding, EmbeddingConfig, Facts

__all__ = ["EegConfig", "EegEmbedding"]


@dataclass(frozen=True)
class EegConfig(EmbeddingConfig):
    """Dimensions of the EEG tokenizer; the defaults are those of the released lens."""

    small: ClassVar[Mapping[str, Any]] = {"width": 24, "channels": 5, "steps": 20}

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
        """N, the number of windows."""
        return (self.steps - self.window) // self.stride + 1

    @classmethod
    def resampling(cls, vit: ViTShape) -> tuple[int, int]:
        """One layer of one self-attention, as in the released lens."""
        return 1, 1


class EegEmbedding(Embedding):
    """Signal -> one token per window of time with learned positions (upstream ``proj`` and ``pos_emb``)."""

    config_class: ClassVar = EegConfig
    input_dims: ClassVar = 2  # (C, T)
    layouts: ClassVar = dict.fromkeys(
        (EVA, CLIP), Layout("visual_adapter.", KeyMap([("proj.{leaf}", "proj.{leaf}"), ("pos_emb", "positions")]))
    )

    def __init__(self, config: EegConfig) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Conv1d(config.channels, config.width, config.window, config.stride)
        # Drawn as CLIP draws its positions.
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

    @classmethod
    def likeness(cls, names: Mapping[str, Tensor]) -> int:
        """A convolution over time."""
        return 2 if "visual_adapter.proj.weight" in names else 0

    @classmethod
    def facts(cls, released: Released) -> Facts:
        """Width, channels and window from the kernel; steps from the positions, at a stride of one."""
        width, channels, window = released.shape("visual_adapter.proj.weight", 3)
        positions, _ = released.shape("visual_adapter.pos_emb", 2)
        told = {"width": width, "channels": channels, "window": window}
        return Facts(told, {"steps": positions + window - 1})
