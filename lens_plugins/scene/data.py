"""What a scan is once it has been read: instances with points and crops, and the cloud or mesh that they are part of.

V vertices, F triangles, P points of one instance. Coordinates are metres along the scan's own axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ConfigError, InputError
from ..files.opening import brief

__all__ = ["MAX_INSTANCES", "MAX_POINTS", "UNITS", "Crop", "Geometry", "Instance", "Scene", "listed", "whole_ids"]

MAX_INSTANCES = 10_000
MAX_POINTS = 20_000_000  # vertices of one scan: Matterport's biggest building has some 5 million
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}


@dataclass(frozen=True, eq=False)
class Crop:
    """One picture of an instance, and how many of its points or pixels are seen in it."""

    picture: Image.Image | Path
    visible: int
    frame: str  # the file that it was cut from


@dataclass(frozen=True, eq=False)
class Instance:
    """One thing in a room. `label` is what the scan calls it: shown beside it, never used to rank it."""

    id: int
    label: str | None = None
    points: np.ndarray | None = None  # (P, 3) float64
    triangles: np.ndarray | None = None  # (T, 3, 3) float64, where the scan is a mesh
    crops: tuple[Crop, ...] = ()  # the best first

    @property
    def centre(self) -> np.ndarray | None:
        """The middle of the box around its points: (3,)."""
        return None if self.points is None else (self.points.min(0) + self.points.max(0)) / 2

    @property
    def size(self) -> np.ndarray | None:
        """The sides of that box: (3,)."""
        return None if self.points is None else np.ptp(self.points, axis=0)


@dataclass(frozen=True, eq=False)
class Geometry:
    """A cloud or mesh; `ids` (V,) names the instance of each vertex, None where the file names none."""

    points: np.ndarray  # (V, 3) float64
    faces: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    colours: np.ndarray | None = None  # (V, 3) uint8
    ids: np.ndarray | None = None  # (V,) int64, -1: no instance
    labels: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scene:
    """A room: its instances in the order of their ids, how they were told apart, and what it is made of.

    `found_by` is "ids" (the scan's own), "masks", "files" (a folder of crops) or "clusters" (a guess by distance).
    """

    name: str
    instances: Sequence[Instance]
    found_by: str
    up: str = "z"
    geometry: Geometry | None = None
    notes: tuple[str, ...] = ()  # what was left out or guessed, a sentence each


def listed(folder: Path) -> list[Path]:
    """What a folder holds, by name.

    Raises:
        InputError: it cannot be listed.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{brief(folder)} cannot be listed: {error.strerror or error}.") from error


def whole_ids(values: np.ndarray, name: str, zero: str) -> np.ndarray:
    """Instance ids as int64, -1 where there is no instance.

    Args:
        values: (V,) numbers of any type.
        name: the file and its field, for messages.
        zero: what the id 0 means: "object", "none", or "auto": "none" unless some id is negative. Negative ids never
            name an instance. ScanNet numbers from 1 and leaves 0 free; Pointcept numbers from 0 and marks with -1.

    Raises:
        InputError: ids that are not whole numbers, or more than `MAX_INSTANCES` different ones.
        ConfigError: another word for `zero`.
    """
    if zero not in ("auto", "object", "none"):
        raise ConfigError(f"zero is {zero!r}; it must be auto, object or none.")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind not in "iuf" or values.ndim != 1:
        raise InputError(f"{name} has shape {values.shape} of {values.dtype}; instance ids are one number a point.")
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.rint(values))).all():
        wrong = values[~(np.isfinite(values) & (values == np.rint(values)))]
        raise InputError(
            f"{name} has {len(wrong)} of {len(values)} instance ids that are not whole numbers, such as {wrong[0]:g}."
        )
    if len(values) and not -(2**31) <= float(values.min()) <= float(values.max()) < 2**31:
        raise InputError(f"{name} has instance ids up to {values.max():g}; they must be below {2**31}.")
    ids = values.astype(np.int64)
    free = zero == "none" or (zero == "auto" and not (ids < 0).any())
    ids = np.where(ids < (1 if free else 0), -1, ids)
    different = len(np.unique(ids[ids >= 0]))
    if different > MAX_INSTANCES:
        raise InputError(f"{name} has {different} different instance ids; at most {MAX_INSTANCES} are read.")
    return ids
