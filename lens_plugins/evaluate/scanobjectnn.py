"""ScanObjectNN (OBJ_ONLY) in OpenShape's layout: 15 classes of scanned objects."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InputError
from ..files.numpy_pickles import read_numpy_pickle
from .benchmark import Benchmark, Folders, Row
from .checks import whole
from .openshape import NEW_FIGURE, meta_file, published_of, tasks_of, y_up

__all__ = ["BENCHMARK", "CLASSES"]

CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink",
    "sofa", "toilet",
)  # fmt: skip


def rows(folders: Folders) -> list[Row]:
    """Of `scanobjectnn/xyz_label.npy`, a dictionary of xyz (N, P, 3) or N clouds, and label (N,)."""
    file = meta_file(folders, "scanobjectnn/xyz_label.npy")
    value = read_numpy_pickle(file)
    if not isinstance(value, Mapping) or not {"xyz", "label"} <= value.keys():
        raise InputError(f"{file} holds no dictionary of xyz and label.")
    clouds, labels = value["xyz"], [whole(label) for label in value["label"]]
    if len(clouds) != len(labels) or not all(type(n) is int and 0 <= n < len(CLASSES) for n in labels):
        raise InputError(f"{file} holds {len(clouds)} clouds and {len(labels)} labels, which must be 0 to 14.")
    return [
        Row(f"xyz_label.npy[{n}]", y_up(cloud[:, :3]), label) for n, (cloud, label) in enumerate(zip(clouds, labels))
    ]


BENCHMARK = Benchmark(
    name="scanobjectnn",
    title="ScanObjectNN (OBJ_ONLY)",
    modality="point_cloud",
    rows=rows,
    tasks=lambda folders, rows: tasks_of(CLASSES),
    expected=581,
    published=published_of(
        {"top1": 60.1, "top3": 81.0, "top5": 90.3},
        {"top1": 59.8, "top3": 79.3, "top5": 87.7},
    ),
    notes=(NEW_FIGURE, "The number expected, 581, is from the literature."),
)
