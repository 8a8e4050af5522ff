"""How much an evaluation adds to the time of the lens alone: ``lens-plugins bench evaluate``.

Clouds are written as files, then scored in parts, each part twice: the whole way from files to vectors, and the lens
with the ViT and the text head alone on tensors in memory. The parts take turns, so that other work disturbs both alike.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..evaluate.benchmark import Row, as_it_is
from ..evaluate.features import embed_rows
from ..hosts.base import Host
from ..hosts.loading import load_host
from ..hosts.vectors import FeatureCache
from ..inputs import read
from ..lens.loading import load_lens
from .lens import hardware

__all__ = ["run"]

_PARTS = 8


def run(
    host: str = "pocket-instructblip",
    lens: str = "pocket-point-cloud",
    *,
    clouds: int = 2000,
    points: int = 1024,
    batch_size: int = 32,
    threads: int = 1,
) -> str:
    """Measure; returns a Markdown table.

    Args:
        host: which host embeds.
        lens: which point cloud lens.
        clouds: how many files are made.
        points: of each.
        batch_size: clouds in a pass.
        threads: that torch may use; set back afterwards.
    """
    loaded = load_host(host)
    loaded.plug(load_lens(lens))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with TemporaryDirectory(prefix="lens-plugins-") as folder:
            return _measure(loaded, Path(folder), clouds, points, batch_size, threads)
    finally:
        torch.set_num_threads(before)


def _measure(host: Host, folder: Path, clouds: int, points: int, batch_size: int, threads: int) -> str:
    rng = np.random.default_rng(0)
    files = [folder / f"{number}.npy" for number in range(clouds)]
    for file in files:
        np.save(file, rng.standard_normal((points, 3)).astype(np.float32))
    own: Any = host.lenses["point_cloud"].config.input
    cache = FeatureCache(folder)
    ours, alone, apart = [], [], 0.0
    _alone(host, read(files[0], "point_cloud", own).tensor[None])  # the first pass is slow, and not counted
    for part in [files[start::_PARTS] for start in range(_PARTS)]:
        tensors = [read(file, "point_cloud", own).tensor for file in part]
        began = time.perf_counter()
        batches = [torch.stack(tensors[n : n + batch_size]) for n in range(0, len(part), batch_size)]
        plain = torch.cat([_alone(host, batch) for batch in batches])
        alone.append((time.perf_counter() - began) / len(part))
        began = time.perf_counter()
        found = _embed(host, part, batch_size, cache)
        ours.append((time.perf_counter() - began) / len(part))
        apart = max(apart, float((found - plain).abs().max()))
    began = time.perf_counter()
    _embed(host, files, batch_size, cache)
    again = (time.perf_counter() - began) / clouds
    one = median(alone)
    ratios = [whole / part for whole, part in zip(ours, alone)]
    lines = [
        f"{clouds} clouds of {points} points, batches of {batch_size}, {threads} threads for torch; {hardware()}",
        "",
        "| what | ms a cloud | of the lens alone |",
        "| --- | --- | --- |",
        f"| lens, ViT and text head alone | {1000 * one:.2f} | 1 |",
        f"| files to vectors, kept on disk | {1000 * median(ours):.2f} | {median(ratios):.2f} |",
        f"| again, from the disk | {1000 * again:.2f} | {again / one:.2f} |",
        "",
        f"Ratios are medians of {_PARTS} parts in turn. Largest difference of two vectors: {apart:.1e}.",
    ]
    return "\n".join(lines)


def _embed(host: Host, files: Sequence[Path], batch_size: int, cache: FeatureCache) -> Tensor:  # (N, E)
    rows = [Row(file.name, file, None) for file in files]
    return embed_rows(host, rows, "point_cloud", as_it_is, batch_size=batch_size, cache=cache).vectors


@torch.no_grad()
def _alone(host: Host, batch: Tensor) -> Tensor:  # (B, P, 3) -> (B, E)
    """The least that can be done: lens, ViT, class token, text head."""
    rows = host.vit.pool(host.vit.encode(host.tokens("point_cloud", batch))).float()
    if host.text_tower is None:
        return torch.nn.functional.normalize(rows, dim=-1)
    return host.text_tower.project(rows)
