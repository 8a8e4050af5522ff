"""Composed training views, made once and read many times."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .packs import Pictures, compose

__all__ = ["Views"]


@dataclass
class Views:
    """Random views of the packs' pictures, and which picture each was made of."""

    rgb: np.ndarray  # (C, S, S, 3) uint8
    number: np.ndarray  # (C,) int64

    @classmethod
    def make(
        cls,
        pictures: Pictures,
        draw: Callable[[int, int], np.ndarray],
        folder: Path,
        count: int,
        size: int,
        batch: int = 64,
    ) -> Views:
        """Open `count` views in a folder, made first where absent; `draw(i, n)` gives the pictures of batch i."""
        if not folder.is_dir():
            scratch = folder.with_suffix(".new")
            scratch.mkdir(parents=True, exist_ok=True)
            opened = np.lib.format.open_memmap
            rgb = opened(scratch / "rgb.npy", mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
            number = opened(scratch / "number.npy", mode="w+", dtype=np.int64, shape=(count,))
            for first in range(0, count, batch):
                rows = slice(first, min(first + batch, count))
                number[rows] = draw(first // batch, rows.stop - first)
                views = compose(pictures.take(number[rows]), size, torch.Generator().manual_seed(first), 0.3)
                rgb[rows] = (views * 255).round().byte().permute(0, 2, 3, 1).numpy()
            os.replace(scratch, folder)
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("rgb", "number")))
