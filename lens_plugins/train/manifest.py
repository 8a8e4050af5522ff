"""The list of pairs: JSON lines, checked as a whole before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..catalog import modalities
from ..errors import InputError
from ..files.json_lines import cut_lines

__all__ = ["Pair", "read_manifest", "report_problems"]

_FIELDS = ("modality", "path", "image", "text", "split", "id")
_SPLITS = ("train", "val")
_SHOWN = 20  # problems listed in one message


@dataclass(frozen=True)
class Pair:
    """One line: an input of some modality, and the pictures and texts that show or name the same thing."""

    line: int  # counted from 1
    modality: str
    path: Path
    images: tuple[Path, ...]
    texts: tuple[str, ...]
    split: str  # "train" or "val"
    id: str


def read_manifest(manifest: str | Path, modality: str | None = None, *, split: str | None = None) -> list[Pair]:
    """Read a manifest of pairs.

    Each line is an object ``{"modality", "path", "image", "text", "split", "id"}``. `path` and `image` are relative to
    the manifest's folder; `image` and `text` may each be one value or a list, and one of the two may be left out;
    `split` is "train" unless given; `id` is the line number unless given. Empty lines are skipped.

    Args:
        manifest: the file.
        modality: keep lines of this modality only; all lines are checked.
        split: put every line in this split, whatever it says.

    Raises:
        InputError: no such file, no line left, or bad lines: all of them are named in one message.
    """
    manifest = Path(manifest)
    try:
        lines = cut_lines(manifest.read_bytes())
    except OSError as error:
        raise InputError(f"The manifest {manifest} cannot be read: {error}.") from error
    pairs: list[Pair] = []
    problems: list[tuple[int, str]] = []
    for number, line in lines:
        try:
            pairs.append(_parse(line.decode("utf-8"), number, manifest.parent, split))
        except UnicodeDecodeError as error:  # a ValueError, too, whose own sentence shows bytes
            problems.append((number, f"byte {error.start + 1} is not UTF-8 ({error.reason})"))
        except ValueError as error:
            problems.append((number, str(error)))
    report_problems(manifest, problems)
    kept = [pair for pair in pairs if modality in (None, pair.modality)]
    if not kept:
        others = sorted({pair.modality for pair in pairs})
        what = f"of modality {modality!r}; it has {', '.join(others)}" if others else "at all"
        raise InputError(f"The manifest {manifest} has no pair {what}. Each line is one JSON object.")
    return kept


def report_problems(manifest: str | Path, problems: Iterable[tuple[int, str]]) -> None:
    """Raise one error that names every bad line, or nothing when there is none.

    Raises:
        InputError: `problems` holds something.
    """
    found = sorted(problems)
    if not found:
        return
    lines = sorted({number for number, _ in found})
    shown = "".join(f"\n  line {number}: {sentence}" for number, sentence in found[:_SHOWN])
    more = f"\n  and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise InputError(
        f"The manifest {manifest} has {len(lines)} bad line{'s' * (len(lines) > 1)}; nothing was trained:{shown}{more}"
    )


def _parse(text: str, number: int, folder: Path, split: str | None) -> Pair:
    """One line as a `Pair`; a ValueError carries the sentence of what is wrong."""
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(raw, dict):
        raise ValueError(f"a {type(raw).__name__}, but each line must be an object {{...}}")
    # A misspelt field would be left out in silence.
    for name in raw.keys() - set(_FIELDS):
        near = get_close_matches(name, _FIELDS, n=1)
        raise ValueError(f"unknown field {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if not isinstance(raw.get("modality"), str) or raw["modality"] not in modalities():
        raise ValueError(f"modality is {raw.get('modality')!r}; known: {', '.join(modalities())}")
    images = tuple(_file(folder, name, "image") for name in _strings(raw, "image"))
    texts = _strings(raw, "text")
    if not images and not texts:
        raise ValueError("neither image nor text; a pair needs one of them")
    where = split or raw.get("split", "train")
    if where not in _SPLITS:
        raise ValueError(f"split is {where!r}; it must be one of {', '.join(_SPLITS)}")
    paths = _strings(raw, "path")
    if len(paths) != 1 or isinstance(raw["path"], list):
        raise ValueError("path must be one file name")
    path = _file(folder, paths[0], "path")
    return Pair(number, raw["modality"], path, images, texts, where, str(raw.get("id", number)))


def _strings(raw: dict[str, Any], name: str) -> tuple[str, ...]:
    value = raw.get(name)
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(item, str) and item.strip() for item in values):
        raise ValueError(f"{name} is {value!r}; it must be a text that is not empty, or a list of them")
    return tuple(values)


def _file(folder: Path, name: str, field: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{field} {name!r} is not a file in {folder}")
    return path
