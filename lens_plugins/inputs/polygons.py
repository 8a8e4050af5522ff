"""Polygons cut into triangles: fans where they are convex, ears where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError

__all__ = ["MAX_TRIANGLES", "check_triangles", "triangulate"]

MAX_TRIANGLES = 10_000_000
_MAX_STEPS = 10**9  # corners looked at while ears are cut, over a whole file
_BATCH = 2**18  # corners of the polygons that are cut at the same time
_FLAT = 1e-9  # sine below which three corners are taken to lie on one line


def check_triangles(count: int, path: Path) -> None:
    """Refuse more than `MAX_TRIANGLES`."""
    if count > MAX_TRIANGLES:
        raise InputError(f"{path} has over {MAX_TRIANGLES} triangles ({count} so far); simplify it.")


def triangulate(vertices: np.ndarray, corners: np.ndarray, counts: np.ndarray, path: Path) -> np.ndarray:
    """Polygons as triangles, in the order of the polygons; those of two corners or fewer have none.

    Args:
        vertices: (V, 3) float64.
        corners: (M,) indices of vertices, one polygon after another.
        counts: (F,) corners of each polygon.
        path: the file, for messages.

    Returns:
        (T, 3, 3) float64.

    Raises:
        InputError: a vertex that is not there, over `MAX_TRIANGLES`, or polygons too entangled to be cut.
    """
    _check_corners(len(vertices), corners, counts, path)
    corners = corners.astype(np.int64, copy=False)
    each = np.maximum(counts - 2, 0)  # triangles of each polygon
    check_triangles(int(each.sum()), path)
    if (counts == 3).all():
        return vertices[corners.reshape(-1, 3)]
    cut = np.empty((each.sum(), 3), np.int64)
    first_corners, first_triangles = np.cumsum(counts) - counts, np.cumsum(each) - each
    budget = [_MAX_STEPS]
    for size in np.unique(counts[counts > 2]):
        same = np.flatnonzero(counts == size)
        polygons = corners[first_corners[same, None] + np.arange(size)]  # (K, size)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused where it is sampled
            cut[first_triangles[same, None] + np.arange(size - 2)] = _cut(vertices, polygons, budget, path)
    return vertices[cut]


def _check_corners(held: int, corners: np.ndarray, counts: np.ndarray, path: Path) -> None:
    wrong = np.flatnonzero(~((corners >= 0) & (corners < held)))  # NaN is wrong too
    if corners.dtype.kind == "f" and not len(wrong):
        wrong = np.flatnonzero(corners != np.rint(corners))
    if len(wrong):
        face = int(np.searchsorted(np.cumsum(counts), wrong[0], side="right"))
        raise InputError(
            f"{path} names vertex {corners[wrong[0]]:g} (counted from 0) in face {face + 1}, but has {held} vertices; "
            "it is damaged or truncated."
        )


def _cut(vertices: np.ndarray, polygons: np.ndarray, budget: list[int], path: Path) -> np.ndarray:
    size = polygons.shape[1]  # (K, size) -> (K, size - 2, 3)
    ring = np.arange(1, size - 1)
    places = np.broadcast_to(np.stack([0 * ring, ring, ring + 1], 1), (len(polygons), size - 2, 3)).copy()
    if size > 3:
        concave, flat = _project(vertices[polygons])
        batch = max(1, _BATCH // size)
        for start in range(0, len(concave), batch):
            part = slice(start, start + batch)
            places[concave[part]] = _cut_ears(flat[:, part], budget, path)
    return np.take_along_axis(polygons[:, None], places, 2)


def _project(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which polygons a fan would not fill, and their outlines in a plane, counter-clockwise.

    Args:
        points: (K, n, 3).

    Returns:
        Rows of `points` (C,) and outlines (2, C, n).
    """
    offsets = points - points[:, :1]
    normals = np.cross(offsets[:, 1:-1], offsets[:, 2:])  # (K, n - 2, 3) of the fan's triangles
    whole = normals.sum(1)  # (K, 3)
    agree = np.einsum("kti,ki->kt", normals, whole)
    concave = np.flatnonzero((agree < -_FLAT * np.einsum("ki,ki->k", whole, whole)[:, None]).any(1))
    axis = np.abs(whole[concave]).argmax(1)  # the plane that the polygon covers most of
    planes = np.stack([(axis + 1) % 3, (axis + 2) % 3])  # (2, C)
    flat = offsets[concave[None, :, None], np.arange(points.shape[1]), planes[..., None]]  # (2, C, n)
    flat[0, whole[concave, axis] < 0] *= -1
    return concave, flat


def _cut_ears(flat: np.ndarray, budget: list[int], path: Path) -> np.ndarray:
    """Ear cutting (Meisters, 1975) of many outlines (2, K, n) at the same time: (K, n - 2, 3) places in them."""
    count, size = flat.shape[1:]
    cut = np.zeros((count, size - 2, 3), np.int64)
    before = np.tile(np.roll(np.arange(size), 1), (count, 1))
    after = np.tile(np.roll(np.arange(size), -1), (count, 1))
    alive = np.ones((count, size), bool)
    rows, tip = np.arange(count), np.zeros(count, np.int64)
    tried, left = np.zeros(count, np.int64), np.full(count, size)
    while len(rows):
        budget[0] -= len(rows) * size
        if budget[0] < 0:
            raise InputError(f"{path} has polygons of {size} corners that are too entangled to be cut; triangulate it.")
        here = tip[rows]
        ends = np.stack([before[rows, here], here, after[rows, here]], 1)  # (R, 3)
        stuck = tried[rows] // left[rows]  # a polygon that crosses itself has no ears left: any corner will do
        ear = _is_ear(flat[:, rows], alive[rows], ends, stuck > 0) | (stuck > 1)
        done, (a, b, c) = rows[ear], ends[ear].T
        cut[done, size - left[done]] = ends[ear]
        after[done, a], before[done, c], alive[done, b] = c, a, False
        left[done] -= 1
        tried[done], tip[done] = 0, a  # the corner before has become another one
        tried[rows[~ear]] += 1
        tip[rows[~ear]] = ends[~ear, 2]
        rows = rows[left[rows] > 2]
    return cut


def _is_ear(flat: np.ndarray, alive: np.ndarray, ends: np.ndarray, strict: np.ndarray) -> np.ndarray:
    """Whether the corner `ends[:, 1]` turns left and no other corner lies in its triangle: (R,).

    Args:
        flat: outlines (2, R, n).
        alive: (R, n), corners not yet cut off.
        ends: (R, 3), the corner between its neighbours.
        strict: (R,), whether corners on the triangle's border count as outside.
    """
    tips = np.take_along_axis(flat, ends[None], 2)  # (2, R, 3)
    sides = np.roll(tips, -1, 2) - tips  # (2, R, 3)
    turn = sides[0, :, 0] * sides[1, :, 1] - sides[1, :, 0] * sides[0, :, 1]
    lengths = np.hypot(sides[0], sides[1])
    straight = np.abs(turn) <= _FLAT * lengths[:, 0] * lengths[:, 1]
    within = alive
    for k in range(3):
        x, y = flat[0] - tips[0, :, k, None], flat[1] - tips[1, :, k, None]  # (R, n)
        side = sides[0, :, k, None] * y - sides[1, :, k, None] * x
        within = within & ((side > 0) if strict.all() else (side > 0) | (side == 0) & ~strict[:, None])
        within &= (x != 0) | (y != 0)  # a corner at the same place does not count
    return straight | ((turn > 0) & ~within.any(1))
