"""OpenShape's layout of clouds (`meta_data.zip`), shared by three benchmarks; ModelNet40 in that form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files.jsons import read_json
from ..files.numpy_pickles import read_numpy_pickle
from .benchmark import Benchmark, Folders, Published, Row, Task
from .metrics import TopK
from .modelnet40 import CLASSES
from .templates import MODELNET40_64

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MODELNET40", "NEW_FIGURE", "points_of", "published_of", "tasks_of", "y_up"]

NEW_FIGURE = (
    "Published for the bigG lenses alone, which read colours and 10,000 points; a figure of any other lens is new: "
    "it reads xyz, thinned by farthest-point sampling."
)
_META = "meta_data"


def y_up(cloud: np.ndarray) -> np.ndarray:  # (P, 3) -> (P, 3)
    """OpenShape's files have z up and its code swaps y and z."""
    return cloud[:, [0, 2, 1]]


def points_of(value: Any, name: str) -> np.ndarray:
    """The points (P, 3), y up, of a dictionary with `xyz`; colours are not used.

    Raises:
        InputError: there is no such array.
    """
    import numpy as np

    points = value.get("xyz") if isinstance(value, Mapping) else None
    if not isinstance(points, np.ndarray) or points.ndim != 2 or points.shape[1] < 3:
        raise InputError(f"{name} holds no array xyz of (points, 3).")
    return y_up(points)


def meta_file(folders: Folders, name: str) -> Path:
    """A file of `meta_data`, below the data folder or in it."""
    return folders.find(f"{_META}/{name}", name)


def published_of(all_: Mapping[str, float], no_lvis: Mapping[str, float]) -> tuple[Published, ...]:
    """Figures of the two bigG lenses."""
    return (
        Published("ViT-Lens-G, all data", all_, "bigG14_sk16_openshape_all.pt"),
        Published("ViT-Lens-G, without LVIS", no_lvis, "bigG14_openshape_nolvis.pt"),
    )


def tasks_of(classes: Sequence[str]) -> list[Task]:
    """OpenShape ships class vectors made with ULIP's 64 templates; here the host's own text tower fills them."""
    return [Task(classes, MODELNET40_64, TopK((1, 3, 5), by_class=True))]


def rows(folders: Folders) -> list[Row]:
    """Of `modelnet40/test_split.json` and `test_pc.npy`, in one order."""
    listed = meta_file(folders, "modelnet40/test_split.json")
    split = read_json(listed, error=InputError)
    clouds = read_numpy_pickle(listed.parent / "test_pc.npy")
    if len(split) != len(clouds):
        raise InputError(f"{listed} lists {len(split)} clouds, test_pc.npy beside it holds {len(clouds)}.")
    numbers = {name: number for number, name in enumerate(CLASSES)}
    return [
        Row(one["name"], points_of(cloud, one["name"]), numbers[one["category"].replace("_", " ")])
        for one, cloud in zip(split, clouds)
    ]


MODELNET40 = Benchmark(
    name="modelnet40-openshape",
    title="ModelNet40 (OpenShape)",
    modality="point_cloud",
    rows=rows,
    tasks=lambda folders, rows: tasks_of(CLASSES),
    expected=2468,
    published=published_of(
        {"top1": 87.6, "top3": 96.6, "top5": 98.4},
        {"top1": 86.8, "top3": 96.8, "top5": 97.8},
    ),
    notes=(NEW_FIGURE,),
)
