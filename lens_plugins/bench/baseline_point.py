"""The point tokenizer written as its description reads: what `lens_plugins.lens` is measured against.

Nothing here is made slow on purpose. Distances come from one matrix product; the network is `Conv1d`, `BatchNorm1d`,
`ReLU`, concatenation and maximum, as the mini-PointNet is published (Qi et al. 2017; Yu et al. 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..lens.embeddings.point_cloud import PointEmbedding

__all__ = ["PlainPointEmbedding", "farthest_points", "nearest"]


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Farthest-point sampling of a batch from each cloud's first point: (B, P, 3) -> indices (B, count)."""
    chosen = torch.zeros(len(points), count, dtype=torch.int64)
    distance = torch.full(points.shape[:2], torch.inf)
    current = torch.zeros(len(points), dtype=torch.int64)
    batch = torch.arange(len(points))
    for i in range(count):
        chosen[:, i] = current
        gap = ((points - points[batch, current, None]) ** 2).sum(-1)
        distance = torch.minimum(distance, gap)
        current = distance.argmax(-1)
    return chosen


def nearest(centers: Tensor, points: Tensor, k: int) -> Tensor:
    """Indices of the k nearest points by the whole matrix of squared distances: (B, G, 3), (B, P, 3) -> (B, G, k)."""
    square = -2 * centers @ points.transpose(1, 2)  # (B, G, P)
    square = square + (centers**2).sum(-1)[:, :, None] + (points**2).sum(-1)[:, None]
    return square.topk(k, dim=-1, largest=False, sorted=False).indices


class PlainPointEmbedding(nn.Module):
    """The same tokens and positions as a `PointEmbedding`, whose weights it copies."""

    def __init__(self, lens: PointEmbedding) -> None:
        super().__init__()
        encoder, config = lens.encoder, lens.config
        hidden = config.hidden
        self.config = config
        self.first = nn.Sequential(
            nn.Conv1d(3, hidden, 1), nn.BatchNorm1d(hidden), nn.ReLU(True), nn.Conv1d(hidden, 2 * hidden, 1)
        )
        self.second = nn.Sequential(
            nn.Conv1d(4 * hidden, 4 * hidden, 1),
            nn.BatchNorm1d(4 * hidden),
            nn.ReLU(True),
            nn.Conv1d(4 * hidden, config.encoder_dim, 1),
        )
        self.reduce, self.position = lens.reduce, lens.position
        for ours, plain in (
            ((encoder.lift, encoder.lift_norm, encoder.expand), self.first),
            ((encoder.mix, encoder.mix_norm, encoder.project), self.second),
        ):
            _copy(ours, plain)
        self.eval()

    def group(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, 3) -> centres (B, G, 3), neighbours relative to their centre (B, G, K, 3)."""
        batch = torch.arange(len(points))[:, None]
        centers = points[batch, farthest_points(points, self.config.num_groups)]
        neighbors = points[batch[..., None], nearest(centers, points, self.config.group_size)]
        return centers, neighbors - centers[:, :, None]

    def encode(self, groups: Tensor) -> Tensor:
        """(B, G, K, 3) -> (B, G, E)."""
        b, g, k, _ = groups.shape
        local = self.first(groups.reshape(b * g, k, 3).transpose(1, 2))  # (BG, 2h, K)
        widest = local.max(2, keepdim=True).values  # (BG, 2h, 1)
        both = torch.cat([widest.expand(-1, -1, k), local], 1)  # (BG, 4h, K)
        return self.second(both).max(2).values.reshape(b, g, -1)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:  # (B, P, 3) -> (B, G, W), (B, G, W)
        centers, groups = self.group(points)
        return self.reduce(self.encode(groups)), self.position(centers)


@torch.no_grad()
def _copy(ours: tuple[nn.Module, ...], plain: nn.Sequential) -> None:
    before, norm, after = ours
    for linear, conv in ((before, plain[0]), (after, plain[3])):
        conv.weight.copy_(linear.weight[..., None])
        conv.bias.copy_(linear.bias)
    for theirs, own in (("weight", "weight"), ("bias", "bias"), ("running_mean", "mean"), ("running_var", "var")):
        getattr(plain[1], theirs).copy_(getattr(norm, own))
