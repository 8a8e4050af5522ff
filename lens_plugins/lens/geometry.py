"""Neighbourhoods of a point cloud."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..inputs.sampling import farthest_point_sample, sample_with_distances

__all__ = ["gather_points", "nearest_neighbors", "spread_and_group", "spread_centers"]

_CHUNK = 2**19  # distances held at once: 2 MB of float32 stay in a core's cache
_KEPT = 2**24  # distances that sampling may leave for the neighbours: 64 MB


def gather_points(points: Tensor, index: Tensor) -> Tensor:
    """Points by index: (B, P, 3), (B, ...) int64 -> (B, ..., 3)."""
    flat = index.flatten(1)[..., None].expand(-1, -1, points.shape[-1])
    return points.gather(1, flat).unflatten(1, index.shape[1:])


def spread_centers(points: Tensor, count: int, start: int = 0) -> Tensor:
    """Indices of centres spread by farthest-point sampling: (B, P, 3) -> (B, count).

    A cloud with fewer points than centres repeats its first centre, as one with too few distinct points does.
    """
    index = farthest_point_sample(points, min(count, points.shape[1]), start)  # (B, min(count, P))
    return torch.cat([index, index[:, :1].expand(-1, count - index.shape[1])], 1)


@torch.no_grad()
def spread_and_group(points: Tensor, count: int, k: int, start: int = 0) -> tuple[Tensor, Tensor]:
    """Spread centres and the `k` points nearest to each: `spread_centers`, then `nearest_neighbors`.

    On a CPU the neighbours are read off the distances that the sampling computes anyway.

    Args:
        points: (B, P, 3) float32, P >= k.
        count: of centres.
        k: of neighbours.
        start: index of the first centre.

    Returns:
        Indices of the centres (B, count) and of their neighbours, nearest first (B, count, k), both int64.
    """
    total = points.shape[1]
    if points.device.type != "cpu" or count > total or count * total > _KEPT:
        index = spread_centers(points, count, start)
        return index, nearest_neighbors(gather_points(points, index), points, k)
    found, kept = [], torch.empty(count, total)
    for cloud in points:
        index, distances = sample_with_distances(cloud, count, start, kept)
        found.append((index, torch.cat([_smallest(some, k) for some in distances.split(max(1, _CHUNK // total))])))
    centers, neighbors = zip(*found)
    return torch.stack(centers), torch.stack(neighbors)


@torch.no_grad()
def nearest_neighbors(centers: Tensor, points: Tensor, k: int) -> Tensor:
    """Indices of the `k` points nearest to each centre, nearest first.

    Distances are sums of squared differences, not |a|² - 2ab + |b|²: the expanded form cancels in float32, and two
    points at nearly one distance would change places. One matrix of distances is held for some centres at a time;
    a tensor of differences (B, G, P, 3) never exists.

    Args:
        centers: (B, G, 3).
        points: (B, P, 3), P >= k.
        k: how many.

    Returns:
        (B, G, k) int64.
    """
    rows = max(1, _CHUNK // points.shape[1])
    per_cloud = [
        torch.cat([_nearest(some, planes, k) for some in cloud.split(rows)])
        for cloud, planes in zip(centers, points.transpose(1, 2).contiguous())
    ]
    return torch.stack(per_cloud)


def _nearest(centers: Tensor, planes: Tensor, k: int) -> Tensor:  # (R, 3), (3, P) -> (R, k)
    distance, offset = centers.new_zeros(len(centers), planes.shape[1]), None  # (R, P)
    for axis, plane in enumerate(planes):
        offset = torch.sub(centers[:, axis, None], plane, out=offset)
        distance.addcmul_(offset, offset)
    return _smallest(distance, k)


def _smallest(values: Tensor, k: int) -> Tensor:  # (R, P) -> indices (R, k)
    """`topk(k, largest=False)` in two passes.

    The k smallest values of a row lie in the k of its blocks that have the smallest minima, so only these are sorted.
    """
    width = values.shape[1]
    size = math.isqrt(width // k)
    # Blocks of one value would make two passes of one.
    if size < 2:
        return values.topk(k, largest=False).indices
    # Rounded up: the last block may be filled with infinities, which are never among the smallest.
    blocks = -(-width // size)
    if blocks * size > width:
        values = torch.nn.functional.pad(values, (0, blocks * size - width), value=torch.inf)
    strided = values.view(len(values), size, blocks)  # block b holds the values b, b + blocks, ...
    best = strided.amin(1).topk(k, largest=False).indices  # (R, k) blocks
    candidates = (best[:, None] + torch.arange(size, device=values.device)[:, None] * blocks).flatten(1)  # (R, size*k)
    order = values.gather(1, candidates).topk(k, largest=False).indices
    return candidates.gather(1, order)
