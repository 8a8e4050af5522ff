"""Anyone's own pairs, in JSON lines: labels for zero-shot accuracy, texts for recall both ways."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..catalog import find_modality, modalities
from ..errors import InputError, LensPluginsError
from ..files.json_lines import read_json_lines
from .benchmark import Benchmark, Folders, Row, Task
from .metrics import CaptionRecall, TopK

__all__ = ["BENCHMARK", "modality_of", "texts_of"]

_FIELDS = ("modality", "path", "label", "text", "image", "split", "id")


def rows(folders: Folders) -> list[Row]:
    """Each line is {"modality", "path", "label" and/or "text"}; the manifests of training serve as they are.

    Paths are relative to the manifest. `text` may be a list. The target of a row is its label, its texts and its
    number.
    """
    manifest = folders.data
    found = [_row(manifest, place, raw, number) for number, (place, raw) in enumerate(read_json_lines(manifest))]
    if not found:
        raise InputError(f"{manifest} holds 0 pairs; each line is one JSON object.")
    return found


def _row(manifest: Path, place: int, raw: dict[str, Any], number: int) -> Row:
    unknown = sorted(raw.keys() - set(_FIELDS))
    if unknown or not isinstance(raw.get("path"), str) or not raw["path"].strip():
        told = f"the field {unknown[0]!r} is unknown" if unknown else "there is no path"
        raise InputError(f"{manifest}, line {place}: {told}; a line has {', '.join(_FIELDS)}.")
    texts, label = texts_of(raw.get("text")), raw.get("label")
    if texts is None or not (label is None or (isinstance(label, str) and label.strip())):
        raise InputError(f"{manifest}, line {place}: label and text must be texts that are not empty.")
    if label is None and not texts:
        raise InputError(f"{manifest}, line {place}: neither label nor text; a pair needs one of them to be scored.")
    modality = modality_of(raw.get("modality"), f"{manifest}, line {place}")
    return Row(raw["path"], manifest.parent / raw["path"], (label, texts, number), modality=modality)


def texts_of(value: Any) -> tuple[str, ...] | None:
    """One text or a list of them as a tuple; None where it is something else, or a text is empty."""
    values = [] if value is None else [value] if isinstance(value, str) else value
    good = isinstance(values, list) and all(isinstance(text, str) and text.strip() for text in values)
    return tuple(values) if good else None


def modality_of(name: Any, where: str) -> str:
    """The modality that a line names.

    Raises:
        InputError: there is none of that name; begins with `where`.
    """
    if not isinstance(name, str):
        raise InputError(f"{where}: modality is {name!r}; known: {', '.join(modalities())}.")
    try:
        return find_modality(name).name
    except LensPluginsError as error:
        raise InputError(f"{where}: {error}") from error


def tasks(folders: Folders, rows: Sequence[Row]) -> list[Task]:
    """Labels as classes, where there are two or more; texts as captions, a text of several rows right with any."""
    labels = sorted({row.target[0] for row in rows if row.target[0] is not None})
    owners: dict[str, list[int]] = {}
    for row in rows:
        for text in row.target[1]:
            owners.setdefault(text, []).append(row.target[2])
    found = []
    if len(labels) > 1:
        number = {label: place for place, label in enumerate(labels)}
        found.append(Task(labels, ("{c}",), TopK((1, 5), by_class=True), lambda target: number.get(target[0])))
    if len(owners) > 1:
        metric = CaptionRecall(tuple(map(tuple, owners.values())), what="input")
        found.append(Task(list(owners), ("{c}",), metric, lambda target: target[2] if target[1] else None))
    if not found:
        raise InputError(f"{folders.data} names {len(labels)} labels and {len(owners)} texts; 2 of either are needed.")
    return found


BENCHMARK = Benchmark(name="pairs", title="Own pairs", modality="image", rows=rows, tasks=tasks)
