"""Spectrogram tokenizer: overlapping patches of a log-mel spectrogram (as in AST, Gong et al. 2021).

A lens of few recordings may put convolutions before the patches; none of the released ones does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ...errors import InputError
from ...inputs.settings import ViTShape
from ..released import CLIP, EVA, Layout, Released
from .base import SMALL_TOKEN, Embedding, EmbeddingConfig, Facts
from .patch import PATCHES
from .stem import ConvStem

__all__ = ["SpectrogramConfig", "SpectrogramEmbedding"]

_RELEASED = (240, 600)  # patches of the lenses that were released: 2 and 5 seconds at 128 mel bins
_OTHER_BINS = (40, 64, 80)  # that spectrograms of others have


@dataclass(frozen=True)
class SpectrogramConfig(EmbeddingConfig):
    """Dimensions of the spectrogram tokenizer; the defaults are those of the released five-second lens."""

    small: ClassVar[Mapping[str, Any]] = {"width": 24, "positions": 24}

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
        """N, the number of patches."""
        return self.positions

    @property
    def rows(self) -> int:
        """Frequency rows; 0 where the mel bins are not told."""
        return 0 if self.mel_bins is None else self.steps(self.mel_bins)

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

    @classmethod
    def for_vit(cls, vit: ViTShape) -> Self:
        """Patches of five seconds, as in the released lens."""
        return cls(vit.width if vit.large else SMALL_TOKEN)

    @classmethod
    def resampling(cls, vit: ViTShape) -> tuple[int, int]:
        """Two layers, of three self-attentions each in the released lenses."""
        return 2, 3 if vit.large else 1

    def required_input(self, names: set[str]) -> dict[str, Any]:
        """As many mel bins as the frequency rows were counted from."""
        return {} if self.mel_bins is None else {"mel_bins": self.mel_bins}

    def usual_input(self) -> dict[str, Any]:
        """As many frames as the time columns need, and clips of that length."""
        if self.mel_bins is None:
            return {}
        columns = self.positions // self.rows
        frames = 512 if columns == 50 else self._fewest_frames(columns)  # 512: as upstream pads 5 s
        return {"frames": frames, "clip_seconds": float(max(frames // 100, 1))}

    def check_input(self, settings: Any) -> None:
        """Refuse other mel bins, and frames that give other time columns."""
        super().check_input(settings)
        if self.mel_bins is None:
            return
        columns = self.positions // self.rows
        first = self._fewest_frames(columns)
        last = first + self.stride * self.reduction - 1
        self._require(
            self.steps(settings.frames) == columns,
            f"{columns} time columns need {first} to {last} frames, not {settings.frames}.",
        )

    def _fewest_frames(self, columns: int) -> int:
        return (self.patch + self.stride * (columns - 1)) * self.reduction


class SpectrogramEmbedding(Embedding):
    """Filter banks -> patch tokens with learned positions (upstream ``conv1`` and ``pos_emb``)."""

    config_class: ClassVar = SpectrogramConfig
    input_dims: ClassVar = 2  # (T, F)
    layouts: ClassVar = dict.fromkeys((EVA, CLIP), Layout("visual_adapter.", PATCHES))

    def __init__(self, config: SpectrogramConfig) -> None:
        super().__init__()
        self.config = config
        self.stem: nn.Module = ConvStem(config.stem, config.mel_bins or 0) if config.stem else nn.Identity()
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

    @classmethod
    def likeness(cls, names: Mapping[str, Tensor]) -> int:
        """One channel of patches and a resampler; where the patches may be a square, it may be a depth lens as well."""
        if "visual_adapter.conv1.weight" not in names or not any(name.startswith("perceiver.") for name in names):
            return 0
        positions = len(names.get("visual_adapter.pos_emb", ()))
        return 1 if math.isqrt(positions) ** 2 == positions else 2

    @classmethod
    def facts(cls, released: Released) -> Facts:
        """Width and patch from the kernel; the number of patches, but not how many of them are frequency rows."""
        width, _, patch, _ = released.shape("visual_adapter.conv1.weight", 4)
        positions, _ = released.shape("visual_adapter.pos_emb", 2)
        told = {"width": width, "positions": positions, "patch": patch}
        # Only the number of patches is in the weights, not how they stand in rows and columns.
        fitting = [
            bins for bins in (128, *_OTHER_BINS) if bins >= patch and positions % ((bins - patch) // 10 + 1) == 0
        ]
        if 128 not in fitting:
            return Facts(told, {"mel_bins": None})  # no released lens: any spectrogram with as many patches
        doubts = {}
        if positions not in _RELEASED and len(fitting) > 1:
            others = " or ".join(map(str, fitting[1:]))
            doubts["mel_bins"] = (
                f"{released.path} does not tell its mel bins: {positions} patches may come from 128 or from {others}. "
                "128 are assumed; say which with mel_bins=..."
            )
        return Facts(told, {"mel_bins": 128}, doubts)
