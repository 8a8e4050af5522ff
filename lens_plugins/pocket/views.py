"""Composed training views with what the teacher sees in the very same view, made once and read many times.

A pupil learns a function fastest when teacher and pupil look at one and the same picture (Beyer et al. 2022); here the
teacher's local features give each patch a target of its own, as EVA's masked patches had CLIP's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .packs import Pictures, compose
from .teacher import LOCAL_WIDTH, TEACHER_WIDTH, ImageTeacher

__all__ = ["Views"]

_SEEN = 128  # side of what the teacher sees: its stride of 16 gives the pupil's 8 x 8 patches
_GRID = 8


@dataclass
class Views:
    """`count` views: pictures, the teacher's features, and which picture of the packs each was made of."""

    rgb: np.ndarray  # (C, S, S, 3) uint8
    local: np.ndarray  # (C, 64, 112) float16, row-major
    pooled: np.ndarray  # (C, 1280) float16
    number: np.ndarray  # (C,) int64

    @classmethod
    def open(cls, folder: Path, count: int, size: int, mode: str) -> Views:
        """Memory maps of a folder; `mode` is numpy's."""
        shapes = {
            "rgb": ((count, size, size, 3), np.uint8),
            "local": ((count, _GRID * _GRID, LOCAL_WIDTH), np.float16),
            "pooled": ((count, TEACHER_WIDTH), np.float16),
            "number": ((count,), np.int64),
        }
        folder.mkdir(parents=True, exist_ok=True)
        return cls(
            **{
                name: np.lib.format.open_memmap(folder / f"{name}.npy", mode=mode, dtype=kind, shape=shape)
                for name, (shape, kind) in shapes.items()
            }
        )

    @classmethod
    def make(cls, pictures: Pictures, draw, folder: Path, count: int, size: int, batch: int = 64) -> Views:
        """Make what is missing and open all; `draw(i, n)` gives the numbers of the pictures of batch i."""
        progress = folder / "made"
        start = int(progress.read_text()) if progress.exists() else 0
        views = cls.open(folder, count, size, "r+" if start else "w+")
        teacher = ImageTeacher().to(memory_format=torch.channels_last)
        for first in range(start, count, batch):
            numbers = draw(first // batch, min(batch, count - first))
            rgb = compose(pictures.take(numbers), _SEEN, torch.Generator().manual_seed(first))
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                local, pooled = teacher.both(rgb.contiguous(memory_format=torch.channels_last))
            views._fill(slice(first, first + len(numbers)), rgb, local, pooled, numbers, size)
            progress.with_suffix(".new").write_text(str(first + len(numbers)))
            os.replace(progress.with_suffix(".new"), progress)
        return views

    def _fill(self, at: slice, rgb: Tensor, local: Tensor, pooled: Tensor, numbers: np.ndarray, size: int) -> None:
        small = F.interpolate(rgb, size=(size, size), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        self.rgb[at] = (small * 255).round().byte().permute(0, 2, 3, 1).numpy()
        self.local[at] = local.flatten(2).transpose(1, 2).half().numpy()  # (B, C, 8, 8) -> (B, 64, C)
        self.pooled[at] = pooled.half().numpy()
        self.number[at] = numbers

    def take(self, rows: np.ndarray, mirror: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (B, 3, S, S) in [0, 1], local (B, 64, 112) and pooled (B, 1280) targets; some mirrored."""
        rgb = torch.from_numpy(self.rgb[rows]).permute(0, 3, 1, 2).float().div_(255)
        local = torch.from_numpy(self.local[rows].astype(np.float32))
        turned = torch.from_numpy(mirror)
        rgb[turned] = rgb[turned].flip(-1)
        local[turned] = local[turned].unflatten(1, (_GRID, _GRID)).flip(2).flatten(1, 2)
        return rgb, local, torch.from_numpy(self.pooled[rows].astype(np.float32))
