"""Farthest-point sampling: points spread evenly over a cloud, the same ones every time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

__all__ = ["farthest_point_sample", "sample_with_distances"]


def farthest_point_sample(points: Tensor, n: int, start: int = 0) -> Tensor:
    """Indices of `n` points of each cloud: `start`, then always the point farthest from those already taken.

    Exact (Eldar et al., 1997; as in PointNet++): squared distances in float32 (float64 for float64 points), the
    lowest index wins a tie. A cloud with fewer than `n` distinct points repeats index 0 once they are used up.

    Args:
        points: (B, P, 3), floating point, finite.
        n: how many, 1 to P.
        start: index of the first point.

    Returns:
        (B, n) int64 on the device of `points`, in the order of sampling.

    Raises:
        InputError: a wrong shape, `n` or `start` out of range, or coordinates that are not finite.
    """
    _check(points, n, start)
    clouds = points.detach() if points.dtype == torch.float64 else points.detach().float()
    if clouds.device.type != "cpu":
        return _sample_batch(clouds, n, start)
    return torch.from_numpy(np.stack([_sample_cloud(cloud, n, start) for cloud in clouds.numpy()]))


def sample_with_distances(cloud: Tensor, n: int, start: int = 0, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """`farthest_point_sample` of one float32 cloud on the CPU, with the distances that it computes on its way.

    Args:
        cloud: (P, 3).
        n: how many, 1 to P.
        start: index of the first point.
        out: (n, P) float32 that the distances are written to; fresh memory costs as much as the arithmetic.

    Returns:
        Indices (n,) int64, and the squared distance of every point from each of them, (n, P) float32.

    Raises:
        InputError: as `farthest_point_sample`.
    """
    _check(cloud[None], n, start)
    distances = torch.empty(n, len(cloud)) if out is None else out
    chosen = _sample_cloud(cloud.detach().numpy(), n, start, distances.numpy())
    return torch.from_numpy(chosen), distances


def _check(points: Tensor, n: int, start: int) -> None:
    if points.ndim != 3 or points.shape[-1] != 3 or 0 in points.shape:
        raise InputError(f"Farthest-point sampling reads points of shape (B, P, 3), not {tuple(points.shape)}.")
    total = points.shape[1]
    if not 1 <= n <= total:
        raise InputError(f"Farthest-point sampling of {n} points needs a cloud of at least as many; this has {total}.")
    if not 0 <= start < total:
        raise InputError(f"The first point must be one of 0 to {total - 1}, not {start}.")
    if not torch.isfinite(points).all():
        raise InputError("Farthest-point sampling needs finite coordinates; some are NaN or infinite.")


def _sample_cloud(
    cloud: np.ndarray, n: int, start: int, distances: np.ndarray | None = None
) -> np.ndarray:  # (P, 3) -> (n,); fills distances (n, P)
    # numpy and preallocated buffers: three times faster than torch on a CPU, whose argmax is not vectorised
    planes = np.ascontiguousarray(cloud.T)  # (3, P)
    nearest = np.full(planes.shape[1], np.inf, planes.dtype)
    offset, squared = np.empty_like(planes), np.empty_like(nearest)
    chosen = np.empty(n, np.int64)
    current = start
    for i in range(n):
        chosen[i] = current
        np.subtract(planes, planes[:, current, None], out=offset)
        np.multiply(offset, offset, out=offset)
        squared = squared if distances is None else distances[i]
        np.add(offset[0], offset[1], out=squared)
        np.add(squared, offset[2], out=squared)
        np.minimum(nearest, squared, out=nearest)
        current = int(nearest.argmax())
    return chosen


def _sample_batch(clouds: Tensor, n: int, start: int) -> Tensor:  # (B, P, 3) -> (B, n), without leaving the device
    planes = clouds.permute(2, 0, 1).contiguous()  # (3, B, P)
    nearest = torch.full_like(planes[0], torch.inf)
    chosen = torch.empty(len(clouds), n, dtype=torch.int64, device=clouds.device)
    current = torch.full((len(clouds), 1), start, dtype=torch.int64, device=clouds.device)
    for i in range(n):
        chosen[:, i : i + 1] = current
        x, y, z = (plane - plane.gather(1, current) for plane in planes)
        torch.minimum(nearest, x * x + y * y + z * z, out=nearest)
        current = nearest.argmax(1, keepdim=True)
    return chosen
