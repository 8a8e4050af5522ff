"""Meshes and scenes: world-space triangles, and points spread evenly over them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files.opening import parsing, read_bytes
from .gltf import read_gltf
from .obj import read_obj
from .off import read_off
from .ply import read_ply
from .polygons import triangulate
from .stl import read_stl

__all__ = ["MESH_SUFFIXES", "read_mesh", "sample_surface"]

_MOST_LOOSE = 0.5  # of the points; some programs leave a few unused vertices
_POLYGONS = {".ply": read_ply, ".obj": read_obj, ".off": read_off}
MESH_SUFFIXES = (*_POLYGONS, ".glb", ".gltf", ".stl")


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Everything in a mesh file, every node of its scene in world space.

    Textures and materials are not read. Files that a .gltf names are read from its own folder only.

    Returns:
        triangles (F, 3, 3) and, where there are none, points (P, 3); float64.

    Raises:
        InputError: not a file of its kind, less in it than it declares, nothing at all, or more than
            `polygons.MAX_TRIANGLES`.
    """
    content = read_bytes(path)
    suffix = path.suffix.lower()
    with parsing(str(path), f"{suffix} file"):
        triangles, points, loose = _read(content, suffix, path)
    if not len(triangles) and not len(points):
        raise InputError(f"{path} holds no triangles and no points; it is empty or truncated.")
    if len(triangles) and loose > _MOST_LOOSE * len(points):
        warnings.warn(
            f"{path} has {len(triangles)} triangles, and {loose} points that belong to none of them; only the "
            "triangles are read.",
            stacklevel=2,
        )
    return triangles, points if not len(triangles) else points[:0]


def _read(content: bytes, suffix: str, path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Triangles, points, and how many of these belong to no triangle."""
    if suffix == ".stl":
        return read_stl(content, path), np.zeros((0, 3)), 0
    if suffix not in _POLYGONS:
        triangles, points = read_gltf(content, path)
        return triangles, points, len(points)
    vertices, corners, counts = _POLYGONS[suffix](content, path)
    triangles = triangulate(vertices, corners, counts, path)
    used = np.zeros(len(vertices), bool)
    used[corners.astype(np.int64)] = True
    return triangles, vertices, len(vertices) - int(used.sum())


def sample_surface(triangles: np.ndarray, n: int, seed: int, name: str) -> np.ndarray:
    """`n` points on triangles (F, 3, 3), shared out by area: (n, 3) float64, in the order of the triangles.

    One random place in each n-th part of the summed area, so that no region is over- or under-represented by chance.

    Raises:
        InputError: corners that are not finite, or no area at all.
    """
    if not np.isfinite(triangles).all():
        raise InputError(f"{name} has corners that are NaN or infinite; all must be finite.")
    origin, first, second = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    reach = np.cumsum(np.linalg.norm(np.cross(first, second), axis=1))  # twice the area so far
    if not 0 < reach[-1] < np.inf:
        raise InputError(
            f"{name} has {len(triangles)} triangles with an area of {reach[-1] / 2:g}; it needs a surface."
        )
    random = np.random.default_rng(seed)
    places = (np.arange(n) + random.random(n)) / n * reach[-1]
    faces = np.minimum(np.searchsorted(reach, places, side="right"), len(triangles) - 1)
    u, v = random.random((2, n, 1))
    outside = u + v > 1  # the other half of the parallelogram folds back
    u, v = np.where(outside, 1 - u, u), np.where(outside, 1 - v, v)
    return origin[faces] + u * first[faces] + v * second[faces]
