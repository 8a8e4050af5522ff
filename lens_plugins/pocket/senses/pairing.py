"""What the senses' pairs have in common: a folder written once, and pictures of packed objects as files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ..data.pack import write_lines
from ..packs import Pictures, plain
from ..vit import SIZE

__all__ = ["SHADE", "save_pictures", "views_of", "write_once"]

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
