"""Packed training data, and the picture augmentation that the pocket host is trained under.

A pack is a folder with ``images.npy`` (N, 128, 128, 4) uint8 RGBA and ``index.jsonl``, one line a picture; a pack of
objects also holds ``clouds.npy`` (M, 8192, 3) float16 and ``clouds.jsonl``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lens_plugins.errors import InputError

__all__ = ["MEAN", "OBJECT_PACKS", "STD", "Pictures", "compose", "normalise", "plain"]

OBJECT_PACKS = ("sweethome", "generated")  # the catalogue of models that people made, and those of a generator
MEAN = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(1, 3, 1, 1)
STD = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(1, 3, 1, 1)


@dataclass
class Pictures:
    """RGBA pictures of several packs with their index rows, read on demand from memory maps."""

    maps: list[np.ndarray]
    rows: list[dict[str, Any]]
    where: np.ndarray  # (N, 2) pack, row inside it

    @classmethod
    def open(cls, packs: Sequence[Path]) -> Pictures:
        """Open packs in the order given.

        Raises:
            InputError: a pack is incomplete, or its index and its pictures differ in number.
        """
        maps, rows, where = [], [], []
        for number, pack in enumerate(packs):
            try:
                images = np.load(pack / "images.npy", mmap_mode="r", allow_pickle=False)
                lines = [json.loads(line) for line in (pack / "index.jsonl").read_text("utf-8").splitlines()]
            except OSError as error:
                raise InputError(
                    f"The data pack {pack} is incomplete: {error}. Build it with `make pocket`."
                ) from error
            if len(images) != len(lines):
                raise InputError(f"{pack} holds {len(images)} pictures and {len(lines)} index rows; build it again.")
            maps.append(images)
            rows += [{**line, "pack": pack.name} for line in lines]
            where += [(number, i) for i in range(len(lines))]
        return cls(maps, rows, np.array(where))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: Sequence[int]) -> Tensor:
        """Pictures by number: (B, 4, 128, 128) float32 in [0, 1]."""
        stack = np.stack([self.maps[p][i] for p, i in self.where[np.asarray(numbers)]])
        return torch.from_numpy(stack).permute(0, 3, 1, 2).float().div_(255)  # NHWC -> NCHW

    def batches(self, numbers: Sequence[int], size: int) -> Iterator[tuple[np.ndarray, Tensor]]:
        """(numbers, pictures) in order."""
        for start in range(0, len(numbers), size):
            chunk = np.asarray(numbers[start : start + size])
            yield chunk, self.take(chunk)


def normalise(rgb: Tensor) -> Tensor:
    """RGB in [0, 1] -> what the ViT reads."""
    return (rgb - MEAN) / STD


def plain(rgba: Tensor, size: int, shade: float = 1.0) -> Tensor:
    """Pictures on one even background, squashed to `size`: (B, 4, H, W) -> (B, 3, size, size) in [0, 1]."""
    rgb, alpha = rgba[:, :3], rgba[:, 3:]
    return F.interpolate(
        rgb * alpha + shade * (1 - alpha), size=(size, size), mode="bicubic", antialias=True, align_corners=False
    ).clamp(0, 1)


def compose(rgba: Tensor, size: int, g: torch.Generator, wild: float) -> Tensor:
    """One random view of each picture: (B, 4, H, W) -> (B, 3, size, size) in [0, 1].

    All are mirrored half of the time and stand on some light shade; a share `wild` of them is also moved, stretched and
    turned a little, put on any background and lit at random. A small ViT that starts from nothing learns next to
    nothing while all are wild (measured: at chance after 600 steps), so the share rises during its training.
    """
    chance = torch.rand(len(rgba), generator=g)
    turned = torch.where((torch.rand(len(rgba), generator=g) < 0.5)[:, None, None, None], rgba.flip(-1), rgba)
    shade = _uniform(g, 0.85, 1, len(rgba))[:, None, None, None]
    tame = F.interpolate(
        turned[:, :3] * turned[:, 3:] + shade * (1 - turned[:, 3:]),
        size=(size, size),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    changed = chance < wild
    if changed.any():
        placed = _place(turned[changed], size, g)
        rgb, alpha = placed[:, :3], placed[:, 3:]
        tame[changed] = _light(rgb * alpha + _backgrounds(rgb, alpha, g) * (1 - alpha), g)
    return tame


def _uniform(g: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=g) * (high - low) + low


def _place(rgba: Tensor, size: int, g: torch.Generator) -> Tensor:
    """Random zoom, stretch, shift and small turn in one resampling; alpha 0 outside the picture."""
    b = len(rgba)
    zoom = torch.exp(_uniform(g, -0.15, 0.3, b, 1))  # > 1: the object gets smaller
    stretch = torch.exp(_uniform(g, -0.12, 0.12, b, 1))
    angle = _uniform(g, -0.12, 0.12, b)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(b, 2, 2)
    scale = torch.cat([zoom * stretch, zoom / stretch], 1)  # (B, 2)
    shift = _uniform(g, -0.15, 0.15, b, 2)[..., None]
    grid = F.affine_grid(torch.cat([turn * scale[:, None], shift], 2), [b, 4, size, size], align_corners=False)
    return F.grid_sample(rgba, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _backgrounds(rgb: Tensor, alpha: Tensor, g: torch.Generator) -> Tensor:
    """Light even shade (half of them), any even shade, gradient, or another picture blurred: (B, 3, S, S)."""
    b, _, size, _ = rgb.shape
    corners = _uniform(g, 0, 1, b, 3, 2, 2) * _uniform(g, 0, 1, b, 1, 1, 1) + _uniform(g, 0, 1, b, 1, 1, 1)
    gradient = F.interpolate(corners.clamp(0, 1), size=(size, size), mode="bilinear", align_corners=True)
    light = _uniform(g, 0.85, 1, b, 1)[..., None, None].expand(b, 3, size, size)
    even = _uniform(g, 0, 1, b, 3)[..., None, None].expand(b, 3, size, size)
    other = torch.randperm(b, generator=g)
    seen = (rgb * alpha + light * (1 - alpha))[other]
    blurred = F.interpolate(F.adaptive_avg_pool2d(seen, 9), size=(size, size), mode="bilinear", align_corners=False)
    kind = torch.randint(6, (b, 1, 1, 1), generator=g)
    return torch.where(kind < 3, light, torch.where(kind == 3, even, torch.where(kind == 4, gradient, blurred)))


def _light(rgb: Tensor, g: torch.Generator) -> Tensor:
    """Brightness, contrast, colour balance, sometimes grey, sometimes noise."""
    b = len(rgb)
    mean = rgb.mean((2, 3), keepdim=True)
    brightness = _uniform(g, 0.8, 1.2, b, 1, 1, 1) * _uniform(g, 0.95, 1.05, b, 3, 1, 1)
    rgb = (rgb - mean) * _uniform(g, 0.75, 1.25, b, 1, 1, 1) + mean * brightness
    grey = (torch.rand(b, 1, 1, 1, generator=g) < 0.1).float()
    rgb = rgb * (1 - grey) + rgb.mean(1, keepdim=True) * grey
    noise = torch.randn(rgb.shape, generator=g) * _uniform(g, -0.03, 0.02, b, 1, 1, 1).clamp(min=0)
    return (rgb + noise).clamp(0, 1)
