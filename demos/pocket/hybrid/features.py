"""Crops of pictures, and the trunk's feature maps of them: computed once, kept in float16, a file a shard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor

from lens_plugins.files.writing import replacing

from .pictures import Pack
from .trunk import GRID, SIDE, TRUNK_WIDTH, Trunk

__all__ = ["Features", "crop", "framed", "measured_features", "plan", "write_shards"]

SHARD = 2048  # crops
BATCH = 16


def plan(pack: Pack, rounds: int) -> list[tuple[int, int]]:
    """(picture, round) of every crop, round by round, so that the first shards see every picture once.

    A generated object has four views, so each of its pictures is drawn in half of the rounds.
    """
    order = np.random.default_rng(7).permutation(len(pack))
    wanted = []
    for turn in range(rounds):
        for number in order.tolist():
            if pack.rows[number]["source"] != "generated" or (turn + number) % 2 == 0:
                wanted.append((number, turn))
    return wanted


def _background(rng: np.random.Generator, pack: Pack) -> Image.Image:
    """White, a colour, a gradient, or another picture out of focus."""
    kind = rng.random()
    if kind < 0.3:
        return Image.new("RGB", (SIDE, SIDE), (int(rng.integers(225, 256)),) * 3)
    colours = rng.integers(0, 256, (4, 3)).astype(np.float32)
    if kind < 0.5:
        return Image.new("RGB", (SIDE, SIDE), tuple(colours[0].astype(int).tolist()))
    if kind < 0.75:
        corners = Image.fromarray(colours.reshape(2, 2, 3).astype(np.uint8))
        return corners.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    other = pack.picture(int(rng.integers(len(pack))))
    below = Image.new("RGBA", other.size, tuple(colours[1].astype(int).tolist()))
    enlarged = Image.alpha_composite(below, other).convert("RGB").resize((SIDE, SIDE))
    return enlarged.filter(ImageFilter.GaussianBlur(float(rng.uniform(3, 16))))


def crop(pack: Pack, number: int, turn: int) -> np.ndarray:
    """One crop (S, S, 3) uint8. It depends on the picture and the round alone."""
    rng = np.random.default_rng([number, turn, 25])
    picture = pack.picture(number)
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.2:
        picture = picture.rotate(float(rng.uniform(-20, 20)), Image.Resampling.BICUBIC, expand=True)
    if turn and rng.random() < 0.35:  # a part of it
        share = float(rng.uniform(0.45, 0.9))
        width, height = max(8, int(picture.width * share)), max(8, int(picture.height * share))
        left, top = (
            int(rng.integers(0, full - part + 1)) for full, part in ((picture.width, width), (picture.height, height))
        )
        picture = picture.crop((left, top, left + width, top + height))
    canvas = _background(rng, pack)
    scale = SIDE * float(rng.uniform(0.55, 1.1 if turn else 0.95)) / max(picture.size)
    size = (max(4, round(picture.width * scale)), max(4, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    at = tuple(int(rng.uniform(0.2, 0.8) * (SIDE - part)) for part in size)
    canvas.paste(picture, at, picture.getchannel("A"))
    if turn:
        canvas = ImageEnhance.Brightness(canvas).enhance(float(rng.uniform(0.7, 1.25)))
        canvas = ImageEnhance.Contrast(canvas).enhance(float(rng.uniform(0.7, 1.25)))
        canvas = ImageEnhance.Color(canvas).enhance(float(rng.uniform(0.6, 1.2)))
    return np.asarray(canvas)


def framed(picture: Image.Image) -> np.ndarray:
    """A picture as it is looked at when measuring: stretched to the square, or whole on white if it is cut out."""
    if picture.getchannel("A").getextrema()[0] >= 250:
        return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    inner = round(SIDE * 0.85)
    scale = inner / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    canvas = Image.new("RGB", (SIDE, SIDE), (240, 240, 240))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    canvas.paste(picture, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2), picture.getchannel("A"))
    return np.asarray(canvas)


@torch.no_grad()
def _tokens(trunk: Trunk, crops: Sequence[np.ndarray]) -> np.ndarray:
    """(B, 64, 1280) float16"""
    rgb = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    return trunk.tokens(rgb).half().numpy()


def write_shards(pack: Pack, trunk: Trunk, folder: Path, rounds: int, worker: int = 0, workers: int = 1) -> None:
    """Features of the planned crops; shards that are there are kept, so a run that was cut off goes on."""
    wanted = plan(pack, rounds)
    for shard in range(worker, (len(wanted) + SHARD - 1) // SHARD, workers):
        path = folder / f"{shard:03d}.npy"
        if path.exists():
            continue
        rows = wanted[shard * SHARD : (shard + 1) * SHARD]
        kept = np.empty((len(rows), GRID * GRID, TRUNK_WIDTH), np.float16)
        for first in range(0, len(rows), BATCH):
            kept[first : first + BATCH] = _tokens(trunk, [crop(pack, *row) for row in rows[first : first + BATCH]])
        with replacing(folder / f"{shard:03d}.json") as part:
            part.write_text(json.dumps(rows), encoding="utf-8")
        with replacing(path) as part, part.open("wb") as file:
            np.save(file, kept)


def measured_features(pack: Pack, trunk: Trunk, file: Path) -> np.ndarray:
    """Features of the pictures for measuring, one a picture: (N, 64, 1280) float16."""
    if not file.exists():
        made = [_tokens(trunk, [framed(pack.picture(i)) for i in range(first, min(first + BATCH, len(pack)))])
                for first in range(0, len(pack), BATCH)]  # fmt: skip
        with replacing(file) as part, part.open("wb") as opened:
            np.save(opened, np.concatenate(made))
    return np.load(file, mmap_mode="r")


@dataclass(frozen=True)
class Features:
    """The shards that are there, as one."""

    shards: list[np.ndarray]
    pictures: np.ndarray  # (C,) number of the picture behind each crop

    @classmethod
    def open(cls, folder: Path) -> Features:
        """Every whole shard of the folder."""
        paths = sorted(folder.glob("[0-9]*.npy"))
        rows = [json.loads(path.with_suffix(".json").read_text("utf-8")) for path in paths]
        numbers = [number for shard in rows for number, _ in shard]
        return cls([np.load(path, mmap_mode="r") for path in paths], np.array(numbers, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, rows: np.ndarray) -> Tensor:
        """(B, 64, 1280) float32 of the crops `rows`."""
        size = len(self.shards[0])
        return torch.from_numpy(np.stack([self.shards[row // size][row % size] for row in rows.tolist()])).float()
