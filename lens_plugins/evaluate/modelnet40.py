"""ModelNet40 as ULIP lays it out and ViT-Lens scores it: 2,468 clouds, 40 classes, 64 templates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files.numpy_pickles import read_numpy_pickle
from ..files.opening import parsing, read_bytes
from .benchmark import Benchmark, Folders, Published, Row, Task
from .checks import whole
from .metrics import TopK
from .tables import read_utf8
from .templates import MODELNET40_64

if TYPE_CHECKING:
    import numpy as np

__all__ = ["BENCHMARK", "CLASSES", "read_text_cloud"]

CLASSES = (
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone", "cup", "curtain",
    "desk", "door", "dresser", "flower pot", "glass box", "guitar", "keyboard", "lamp", "laptop", "mantel", "monitor",
    "night stand", "person", "piano", "plant", "radio", "range hood", "sink", "sofa", "stairs", "stool", "table",
    "tent", "toilet", "tv stand", "vase", "wardrobe", "xbox",
)  # fmt: skip
_FOLDER = "modelnet40_normal_resampled"
_CACHE = "modelnet40_test_8192pts_fps.dat"


def rows(folders: Folders) -> list[Row]:
    """The cache of sampled clouds where it is there, else the text files that `modelnet40_test.txt` lists."""
    root = folders.data / _FOLDER if (folders.data / _FOLDER).is_dir() else folders.data
    if (root / _CACHE).is_file():
        clouds, labels = _cache(root / _CACHE)
        return [Row(f"{_CACHE}[{n}]", cloud, label) for n, (cloud, label) in enumerate(zip(clouds, labels))]
    listed = folders.find(f"{_FOLDER}/modelnet40_test.txt", "modelnet40_test.txt")
    names = [line.strip() for line in read_utf8(listed).split("\n") if line.strip()]
    return [_row(listed.parent, name) for name in names]


def _cache(file: Path) -> tuple[Sequence[np.ndarray], list[int]]:
    value = read_numpy_pickle(file)
    try:
        clouds, labels = value
        numbers = [whole(label.item()) for label in labels]
        if len(clouds) != len(numbers) or not all(type(n) is int and 0 <= n < len(CLASSES) for n in numbers):
            raise ValueError(f"{len(clouds)} clouds and {len(numbers)} labels")
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is no pair of clouds and labels ({error}); fetch it again.") from error
    return clouds, numbers


def _row(folder: Path, name: str) -> Row:
    word = name.rpartition("_")[0]  # night_stand_0201
    label = word.replace("_", " ")
    if label not in CLASSES:
        raise InputError(f"{folder}: {name!r} is of no class of ModelNet40; lines are as airplane_0627.")
    return Row(f"{word}/{name}.txt", partial(read_text_cloud, folder / word / f"{name}.txt"), CLASSES.index(label))


def read_text_cloud(file: Path) -> np.ndarray:
    """(P, 3) of lines x,y,z,nx,ny,nz."""
    import numpy as np

    content = read_bytes(file)
    with parsing(str(file), "list of points"):
        return np.loadtxt(content.decode("ascii").splitlines(), np.float32, delimiter=",", usecols=(0, 1, 2), ndmin=2)


def tasks(folders: Folders, rows: Sequence[Row]) -> list[Task]:
    """40 classes, as their names stand in the data set, without underscores."""
    return [Task(CLASSES, MODELNET40_64, TopK((1, 5), by_class=True))]


BENCHMARK = Benchmark(
    name="modelnet40",
    title="ModelNet40",
    modality="point_cloud",
    rows=rows,
    tasks=tasks,
    expected=2468,
    published=(
        Published("ViT-Lens-L, Objaverse", {"top1": 80.6, "top5": 95.8}, "Datacomp_L14_objaverse.pt"),
        Published("ViT-Lens-L, ShapeNet", {"top1": 70.6, "top5": 94.4}, "Datacomp_L14_ShapeNet.pt"),
    ),
    notes=("Points of a cloud are chosen from index 0 here and from a random one there: tenths of a point apart.",),
)
