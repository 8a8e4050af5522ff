"""Point clouds and meshes: farthest-point sampling, then centred and scaled into the unit ball."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from typing_extensions import Self

from ..errors import InputError
from .arrays import ARRAY_SUFFIXES, as_array, load_array
from .base import ModalityInput, Payload
from .meshes import MESH_SUFFIXES, read_mesh, sample_surface
from .pcd import read_pcd
from .sampling import farthest_point_sample
from .settings import InputSettings, SampleDraws, ViTShape
from .xyz import read_xyz

__all__ = ["PointCloudSettings", "read"]

# of an .npz with several arrays, best first; point-e writes coords, Pointcept coord
_KEYS = ("points", "xyz", "pc", "point_cloud", "coords", "coord", "pos", "positions", "vertices", "arr_0")
_UP = {"y": ((0, 1, 2), (1, 1, 1)), "z": ((0, 2, 1), (1, 1, -1))}  # which axes become x, y, z, and their signs
_MAX_COLUMNS = 64


@dataclass(frozen=True)
class PointCloudSettings(InputSettings):
    """How many points are kept, which axis is up, and the seed of every random choice.

    The same file gives the same tensor. Lenses are trained on clouds whose y axis is up, as most meshes have it;
    scanners and robots mostly write z up.
    """

    per_input: ClassVar[tuple[str, ...]] = ("up", "seed", "candidates")

    max_points: int = 8192  # more are thinned out by farthest-point sampling
    mesh_points: int = 10_000  # taken from a mesh's surface, before that
    candidates: int = 100_000  # bigger clouds are first thinned out to these at random, which bounds the time
    seed: int = 0
    up: str = "y"  # the file's axis that points up: "y" or "z"

    def __post_init__(self) -> None:
        for field in ("max_points", "mesh_points"):
            value = getattr(self, field)
            self._require(2 <= value <= 10_000_000, f"{field} is {value}; it must be 2 to 10000000.")
        self._require(
            self.candidates >= self.max_points,
            f"candidates is {self.candidates}; it must be at least max_points, {self.max_points}.",
        )
        self._require(self.seed >= 0, f"seed is {self.seed}; it must be 0 or more.")
        self._require(self.up in _UP, f"up is {self.up!r}; it must be {' or '.join(map(repr, _UP))}.")

    @classmethod
    def for_vit(cls, vit: ViTShape) -> Self:
        """Fewer points for a small ViT, whose lens has fewer groups."""
        return cls() if vit.large else cls(max_points=1024)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(P, 3)."""
        return None, 3

    def for_training(self) -> Self:
        """Read all the points that a released lens would, so that every epoch can choose others."""
        most = max(self.max_points, PointCloudSettings.max_points)
        return replace(self, max_points=most, candidates=max(self.candidates, most))

    def thinned(self, points: int) -> Self:
        """The same with so many points of each cloud."""
        return replace(self, max_points=points)

    def batch(self, tensors: Sequence[Tensor], draws: SampleDraws, spare: int = 1) -> Tensor:
        """Clouds of any size -> (B, P, 3), P as the lens reads; points repeat only where a cloud has fewer."""
        chosen = draws.pick(self.max_points * spare, [len(cloud) for cloud in tensors])
        return torch.stack([cloud[index] for cloud, index in zip(tensors, chosen)])


def read(source: Payload, settings: PointCloudSettings) -> ModalityInput:
    """A mesh, a scan or an array (P, ≥ 3) to points (P', 3) float32, mean at the origin, largest distance 1.

    Columns after the third (colours, normals) are not used. An array of more columns than rows is refused as
    transposed; (3, 3) is three points. Axes stay as they are, unless `settings.up` is "z": then
    the cloud is turned by a quarter about x, so that y is up. A cloud of at most `settings.max_points` keeps all its
    points, in a random order.

    Raises:
        InputError: not a file of its kind, values that are not finite, or no two distinct points.
    """
    path = source if isinstance(source, Path) else None
    name = str(path or "The point cloud")
    points = _load(source, settings, name)
    axes, signs = _UP[settings.up]
    chosen = _unit_ball(points[_choose(points, settings)], name)[:, axes] * signs
    chosen = np.ascontiguousarray(chosen, np.float32)
    return ModalityInput("point_cloud", torch.from_numpy(chosen), str(path) if path else None)


def _load(source: Payload, settings: PointCloudSettings, name: str) -> np.ndarray:  # -> (P, 3) float32 or float64
    found = _read_file(source, settings) if isinstance(source, Path) else source
    if isinstance(found, Image.Image):
        raise InputError(f"{name} is a picture; a point cloud is an array of (points, 3).")
    points = as_array(found, name)
    if points.ndim == 2 and points.shape[1] > max(3, len(points)):
        raise InputError(
            f"{name} has shape {points.shape}, {points.shape[1]} columns for {len(points)} points; a point cloud is "
            "(points, 3): transpose it."
        )
    if points.ndim != 2 or not 3 <= points.shape[1] <= _MAX_COLUMNS:
        raise InputError(
            f"{name} has shape {points.shape}; a point cloud is (points, 3), "
            f"or up to {_MAX_COLUMNS} columns that start with x, y, z."
        )
    # squares of extreme coordinates would overflow; a power of two changes no digit
    return np.ldexp(points[:, :3], -np.frexp(np.abs(points[:, :3]).max())[1])


def _read_file(path: Path, settings: PointCloudSettings) -> np.ndarray | Tensor:
    suffix = path.suffix.lower()
    if suffix in MESH_SUFFIXES:
        triangles, points = read_mesh(path)
        if len(triangles):
            return sample_surface(triangles, settings.mesh_points, settings.seed, str(path))
        return points
    if suffix in ARRAY_SUFFIXES:
        return load_array(path, _KEYS)
    return read_xyz(path) if suffix == ".xyz" else read_pcd(path)


def _choose(points: np.ndarray, settings: PointCloudSettings) -> np.ndarray:  # (P, 3) -> indices (P',)
    random = np.random.default_rng(settings.seed)
    if len(points) <= settings.max_points:
        return random.permutation(len(points))
    candidates = np.arange(len(points))
    if len(points) > settings.candidates:
        candidates = np.sort(random.choice(len(points), settings.candidates, replace=False))
    cloud = torch.from_numpy(points[candidates])[None]
    return candidates[farthest_point_sample(cloud, settings.max_points)[0].numpy()]


def _unit_ball(points: np.ndarray, name: str) -> np.ndarray:  # (P, 3) -> (P, 3) float64
    centred = points - points.mean(axis=0, dtype=np.float64)
    radius = np.linalg.norm(centred, axis=1).max()
    if radius <= 1e-12:
        raise InputError(f"{name} has all its points ({len(points)}) at one place; it needs at least 2 distinct ones.")
    return centred / radius
