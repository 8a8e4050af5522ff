"""Objaverse-LVIS in OpenShape's layout: 46,832 shapes, 1,156 classes, one .npy a shape."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files.jsons import read_json
from ..files.numpy_pickles import read_numpy_pickle
from .benchmark import Benchmark, Folders, Row, Task
from .openshape import NEW_FIGURE, meta_file, points_of, published_of, tasks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

__all__ = ["BENCHMARK"]

_PREFIX = "/mnt/data/objaverse-processed"  # of the machine that made the list
_JSON_BYTES = 64 * 2**20


def rows(folders: Folders) -> list[Row]:
    """Of `split/lvis.json`; the foreign root of each path is the data folder here."""
    listed = _listed(folders)
    numbers = {name: number for number, name in enumerate(_classes(listed))}
    found = []
    for one in listed:
        below = one["data_path"].removeprefix(_PREFIX).lstrip("/")
        found.append(Row(one["uid"], partial(_read, folders.data / below), numbers[one["category"]]))
    return found


def _listed(folders: Folders) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = read_json(
        meta_file(folders, "split/lvis.json"), error=InputError, max_bytes=_JSON_BYTES
    )
    return listed


def _classes(listed: Sequence[dict[str, str]]) -> list[str]:
    return sorted({one["category"] for one in listed})


def _read(file: Path) -> np.ndarray:
    return points_of(read_numpy_pickle(file), str(file))


def tasks(folders: Folders, rows: Sequence[Row]) -> list[Task]:
    """The categories of the whole list in alphabetical order, underscores as spaces."""
    return tasks_of([name.replace("_", " ") for name in _classes(_listed(folders))])


BENCHMARK = Benchmark(
    name="objaverse-lvis",
    title="Objaverse-LVIS",
    modality="point_cloud",
    rows=rows,
    tasks=tasks,
    expected=46832,
    published=published_of(
        {"top1": 52.0, "top3": 73.3, "top5": 79.9},
        {"top1": 50.1, "top3": 71.3, "top5": 78.1},
    ),
    notes=(NEW_FIGURE, "The number expected, 46,832, is from the literature."),
)
