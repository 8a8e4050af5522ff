"""Instances where a scan names none: planes that hold much of the room are taken away, the rest falls into clusters.

A fallback: a chair at its table is one cluster with it. Who has a segmentation should give it.
"""

from __future__ import annotations

import numpy as np

from .._optional import require
from ..errors import InputError

__all__ = ["cluster_points"]

_GRID = 0.02  # metres; points nearer than that are one
_MOST_CELLS = 200_000  # bigger rooms get a coarser grid
_PLANES, _SHARE, _THICKNESS = 8, 0.08, 0.03  # floor, ceiling, walls: each holds so much of the cells, so thick
_BEYOND = 0.05  # of all cells at most lie behind one of these, as what is seen through a window does
_TRIES, _SAMPLE = 512, 5000
_NEIGHBOURS = 6
_LEAST_CELLS, _LEAST_SIZE = 30, 0.08  # of a cluster, in cells and metres


def cluster_points(points: np.ndarray, name: str, distance: float = 0.08) -> np.ndarray:
    """The cluster of each point by DBSCAN (Ester et al., 1996), from 1 on, -1 for floor, walls, ceiling and noise.

    Args:
        points: (V, 3) metres.
        name: the scan, for messages.
        distance: in metres, between points that belong together.

    Returns:
        (V,) int64; the cluster of most points is 1.

    Raises:
        InputError: no cluster is found, or the points span so much that they cannot be metres.
        MissingDependency: scikit-learn is not installed.
    """
    dbscan = require("sklearn.cluster", extra="scene", purpose="Telling things apart by distance").DBSCAN
    reach = float(np.ptp(points, axis=0).max())
    if not 0 < reach < 1000:
        raise InputError(
            f"{name} spans {reach:g} metres; a room spans less than 1000. Say its unit (--unit mm), or give a scan "
            "with instance ids."
        )
    cells, cell_of, grid = _cells(points)
    left = _without_planes(cells, max(_THICKNESS, grid))
    labels = np.full(len(cells), -1, np.int64)
    if left.any():
        labels[left] = dbscan(eps=max(distance, 2 * grid), min_samples=_NEIGHBOURS).fit(cells[left]).labels_
    sizes = [(int((labels == one).sum()), one) for one in range(labels.max() + 1)]
    kept = [
        one
        for size, one in sorted(sizes, key=lambda pair: (-pair[0], pair[1]))
        if size >= _LEAST_CELLS and np.ptp(cells[labels == one], axis=0).max() >= _LEAST_SIZE
    ]
    if not kept:
        raise InputError(
            f"{name} falls into 0 clusters of at least {_LEAST_CELLS} cells of {grid * 100:g} cm; give a scan with "
            "instance ids."
        )
    number = np.full(labels.max() + 2, -1, np.int64)  # the last stands for -1
    number[kept] = np.arange(1, len(kept) + 1)
    return number[labels][cell_of]


def _cells(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The mean point of each occupied cell of a grid (C, 3), the cell of each point (V,), and the grid in metres."""
    grid, low = _GRID, points.min(0)
    while True:
        keys = np.floor((points - low) / grid).astype(np.int64)  # (V, 3)
        sides = keys.max(0) + 1
        _, cell_of, counts = np.unique(
            (keys[:, 0] * sides[1] + keys[:, 1]) * sides[2] + keys[:, 2], return_inverse=True, return_counts=True
        )
        if len(counts) <= _MOST_CELLS:
            sums = [np.bincount(cell_of, points[:, axis], len(counts)) for axis in range(3)]
            return np.stack(sums, 1) / counts[:, None], cell_of, grid
        grid *= 1.5


def _without_planes(cells: np.ndarray, thickness: float) -> np.ndarray:
    """Which cells are left once planes that hold at least a share of all are taken away (RANSAC): (C,) bool."""
    random = np.random.default_rng(0)
    left = np.ones(len(cells), bool)
    for _ in range(_PLANES):
        rest = cells[left]
        if len(rest) < max(3, _SHARE * len(cells)):
            break
        plane = _best_plane(rest, cells, thickness, random)
        if plane is None:
            break
        near = np.abs(cells @ plane[0] - plane[1]) <= thickness
        if (near & left).sum() < _SHARE * len(cells):
            break
        left &= ~near
    return left


def _best_plane(
    rest: np.ndarray, cells: np.ndarray, thickness: float, random: np.random.Generator
) -> tuple[np.ndarray, float] | None:
    """Normal and offset of the plane that holds most of the rest and has nearly all cells on one side of it."""
    corners = rest[random.integers(0, len(rest), (_TRIES, 3))]  # (T, 3, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    normals[lengths > 0] /= lengths[lengths > 0, None]
    offsets = np.einsum("ti,ti->t", normals, corners[:, 0])
    near, all_ = (
        one[random.permutation(len(one))[:_SAMPLE]] @ normals.T - offsets for one in (rest, cells)
    )  # (S, T) distances each; a sample is enough to compare candidates by
    counts = (np.abs(near) <= thickness).sum(0)
    beyond = np.minimum((all_ > thickness).mean(0), (all_ < -thickness).mean(0))
    counts[(lengths == 0) | (beyond > _BEYOND)] = 0
    best = int(counts.argmax())
    return (normals[best], float(offsets[best])) if counts[best] else None
