"""ESC-50: 2,000 recordings of 50 sounds, all five folds. ViT-Lens's lists, or the original release's CSV and wav."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..files.jsons import read_json, read_json_object
from .benchmark import Benchmark, Folders, Published, Row, Task
from .checks import whole
from .metrics import TopK
from .pairs import texts_of
from .sound import MISSES, clips_of
from .tables import read_table
from .templates import SOUND_AS_IMAGE_12

__all__ = ["BENCHMARK"]

_BELOW = "modal_audio/data"
_COLUMNS = ("filename", "target", "category")
_ORIGINAL = ("meta/esc50.csv", "esc50/meta/esc50.csv", "ESC-50-master/meta/esc50.csv")  # with folder audio beside meta


def rows(folders: Folders) -> list[Row]:
    """Of the original `meta/esc50.csv` where it is there, else of ViT-Lens's `esc50_fold-all.json`."""
    labels = names(folders)
    original = _original(folders)
    if original is not None:
        audio = original.parents[1] / "audio"
        return [
            Row(row["filename"], audio / row["filename"], labels.index(_plain(row["category"])))
            for _, row in read_table(original, _COLUMNS)
        ]
    places = {number: place for place, number in enumerate(_by_number(folders))}
    listed = folders.find("esc50_fold-all.json", below=_BELOW)
    found = []
    for row in read_json(listed, error=InputError):
        number = whole(row["class_label"])
        if number not in places:
            told = f"class_label of {row['audio_path']} is {number!r}; esc50_label.json has no such class"
            raise InputError(f"{listed}: {told}.")
        found.append(Row(row["audio_path"], folders.data / row["audio_path"], places[number]))
    return found


def names(folders: Folders) -> list[str]:
    """The 50 classes in order of their numbers: lower case, words apart ("toilet flush")."""
    original = _original(folders)
    if original is None:
        return list(_by_number(folders).values())
    by_number: dict[int, str] = {}
    for line, row in read_table(original, _COLUMNS):
        number, name = whole(row["target"]), _plain(row["category"])
        if type(number) is not int or number < 0:
            raise InputError(f"{original}, line {line}: target is {row['target']!r}; it must be a whole number from 0.")
        if by_number.setdefault(number, name) != name:
            raise InputError(f"{original}, line {line}: {number} is {name!r} here and {by_number[number]!r} above.")
    if len(set(by_number.values())) != len(by_number):
        twice = next(name for name in by_number.values() if list(by_number.values()).count(name) > 1)
        raise InputError(f"{original}: {twice!r} has two numbers; each category has one.")
    return [by_number[number] for number in sorted(by_number)]


def _original(folders: Folders) -> Path | None:
    return next((folders.data / name for name in _ORIGINAL if (folders.data / name).is_file()), None)


def _plain(name: str) -> str:
    return name.replace("_", " ").lower()


def _by_number(folders: Folders) -> dict[int, str]:
    """Numbers and names of `esc50_label.json`: a name, or a list of names whose first counts."""
    file = folders.find("esc50_label.json", below=_BELOW)
    first: dict[int, str] = {}
    for number, names_ in read_json_object(file, error=InputError).items():
        texts, place = texts_of(names_), whole(number)
        if type(place) is not int or place in first or not texts:
            raise InputError(f"{file}: {number!r} must be a number, each given once, with a name or a list of names.")
        first[place] = texts[0].lower()
    return {number: first[number] for number in sorted(first)}


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
