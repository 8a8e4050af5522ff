"""How an index grows: build rate, size, time of a query and what it misses: ``lens-plugins bench index``.

Vectors are synthetic: unit vectors around random centres, as those of things of some kinds are. Nearest rows by an
approximate index are compared with the nearest by all cosines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ..hosts.base import Host
from ..hosts.loading import load_host
from ..index import Index
from .lens import hardware

__all__ = ["run"]

_SMALLEST, _TOP, _KINDS, _SPREAD = 1000, 10, 1000, 0.8  # spread: length of the noise beside a centre of length 1
_AT_ONCE = 100_000


def run(
    host: str = "pocket-instructblip",
    *,
    rows: int = 100_000,
    queries: int = 100,
    note: Callable[[str], Any] = lambda _: None,
) -> str:
    """Measure; returns a Markdown table.

    Args:
        host: whose vectors they would be; its text space has the width.
        rows: of the largest index.
        queries: asked of each.
        note: told what goes on.
    """
    loaded = load_host(host)
    lines = [
        f"{queries} queries of {_TOP} rows, {_KINDS} kinds of things; {hardware()}",
        "",
        f"| rows | build, rows a second | MB | bytes a row | ms a query | recall@{_TOP} | search |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    count = _SMALLEST
    while count <= rows:
        note(f"{count} rows")
        with TemporaryDirectory(prefix="lens-plugins-") as folder:
            lines.append(_measure(loaded, Path(folder) / "things.lance", count, queries))
        count *= 10
    return "\n".join(lines)


def _measure(host: Host, path: Path, count: int, queries: int) -> str:
    width = host.embed("text:a chair").shape[1]
    random = np.random.default_rng(0)
    centres = _unit(random.standard_normal((_KINDS, width), dtype=np.float32))
    vectors = np.concatenate([_around(centres, min(_AT_ONCE, count - at), random) for at in range(0, count, _AT_ONCE)])
    asked = _around(centres, queries, random)
    index = Index(path, host, space="text")
    began = time.perf_counter()
    index.add_rows(index.as_rows([f"/things/{number}.png" for number in range(count)], vectors, "image"))
    rate = count / (time.perf_counter() - began)
    stats, seconds, hits = index.stats(), [], 0
    for query in asked:
        nearest = np.argpartition(vectors @ query, -_TOP)[-_TOP:]
        began = time.perf_counter()
        found = index.search(torch.from_numpy(query), _TOP).column("file").to_pylist()
        seconds.append(time.perf_counter() - began)
        hits += len({f"/things/{number}.png" for number in nearest} & set(found))
    held = stats.bytes or 0
    return (
        f"| {count:,} | {rate:,.0f} | {held / 1e6:.1f} | {held / count:,.0f} | {1000 * median(seconds):.1f} "
        f"| {hits / (_TOP * queries):.3f} | {'exact' if stats.exact else 'IVF-PQ'} |"
    )


def _around(centres: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:  # -> (count, E)
    noise = _unit(random.standard_normal((count, centres.shape[1]), dtype=np.float32))
    return _unit(centres[random.integers(0, len(centres), count)] + _SPREAD * noise)


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
