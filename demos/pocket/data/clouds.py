"""Point clouds even on a surface, in the frame of every cloud here: centred, farthest point at 1, y up."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from lens_plugins.errors import InputError

__all__ = ["POINTS", "normalise", "sample_surface", "shape_ratios"]

POINTS = 8192
BOX_TOLERANCE = 0.15  # of half a diagonal


def sample_surface(triangles: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points even by area, and the unit normals of their triangles.

    Args:
        triangles: corners, (F, 3, 3).

    Returns:
        points (count, 3) and normals (count, 3), float32, in the triangles' frame.

    Raises:
        InputError: no triangle has an area.
    """
    a, b, c = (triangles[:, i].astype(np.float64) for i in range(3))
    cross = np.cross(b - a, c - a)
    area = np.linalg.norm(cross, axis=1)
    if not area.sum() > 0:
        raise InputError(
            f"The surface of {len(triangles)} triangles has an area of {area.sum():g}; it must be above 0."
        )
    # One pick in each of `count` equal stretches of the summed areas: less clumping than chance.
    ticks = (np.arange(count) + rng.random(count)) / count
    picked = np.minimum(np.searchsorted(np.cumsum(area) / area.sum(), ticks), len(area) - 1)
    r, s = np.sqrt(rng.random(count))[:, None], rng.random(count)[:, None]
    points = (1 - r) * a[picked] + r * (1 - s) * b[picked] + r * s * c[picked]
    normals = cross[picked] / np.maximum(area[picked], 1e-12)[:, None]
    order = rng.permutation(count)  # so that the first n points are a fair sample too
    return points[order].astype(np.float32), normals[order].astype(np.float32)


def normalise(points: np.ndarray) -> np.ndarray:
    """Centre on the mean and scale the farthest point to distance 1, as PointBERT's loader does."""
    centred = points - points.mean(0)
    return centred / max(float(np.linalg.norm(centred, axis=1).max()), 1e-9)


def _unit(points: np.ndarray) -> np.ndarray:
    """Middle of the box at 0, its diagonal 2."""
    low, high = points.min(0), points.max(0)
    return (points - (low + high) / 2) * (2 / max(float(np.linalg.norm(high - low)), 1e-9))


def _same_box(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two boxes of diagonal 2 have about the same sides, up to a quarter turn about y."""
    sides = np.ptp(a, axis=0)
    return any(np.abs(np.ptp(b, axis=0)[order] - sides).max() < BOX_TOLERANCE for order in ([0, 1, 2], [2, 1, 0]))


class _Shape:
    """A cloud in two halves: one to look things up in, one to look up."""

    def __init__(self, points: np.ndarray, size: int) -> None:
        self.tree, self.probe = cKDTree(points[:size]), points[size : 2 * size]
        self.noise = float(self.tree.query(self.probe)[0].mean())  # how far two samples of one surface lie apart


def _ratio(a: _Shape, b: _Shape) -> float:
    """Distance of two shapes in units of their sampling noise, at the best of four turns; the worse of both ways."""
    both = (max(a.tree.query(b.probe @ t)[0].mean(), b.tree.query(a.probe @ t.T)[0].mean()) for t in QUARTERS)
    return float(min(both)) / max(a.noise, b.noise)


def shape_ratios(clouds: list[np.ndarray], limit: float) -> list[tuple[int, int, float]]:
    """Pairs of clouds that show nearly one shape, in whatever size, turned by quarters about y or not.

    A ratio of 1 means that two clouds differ no more than two samples of one surface do. Measured on furniture with
    4,096 points: the same mesh in other colours 0.9 to 1.1, one car and another 1.5, sofas 1.6 to 3.

    Args:
        clouds: each (P, 3), its points in random order.
        limit: pairs with a greater ratio are left out.

    Returns:
        (i, j, ratio) with i < j.
    """
    units = [_unit(cloud.astype(np.float32)) for cloud in clouds]
    coarse = [_Shape(points, min(512, len(points) // 2)) for points in units]
    fine: dict[int, _Shape] = {}
    pairs = []
    for j in range(len(clouds)):
        for i in range(j):
            if not _same_box(units[i], units[j]) or _ratio(coarse[i], coarse[j]) > limit:  # coarse ratios are smaller
                continue
            for k in (i, j):
                fine.setdefault(k, _Shape(units[k], len(units[k]) // 2))
            ratio = _ratio(fine[i], fine[j])
            if ratio <= limit:
                pairs.append((i, j, ratio))
    return pairs


QUARTERS = [np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))]
