"""ESC-50: 2,000 recordings of 50 sounds, all five folds. ViT-Lens's lists, or the original release's CSV and wav."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..files.jsons import read_json
from ..files.opening import read_bytes
from .benchmark import Benchmark, Folders, Published, Row, Task
from .metrics import TopK
from .sound import MISSES, clips_of
from .templates import SOUND_AS_IMAGE_12

__all__ = ["BENCHMARK"]

_BELOW = "modal_audio/data"
_ORIGINAL = ("meta/esc50.csv", "esc50/meta/esc50.csv", "ESC-50-master/meta/esc50.csv")  # with folder audio beside meta


def rows(folders: Folders) -> list[Row]:
    """Of the original `meta/esc50.csv` where it is there, else of ViT-Lens's `esc50_fold-all.json`."""
    labels = names(folders)
    original = _original(folders)
    if original is not None:
        audio = original.parents[1] / "audio"
        return [
            Row(row["filename"], audio / row["filename"], labels.index(_plain(row["category"])))
            for row in _lines(original)
        ]
    by_number = _by_number(folders)
    return [
        Row(row["audio_path"], folders.data / row["audio_path"], labels.index(by_number[int(row["class_label"])]))
        for row in read_json(folders.find("esc50_fold-all.json", below=_BELOW), error=InputError)
    ]


def names(folders: Folders) -> list[str]:
    """The 50 classes in order of their numbers: lower case, words apart ("toilet flush")."""
    original = _original(folders)
    if original is None:
        return list(_by_number(folders).values())
    by_number = {int(row["target"]): _plain(row["category"]) for row in _lines(original)}
    return [by_number[number] for number in sorted(by_number)]


def _original(folders: Folders) -> Path | None:
    return next((folders.data / name for name in _ORIGINAL if (folders.data / name).is_file()), None)


def _lines(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read_bytes(file).decode("utf-8"))))


def _plain(name: str) -> str:
    return name.replace("_", " ").lower()


def _by_number(folders: Folders) -> dict[int, str]:
    """Numbers and names of `esc50_label.json`: a name, or a list of names whose first counts."""
    raw = read_json(folders.find("esc50_label.json", below=_BELOW), error=InputError)
    first = {int(number): name[0] if isinstance(name, list) else name for number, name in raw.items()}
    return {number: first[number].lower() for number in sorted(first)}


def tasks(folders: Folders, rows: Sequence[Row]) -> list[Task]:
    """The 50 names in order of their numbers."""
    return [Task(names(folders), SOUND_AS_IMAGE_12, TopK((1, 5)))]


BENCHMARK = Benchmark(
    name="esc50",
    title="ESC-50",
    modality="audio",
    rows=rows,
    tasks=tasks,
    reading=clips_of("esc50"),
    expected=2000,
    published=(
        Published("ViT-Lens-L", {"top1": 75.9}, "vitlensL_audio.pt"),
        Published("ViT-Lens-B", {"top1": 72.9}),
        Published("ImageBind-H", {"top1": 66.9}),
    ),
    notes=(MISSES,),
)
