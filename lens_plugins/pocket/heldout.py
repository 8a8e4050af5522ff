"""The held-out objects that ship beside the weights, so that every figure can be measured again anywhere.

``weights/heldout/objects/``: `index.jsonl` (object, class, words, licence), one WebP strip of views per object, and
`clouds.safetensors` (O, 2048, 3) float16. No stage of training saw any of these objects.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError
from . import HELD_OUT
from .data.classes import WORDS
from .packs import Pictures, plain
from .vit import SIZE, held_out

__all__ = ["FOLDER", "HeldOut", "different_pairs", "names_class", "names_word", "open_heldout", "write_heldout"]

FOLDER = HELD_OUT / "objects"
VIEWS = 4
POINTS = 2048


@dataclass(frozen=True)
class HeldOut:
    """One object: its class, its pictures and its cloud."""

    object: str
    label: str
    pictures: list[Image.Image]  # VIEWS of them, on a light background
    cloud: Tensor  # (2048, 3) float32, y up


def names_class(text: str, label: str) -> bool:
    """Whether a sentence names a class, by its name or one of its other words, singular or plural."""
    return names_word(text, (label, *WORDS.get(label, ())))


def names_word(text: str, words: Iterable[str]) -> bool:
    """Whether a sentence holds one of the words, singular or plural."""
    return any(re.search(rf"\b{re.escape(word)}(s|es)?\b", text.lower()) for word in words)


def open_heldout(folder: Path = FOLDER) -> list[HeldOut]:
    """All held-out objects, in a fixed order.

    Raises:
        CheckpointError: the folder is incomplete.
    """
    try:
        rows = [json.loads(line) for line in (folder / "index.jsonl").read_text("utf-8").splitlines()]
        clouds = load_file(folder / "clouds.safetensors")["clouds"].float()
        strips = [Image.open(folder / row["strip"]).convert("RGB") for row in rows]
    except (OSError, KeyError) as error:
        raise CheckpointError(f"The held-out objects in {folder} are incomplete: {error}.") from error
    cut = [[strip.crop((i * SIZE, 0, (i + 1) * SIZE, SIZE)) for i in range(strip.width // SIZE)] for strip in strips]
    return [HeldOut(r["object"], r["class"], views, cloud) for r, views, cloud in zip(rows, cut, clouds)]


def different_pairs(
    ones: Sequence[HeldOut], others: Sequence[HeldOut], count: int, seed: int
) -> list[tuple[HeldOut, HeldOut]]:
    """Up to `count` random pairs of different classes, one of each list, no pair twice; the same ones for a seed."""
    known = [(one, other) for one in ones for other in others if one.label != other.label]
    return [known[i] for i in np.random.default_rng(seed).permutation(len(known))[:count]]


def write_heldout(pack: Path, folder: Path) -> int:
    """Write the held-out objects of a pack; returns how many."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pictures = Pictures.open([pack])
    views: dict[str, list[int]] = {}
    for number in held_out(pictures.rows, VIEWS):
        views.setdefault(pictures.rows[number]["object"], []).append(number)
    places = [json.loads(line)["object"] for line in (pack / "clouds.jsonl").read_text("utf-8").splitlines()]
    clouds = np.load(pack / "clouds.npy", mmap_mode="r", allow_pickle=False)
    lines, kept = [], []
    for place, (name, numbers) in enumerate(sorted(views.items())):
        rgb = (plain(pictures.take(numbers), SIZE, 0.93) * 255).round().byte()  # (V, 3, S, S)
        strip = rgb.permute(2, 0, 3, 1).reshape(SIZE, -1, 3)
        Image.fromarray(strip.numpy()).save(folder / f"{place:03d}.webp", quality=90)
        row = pictures.rows[numbers[0]]
        kept.append(torch.from_numpy(clouds[places.index(name)][:POINTS].copy()))
        lines.append({"object": name, "class": row["class"], "strip": f"{place:03d}.webp", "licence": row["licence"]})
    save_file({"clouds": torch.stack(kept).half()}, folder / "clouds.safetensors")
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return len(lines)
