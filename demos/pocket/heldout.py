"""The held-out objects, written as `lens_plugins.bench.heldout` reads them, and whether a text names a class."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from lens_plugins.bench.heldout import names_word

from .data.classes import WORDS
from .packs import Pictures, plain
from .vit import SIZE, held_out

__all__ = ["names_class", "write_heldout"]

VIEWS = 4
POINTS = 2048


def names_class(text: str, label: str) -> bool:
    """Whether a sentence names a class, by its name or one of its other words, singular or plural."""
    return names_word(text, (label, *WORDS.get(label, ())))


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
        words = list(WORDS.get(row["class"], ()))
        strip_row = {"object": name, "class": row["class"], "words": words, "strip": f"{place:03d}.webp"}
        lines.append({**strip_row, "licence": row["licence"]})
    save_file({"clouds": torch.stack(kept).half()}, folder / "clouds.safetensors")
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return len(lines)
