"""What the senses' pairs have in common: a folder written once, and pictures of packed objects as files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ..data.pack import write_lines
from ..packs import OBJECT_PACKS, Pictures, plain
from ..vit import SIZE

__all__ = [
    "SHADE",
    "facts",
    "left_out",
    "object_pairs",
    "save_pictures",
    "views_of",
    "write_once",
]

SHADE = 0.93  # of the background


def write_once(folder: Path, write: Callable[[Path], Iterable[dict[str, Any]]]) -> Path:
    """The manifest of a folder of pairs, as it is there or made now.

    `write` fills the folder that it is given and returns the manifest's lines; an interrupted call leaves nothing.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        scratch = folder.with_name(folder.name + ".new")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        write_lines(scratch / "manifest.jsonl", write(scratch))
        scratch.rename(folder)
    return manifest


def object_pairs(work: Path, name: str, pairs_of: Callable[[Path, Path], Iterable[dict[str, Any]]]) -> Path:
    """The manifest `work/name` of both packs of objects; `pairs_of(pack, folder)` fills the folder and gives lines."""

    def write(folder: Path) -> Iterator[dict[str, Any]]:
        for pack in OBJECT_PACKS:
            yield from pairs_of(work / "pack" / pack, folder)

    return write_once(work / name, write)


def left_out(row: Mapping[str, Any], pack: Path) -> bool:
    """Whether no pair may show this object: one of the catalogue that is held out, which figures are measured on."""
    return row["split"] == "test" and pack.name == OBJECT_PACKS[0]


def facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of an object: its names, and its split; held-out generated objects are for validation."""
    texts = sorted({row["name"], row["class"] or row["name"]})
    return {"text": texts, "split": "val" if row["split"] == "test" else "train"}


def views_of(pictures: Pictures) -> dict[str, list[int]]:
    """Numbers of the pictures of each object, in the order of its views."""
    found: dict[str, list[int]] = {}
    for number, row in enumerate(pictures.rows):
        found.setdefault(row["object"], []).append(number)
    return found


def save_pictures(pictures: Pictures, wanted: Mapping[int, Path]) -> None:
    """Write pictures by number on a light background, as the host reads them; folders are made."""
    numbers = list(wanted)
    for rgb, number in zip(plain(pictures.take(numbers), SIZE, SHADE), numbers):
        wanted[number].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((rgb.permute(1, 2, 0) * 255).round().byte().numpy()).save(wanted[number])  # CHW -> HWC
