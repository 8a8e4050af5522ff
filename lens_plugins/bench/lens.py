"""How fast a lens is beside the plain algorithm: ``python -m lens_plugins.bench.lens``.

The plain point tokenizer takes distances from one matrix product; its network is `Conv1d`, `BatchNorm1d`, `ReLU`,
concatenation and maximum, as the mini-PointNet is published (Qi et al. 2017; Yu et al. 2022).

Both are run in turn, so that other work on the machine disturbs them alike. Wall-clock medians decide; processor time,
summed over threads, is printed beside them, since it hardly depends on who else is running.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..lens.embeddings.point_cloud import PointConfig, PointEmbedding
from ..lens.geometry import nearest_neighbors, spread_centers
from ..lens.perceiver import Attention, LatentBlock, Perceiver, PerceiverConfig, PerceiverLayer

__all__ = ["Comparison", "compare", "hardware", "measure_points", "measure_resampler", "run"]

EVA_LAYER = PerceiverConfig(1408, 256, 384, 1, 1, 1, 88, 16, 88)
"""One of the six layers of the released 3D lens."""


@dataclass(frozen=True)
class Comparison:
    """Median times of two ways to compute one thing."""

    name: str
    plain_s: float  # wall clock
    ours_s: float
    plain_cpu_s: float  # summed over threads
    ours_cpu_s: float
    difference: float  # largest absolute difference of the results

    @property
    def ratio(self) -> float:
        return self.plain_s / self.ours_s

    @property
    def cpu_ratio(self) -> float:
        return self.plain_cpu_s / self.ours_cpu_s


def compare(name: str, plain: Callable[[], Tensor], ours: Callable[[], Tensor], repeats: int) -> Comparison:
    """Time two calls in turn, after one call of each that is not counted."""
    with torch.inference_mode():
        difference = (plain() - ours()).abs().max()
        rounds = [(_time(plain), _time(ours)) for _ in range(repeats)]
    (plain_s, plain_cpu), (ours_s, ours_cpu) = (
        tuple(statistics.median(one[i] for one in side) for i in range(2)) for side in zip(*rounds)
    )
    return Comparison(name, plain_s, ours_s, plain_cpu, ours_cpu, float(difference))


def measure_points(config: PointConfig, clouds: int, points: int, repeats: int) -> list[Comparison]:
    """The point tokenizer and its parts, on random clouds with random weights."""
    ours = PointEmbedding(config).eval().requires_grad_(False)
    plain = PlainPointEmbedding(ours)
    x = torch.randn(clouds, points, 3)
    centers, groups = ours.group(x)
    size = config.group_size
    return [
        compare(
            "farthest-point sampling",
            lambda: farthest_points(x, config.num_groups),
            lambda: spread_centers(x, config.num_groups),
            repeats,
        ),
        compare(
            "nearest neighbours",
            lambda: nearest(centers, x, size).sort().values,
            lambda: nearest_neighbors(centers, x, size).sort().values,
            repeats,
        ),
        compare("mini-PointNet", lambda: plain.encode(groups), lambda: ours.encoder(groups), repeats),
        compare("whole tokenizer", lambda: plain(x)[0], lambda: ours(x)[0], repeats),
    ]


def measure_resampler(config: PerceiverConfig, batch: int, tokens: int, repeats: int) -> Comparison:
    """The resampler with fused attention, beside the same with softmax written out."""
    perceiver = Perceiver(config).eval().requires_grad_(False)
    context = torch.randn(batch, tokens, config.context_width)
    plain = lambda: _plain_resampler(perceiver, context)  # noqa: E731
    return compare(f"resampler, {config.depth} layer", plain, lambda: perceiver(context), repeats)


def run(
    clouds: int = 4,
    points: int = 8192,
    repeats: int = 7,
    threads: int = 2,
    config: PointConfig | None = None,
    resampler: PerceiverConfig = EVA_LAYER,
) -> str:
    """Measure everything and lay it out as a table.

    Args:
        clouds: in a batch.
        points: of each cloud.
        repeats: counted calls of each; the medians are shown.
        threads: that torch may use; set back afterwards.
        config: dimensions of the tokenizer; those of the released lenses by default.
        resampler: dimensions of the resampler; one layer of the released 3D lens by default.
    """
    config = config or PointConfig()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    try:
        rows = measure_points(config, clouds, points, repeats)
        rows.append(measure_resampler(resampler, clouds, config.num_groups, repeats))
    finally:
        torch.set_num_threads(before)
    title = f"{clouds} clouds of {points} points, {threads} threads, float32, medians of {repeats}; {hardware()}"
    return "\n".join([title, _HEAD, *(_line(row) for row in rows)])


_HEAD = f"{'':24}{'plain':>10}{'ours':>10}{'ratio':>8}{'plain CPU':>12}{'ours CPU':>11}{'ratio':>8}{'difference':>12}"


def _line(row: Comparison) -> str:
    wall = f"{row.plain_s * 1e3:>7.1f} ms{row.ours_s * 1e3:>7.1f} ms{row.ratio:>7.2f}x"
    cpu = f"{row.plain_cpu_s * 1e3:>9.1f} ms{row.ours_cpu_s * 1e3:>8.1f} ms{row.cpu_ratio:>7.2f}x"
    return f"{row.name:24}{wall}{cpu}{row.difference:>12.1e}"


def hardware() -> str:
    """The processor, its cores, the load on it, and the version of torch."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{_processor()}, {os.cpu_count()} cores{load}, torch {torch.__version__}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _time(call: Callable[[], Tensor]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


# ---- the plain algorithm, written as its description reads; nothing in it is made slow on purpose


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
        state = linear.state_dict()
        conv.load_state_dict({"weight": state["weight"][..., None], "bias": state["bias"]})
    for theirs, own in (("weight", "weight"), ("bias", "bias"), ("running_mean", "mean"), ("running_var", "var")):
        getattr(plain[1], theirs).copy_(getattr(norm, own))


def _plain_resampler(perceiver: Perceiver, context: Tensor) -> Tensor:  # (B, M, C) -> (B, N, D)
    x = perceiver.latents.expand(len(context), -1, -1)
    for layer in cast(Iterable[PerceiverLayer], perceiver.layers):
        x = x + _plain_attention(layer.cross, x, context)
        x = x + layer.mlp(x)
        for block in cast(Iterable[LatentBlock], layer.latent):
            x = x + _plain_attention(block.attention, x)
            x = x + block.mlp(x)
    return x


def _plain_attention(attention: Attention, x: Tensor, context: Tensor | None = None) -> Tensor:
    x = attention.norm(x)
    if context is None or attention.norm_context is None:
        context = x
    else:
        context = attention.norm_context(context)
    key, value = attention.key_value(context).chunk(2, -1)
    query, key, value = (
        t.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for t in (attention.query(x), key, value)
    )
    weights = F.softmax(query @ key.transpose(2, 3) * query.shape[-1] ** -0.5, -1)  # (B, heads, N, M)
    out: Tensor = attention.out((weights @ value).transpose(1, 2).flatten(2))
    return out


if __name__ == "__main__":
    sys.stdout.write(run() + "\n")
