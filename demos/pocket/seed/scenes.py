"""The scenes that every stage learns from, with the frozen ViT's features of them, made once.

A group is one training picture in four scenes: as it is, under two edits of different kinds, and side by side with the
thing of another group. So the same rows teach reconstruction, edits and composition.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lens_plugins.splice import FrozenViT

from ..packs import Pictures, normalise, plain
from ..vit import SIZE, UNNAMED, Labels, held_out
from .edits import EDITS, KINDS, Edit, edit_scene, plain_scene

__all__ = [
    "FIRST",
    "PAIR",
    "PLAIN",
    "SCENES",
    "SECOND",
    "Look",
    "Plan",
    "Scenes",
    "at_size",
    "draw_scenes",
    "features_of",
    "look_at",
    "resized",
    "things",
    "turned",
]

PLAIN, FIRST, SECOND, PAIR = range(4)  # the scenes of a group; the edits are the middle ones
SCENES = 4
DRAWN = (0.4, 0.2, 0.2, 0.2)  # how often training draws each


@dataclass(frozen=True)
class Plan:
    """What each group shows; row ``SCENES * group + scene`` of every array of the recipe is a scene of it."""

    picture: np.ndarray  # (G,) number of the picture
    partner: np.ndarray  # (G,) group of the thing beside it in the last scene
    edits: np.ndarray  # (G, 2) places in `EDITS`, of different kinds

    @classmethod
    def draw(cls, rows: Sequence[dict[str, Any]], groups: int, seed: int = 61) -> Plan:
        """The same plan for the same pictures; only named training pictures are in it."""
        labels, rng = Labels.of(rows), np.random.default_rng(seed)
        named = (labels.name_of[labels.train] != UNNAMED).numpy()
        weight = labels.weight * named
        picture = rng.choice(labels.train, groups, p=weight / weight.sum())
        kinds = np.array([rng.permutation(len(KINDS))[:2] for _ in range(groups)])  # (G, 2)
        choices = list(KINDS.values())
        edits = np.array([[rng.choice(choices[kind]) for kind in pair] for pair in kinds])
        return cls(picture, (np.arange(groups) + rng.integers(1, groups)) % groups, edits)

    def __len__(self) -> int:
        return len(self.picture)

    def joined(self, other: Plan) -> Plan:
        """The groups of both, those of `other` behind."""
        pairs = ((self.picture, other.picture), (self.partner, other.partner + len(self)), (self.edits, other.edits))
        return Plan(*map(np.concatenate, pairs))

    def edit(self, group: int, scene: int) -> Edit:
        """The edit that made scene FIRST or SECOND of a group."""
        return EDITS[self.edits[group, scene - FIRST]]


@dataclass(frozen=True)
class Look:
    """Pictures and what the ViT makes of them."""

    rgb: Tensor  # (B, 3, S, S) in [0, 1]
    features: Tensor  # (B, 1 + N, D)


@dataclass(frozen=True)
class Scenes:
    """All scenes, as pictures and as features, read from memory maps."""

    pictures: Pictures
    plan: Plan
    rgb: np.ndarray  # (C, S, S, 3) uint8
    features: np.ndarray  # (C, 1 + N, D) float16

    def __len__(self) -> int:
        return len(self.rgb)

    def row(self, group: int) -> dict[str, Any]:
        """The index row of a group's picture."""
        return self.pictures.rows[self.plan.picture[group]]

    def take(self, numbers: np.ndarray) -> Look:
        """Scenes by number."""
        rgb = torch.from_numpy(self.rgb[numbers]).permute(0, 3, 1, 2).float() / 255  # NHWC -> NCHW
        return Look(rgb, torch.from_numpy(self.features[numbers].astype(np.float32)))

    def spread(self, count: int) -> np.ndarray:
        """Numbers of `count` scenes, or all, evenly over them."""
        return np.linspace(0, len(self) - 1, min(count, len(self))).astype(int)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Numbers of random scenes, plain ones most often."""
        groups = rng.integers(len(self.plan), size=count)
        return SCENES * groups + rng.choice(SCENES, count, p=DRAWN)

    @classmethod
    def make(cls, pictures: Pictures, vit: FrozenViT, folder: Path, groups: int, batch: int = 16) -> Scenes:
        """Open the scenes of a folder; what is absent is made first, going on where an earlier run stopped."""
        plan = Plan.draw(pictures.rows, groups)
        shapes = {
            "rgb": (np.uint8, (SCENES * groups, SIZE, SIZE, 3)),
            "features": (np.float16, (SCENES * groups, 1 + vit.num_patches, vit.width)),
        }
        if not folder.is_dir():
            scratch = folder.with_suffix(".new")
            scratch.mkdir(parents=True, exist_ok=True)
            count = scratch / "count"
            start = int(count.read_text()) if count.exists() else 0
            maps = {name: _opened(scratch / f"{name}.npy", *shape, new=start == 0) for name, shape in shapes.items()}
            for first in range(start, groups, batch):
                last = min(first + batch, groups)
                seen = look_at(vit, draw_scenes(pictures, plan, np.arange(first, last)))
                rows = slice(SCENES * first, SCENES * last)
                maps["rgb"][rows] = (seen.rgb * 255).round().byte().permute(0, 2, 3, 1).numpy()
                maps["features"][rows] = seen.features.half().numpy()
                count.write_text(str(last))
            os.replace(scratch, folder)
        return cls(pictures, plan, *(_opened(folder / f"{name}.npy", *shape) for name, shape in shapes.items()))


def _opened(path: Path, dtype: Any, shape: tuple[int, ...], *, new: bool | None = None) -> np.ndarray:
    """A memory map: None opens what is there for reading, otherwise for writing."""
    if new is None:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    return np.lib.format.open_memmap(path, mode="w+" if new else "r+", dtype=dtype, shape=shape)


@torch.no_grad()
def look_at(vit: FrozenViT, rgb: Tensor) -> Look:
    """Features of pictures (B, 3, S, S) in [0, 1]."""
    return Look(rgb, features_of(vit, rgb))


def features_of(vit: FrozenViT, rgb: Tensor) -> Tensor:  # -> (B, 1 + N, D)
    """The same with gradients, for who draws by what the ViT sees."""
    with torch.autocast("cpu", torch.bfloat16):
        return vit.encode(vit.embed_image(normalise(rgb))).float()


def turned(seen: Tensor, look: Look, centre: Tensor, share: float) -> Tensor:  # -> (B,)
    """How far features have turned from those of a look, both from a mean of many.

    Args:
        seen: (B, 1 + N, D), with gradients.
        centre: (1 + N, D) the mean.
        share: of the class token; the rest is the patches'.
    """
    alike = F.cosine_similarity(seen - centre, look.features - centre, dim=-1)  # (B, 1 + N)
    return 1 - share * alike[:, 0] - (1 - share) * alike[:, 1:].mean(1)


def things(pictures: Pictures, vit: FrozenViT, count: int) -> tuple[Look, list[str]]:
    """Held-out catalogue objects as they are, one picture each, spread over all of them; and their classes."""
    numbers = held_out(pictures.rows, views=1)
    numbers = numbers[:: max(1, len(numbers) // count)][:count]
    seen = look_at(vit, plain(pictures.take(numbers), SIZE, 0.93))
    return seen, [pictures.rows[i]["class"] for i in numbers]


def at_size(rgb: Tensor, size: int) -> Tensor:
    """Pictures at another size: (B, 3, size, size) in [0, 1]."""
    return resized(rgb, size).clamp(0, 1)


def resized(rgb: Tensor, size: int) -> Tensor:
    """The same with no limit to values, so that gradients pass everywhere."""
    return F.interpolate(rgb, size=(size, size), mode="bicubic", antialias=True, align_corners=False)


def draw_scenes(pictures: Pictures, plan: Plan, groups: np.ndarray) -> Tensor:
    """All scenes of some groups: (SCENES · B, 3, S, S)."""
    g = torch.Generator().manual_seed(int(groups[0]))
    partners = plan.partner[groups]
    rgba = pictures.take(plan.picture[np.concatenate([groups, partners])])
    rgba[:, :3] *= rgba[:, 3:]
    placed = _placed(rgba[: len(groups)], g)
    halves = F.interpolate(rgba, size=(SIZE // 2, SIZE // 2), mode="bilinear", antialias=True, align_corners=False)
    scenes = []
    for i, group in enumerate(groups):
        shade = 0.85 + 0.15 * float(torch.rand((), generator=g))
        edits = (plan.edit(group, FIRST), plan.edit(group, SECOND))
        beside = _side_by_side(halves[i], halves[len(groups) + i])
        scenes += [
            plain_scene(placed[i], shade),
            *(edit_scene(placed[i], edit, shade, g) for edit in edits),
            plain_scene(beside, shade),
        ]
    return torch.stack(scenes)


def _placed(rgba: Tensor, g: torch.Generator) -> Tensor:
    """Mirrored half of the time, moved and shrunk a little: (B, 4, H, W) -> (B, 4, SIZE, SIZE)."""
    b = len(rgba)
    zoom = 0.97 + 0.25 * torch.rand(b, generator=g)  # > 1: the thing gets smaller
    mirror = torch.where(torch.rand(b, generator=g) < 0.5, -1.0, 1.0)
    shift = 0.12 * torch.rand(b, 2, generator=g) - 0.06
    zero = torch.zeros(b)
    grid = torch.stack([zoom * mirror, zero, shift[:, 0], zero, zoom, shift[:, 1]], 1).view(b, 2, 3)
    where = F.affine_grid(grid, [b, 4, SIZE, SIZE], align_corners=False)
    return F.grid_sample(rgba, where, mode="bilinear", padding_mode="zeros", align_corners=False)


def _side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Two things (4, S/2, S/2) next to each other at half height: (4, S, S)."""
    half = SIZE // 2
    canvas = torch.zeros(4, SIZE, SIZE)
    rows = slice(SIZE // 4, SIZE // 4 + half)
    canvas[:, rows, :half], canvas[:, rows, half:] = left, right
    return canvas
