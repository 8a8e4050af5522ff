"""Anyone's own pairs, in JSON lines: labels for zero-shot accuracy, texts for recall both ways."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..catalog import find_modality
from ..errors import InputError
from ..files.opening import read_bytes
from .benchmark import Benchmark, Folders, Row, Task
from .metrics import CaptionRecall, TopK

__all__ = ["BENCHMARK"]

_FIELDS = ("modality", "path", "label", "text", "image", "split", "id")


def rows(folders: Folders) -> list[Row]:
    """Each line is {"modality", "path", "label" and/or "text"}; the manifests of training serve as they are.

    Paths are relative to the manifest. `text` may be a list. The target of a row is its label, its texts and its
    number.
    """
    manifest = folders.data
    lines = read_bytes(manifest).decode("utf-8", "replace").splitlines()
    found = [_row(manifest, place, text, number) for number, (place, text) in enumerate(_written(lines))]
    if not found:
        raise InputError(f"{manifest} holds 0 pairs; each line is one JSON object.")
    return found


def _written(lines: Sequence[str]) -> list[tuple[int, str]]:
    return [(place, line) for place, line in enumerate(lines, start=1) if line.strip()]


def _row(manifest: Path, place: int, line: str, number: int) -> Row:
    try:
        raw: dict[str, Any] = json.loads(line)
        unknown = sorted(raw.keys() - set(_FIELDS))
    except (ValueError, AttributeError) as error:
        raise InputError(f"{manifest}, line {place}: no JSON object ({error}).") from error
    if unknown or not isinstance(raw.get("path"), str):
        told = f"the field {unknown[0]!r} is unknown" if unknown else "there is no path"
        raise InputError(f"{manifest}, line {place}: {told}; a line has {', '.join(_FIELDS)}.")
    texts = raw.get("text") or []
    texts = [texts] if isinstance(texts, str) else texts
    label = raw.get("label")
    if not all(isinstance(text, str) and text.strip() for text in [*texts, *([] if label is None else [label])]):
        raise InputError(f"{manifest}, line {place}: label and text must be texts that are not empty.")
    if label is None and not texts:
        raise InputError(f"{manifest}, line {place}: neither label nor text; a pair needs one of them to be scored.")
    modality = find_modality(str(raw.get("modality"))).name
    return Row(raw["path"], manifest.parent / raw["path"], (label, tuple(texts), number), modality=modality)


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
