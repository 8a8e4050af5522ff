"""Spectrogram tokenizer: overlapping patches of a log-mel spectrogram (as in AST, Gong et al. 2021).

A lens of few recordings may put convolutions before the patches; none of the released ones does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..._config import FrozenConfig
from ...errors import InputError
from .stem import ConvStem

__all__ = ["SpectrogramConfig", "SpectrogramEmbedding"]


@dataclass(frozen=True)
class SpectrogramConfig(FrozenConfig):
    """Dimensions of the spectrogram tokenizer; the defaults are those of the released five-second lens."""

    width: int = 1024
    positions: int = 600  # patches: frequency rows x time columns
    patch: int = 14
    stride: int = 10
    mel_bins: int | None = 128  # None: any that gives `positions` patches
    stem: tuple[int, ...] = ()  # channels of the blocks of a `ConvStem`, whose map is then what is cut into patches

    def __post_init__(self) -> None:
        for name in ("width", "positions", "patch", "stride"):
            self._require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}.")
        self._require(
            isinstance(self.stem, tuple) and all(isinstance(c, int) and c > 0 for c in self.stem),
            f"stem is {self.stem!r}; it must be a list of channels, whole numbers above 0.",
        )
        self._require(
            not self.stem or (self.mel_bins is not None and self.mel_bins % 2 == 0),
            f"mel_bins is {self.mel_bins}; a lens with a stem reads an even number that it names.",
        )
        if self.mel_bins is not None:
            self._require(
                self.mel_bins >= self.smallest, f"mel_bins is {self.mel_bins}, below a patch of {self.smallest}."
            )
            self._require(
                self.positions % self.rows == 0,
                f"{self.positions} positions are not whole columns of the {self.rows} frequency rows that "
                f"{self.mel_bins} mel bins give.",
            )

    @property
    def tokens(self) -> int:
        return self.positions

    @property
    def rows(self) -> int:
        """Frequency rows; needs `mel_bins`."""
        return self.steps(self.mel_bins)

    @property
    def reduction(self) -> int:
        """Bins or frames to one row or column of what is cut into patches."""
        return 2 ** len(self.stem)

    @property
    def smallest(self) -> int:
        """Bins or frames of one patch."""
        return self.patch * self.reduction

    def steps(self, length: int) -> int:
        """Patches that fit along an axis."""
        return (length // self.reduction - self.patch) // self.stride + 1

    def check_input(self, settings: Any) -> None:
        if self.mel_bins is None:
            return
        self._require(
            settings.mel_bins == self.mel_bins,
            f"the lens reads {self.mel_bins} mel bins, the input settings make {settings.mel_bins}.",
        )
        columns = self.positions // self.rows
        first = (self.patch + self.stride * (columns - 1)) * self.reduction
        last = first + self.stride * self.reduction - 1
        self._require(
            self.steps(settings.frames) == columns,
            f"{columns} time columns need {first} to {last} frames, not {settings.frames}.",
        )


class SpectrogramEmbedding(nn.Module):
    """Filter banks -> patch tokens with learned positions (upstream ``conv1`` and ``pos_emb``)."""

    config_class: ClassVar = SpectrogramConfig
    input_dims: ClassVar = 2  # (T, F)

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        self.config = config
        self.stem: nn.Module = ConvStem(config.stem, config.mel_bins) if config.stem else nn.Identity()
        self.proj = nn.Conv2d(
            config.stem[-1] if config.stem else 1, config.width, config.patch, config.stride, bias=False
        )
        self.positions = nn.Parameter(torch.randn(config.positions, config.width) * config.width**-0.5)

    def forward(self, fbank: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) -> tokens (B, N, W), frequency-major; positions (N, W).

        Raises:
            InputError: another number of axes, of mel bins or of time columns.
        """
        self._check(fbank)
        cells = self.stem(fbank.transpose(1, 2)[:, None].to(self.proj.weight.dtype))  # (B, C, F', T')
        tokens = self.proj(cells)  # (B, W, rows, columns)
        return tokens.flatten(2).transpose(1, 2), self.positions  # (B, W, N) -> (B, N, W)

    def _check(self, fbank: Tensor) -> None:
        config = self.config
        if fbank.ndim != 3:
            raise InputError(f"The spectrogram tokenizer reads (B, T, F), not {tuple(fbank.shape)}.")
        frames, bins = fbank.shape[1:]
        if config.mel_bins not in (None, bins):
            raise InputError(f"The lens reads {config.mel_bins} mel bins; this spectrogram has {bins}.")
        if min(frames, bins) < config.smallest:
            raise InputError(f"{frames} frames of {bins} mel bins are smaller than a patch of {config.smallest}.")
        rows, columns = config.steps(bins), config.steps(frames)
        if rows * columns != config.positions:
            raise InputError(
                f"{frames} frames of {bins} mel bins give {rows} x {columns} = {rows * columns} patches; "
                f"the lens has positions for {config.positions}."
            )
