"""Thermograms, sequences of temperatures. The settings derive from a base of lens-plugins, the other classes do not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lens_plugins._config import FrozenConfig
from lens_plugins.catalog import ModalityRow
from lens_plugins.errors import InputError
from lens_plugins.files.opening import parsing, read_bytes
from lens_plugins.inputs import ModalityInput
from lens_plugins.inputs.arrays import ARRAY_SUFFIXES, as_array, load_array
from lens_plugins.inputs.settings import InputSettings

ROW = ModalityRow(
    "thermal",
    "a thermogram",
    (".thm",),
    (".npy", ".pt"),
    "lens_thermal:read",
    "lens_thermal:ThermalSettings",
    "lens_thermal:ThermalEmbedding",
    3,
    augment="lens_thermal:Drift",
)


@dataclass(frozen=True)
class ThermalSettings(InputSettings):
    """Which temperatures, in degrees, become 0 and 1."""

    size: int = 32  # pixels
    clips: int = 2  # frames, spread evenly over the sequence
    low: float = 0.0
    high: float = 50.0

    def __post_init__(self) -> None:
        self._require(self.low < self.high, f"low is {self.low}; it must be below high, {self.high}.")
        self._require(self.clips > 0, f"clips is {self.clips}; it must be 1 or more.")

    @property
    def shape(self) -> tuple[int | None, ...]:
        frame = (1, self.size, self.size)
        return (self.clips, *frame) if self.clips > 1 else frame


def read(source: Any, settings: ThermalSettings) -> ModalityInput:
    """Degrees (frames, H, W) or (H, W) -> (C, 1, S, S), or (1, S, S) for one clip."""
    path = source if isinstance(source, Path) else None
    name = str(path or "The thermogram")
    if path is None:
        degrees = as_array(source, name)
    else:
        degrees = as_array(load_array(path, ("thermal",)) if path.suffix in ARRAY_SUFFIXES else _read_thm(path), name)
    if degrees.ndim == 2:
        degrees = degrees[None]
    if degrees.ndim != 3 or 0 in degrees.shape:
        raise InputError(f"{name} has shape {degrees.shape}; a thermogram is (frames, height, width).")
    chosen = np.linspace(0, len(degrees) - 1, settings.clips).round().astype(int)
    unit = (degrees[chosen].astype(np.float32) - settings.low) / (settings.high - settings.low)
    frames = nn.functional.interpolate(torch.from_numpy(unit)[:, None], (settings.size, settings.size), mode="area")
    tensor = (frames if settings.clips > 1 else frames[0]).contiguous()
    return ModalityInput("thermal", tensor, str(path) if path else None)


def _read_thm(path: Path) -> np.ndarray:
    """A line "THM frames height width", then float32 degrees."""
    data = read_bytes(path)
    with parsing(str(path), ".thm file"):
        head, _, body = data.partition(b"\n")
        magic, *sizes = head.split()
        if magic != b"THM":
            raise ValueError("it does not begin with THM")
        return np.frombuffer(body, "<f4").reshape([int(size) for size in sizes])


@dataclass(frozen=True)
class ThermalConfig(FrozenConfig):
    width: int = 48
    size: int = 32
    patch: int = 8

    @property
    def tokens(self) -> int:
        return (self.size // self.patch) ** 2

    def check_input(self, settings: ThermalSettings) -> None:
        self._require(settings.size == self.size, f"the lens reads {self.size} pixels, not {settings.size}.")


class ThermalEmbedding(nn.Module):
    config_class = ThermalConfig
    input_dims = 3  # (1, S, S)

    def __init__(self, config: ThermalConfig) -> None:
        super().__init__()
        self.config = config
        self.cells = nn.Conv2d(1, config.width, config.patch, config.patch)
        self.positions = nn.Parameter(torch.randn(config.tokens, config.width) * 0.1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        if tuple(frames.shape[1:]) != (1, self.config.size, self.config.size):
            raise InputError(f"A thermogram of shape {tuple(frames.shape)} is not (B, 1, {self.config.size}, ...).")
        return self.cells(frames.to(self.cells.weight.dtype)).flatten(2).transpose(1, 2), self.positions


@dataclass(frozen=True)
class Drift(FrozenConfig):
    """Warmer or colder as a whole, as an uncalibrated camera is."""

    most: float = 0.05

    def __call__(self, batch: Tensor, draws: Any) -> Tensor:
        return batch + draws.uniform(1, 1, 1, low=-self.most, high=self.most)
