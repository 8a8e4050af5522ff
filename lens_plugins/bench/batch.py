"""What a run over many files gains from readers beside the model, and from Ray: ``lens-plugins bench batch``.

The same clouds go through the same host: read in the model's own thread, as `lens-plugins caption FILE...` does, then
by reader processes beside it, then by two hosts on Ray. The rows that come out are compared byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from ..batches.local import Done, run_local
from ..batches.plan import Plan
from ..batches.readers import default_readers
from ..batches.rows import Inputs
from ..errors import InternalError
from .lens import hardware

__all__ = ["run"]

_SHORT = {"max_new_tokens": 8, "num_beams": 1}
_TASKS = ("embed", "caption")
_TURNS = 3


def run(
    host: str = "pocket-instructblip",
    *,
    rows: int = 256,
    points: int = 8192,
    batch_size: int = 16,
    readers: int | None = None,
    ray: bool = False,
    threads: int = 1,
    note: Callable[[str], Any] = lambda _: None,
) -> str:
    """Measure; returns a Markdown table.

    Args:
        host: which host answers; its lenses are those that ship with it.
        rows: clouds that are made.
        points: of each.
        batch_size: rows that go through the host together.
        readers: processes beside the model; None: one for each core but one.
        ray: whether two hosts on a local Ray answer them, too.
        threads: that torch may use in this process; set back afterwards.
        note: is told what goes on.
    """
    count = default_readers() if readers is None else readers
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with TemporaryDirectory(prefix="lens-plugins-") as folder:
            files = _clouds(Path(folder) / "clouds", rows, points)
            lines = []
            for task in _TASKS:
                plan = Plan(task, host, generation=_SHORT if task == "caption" else {}, batch_size=batch_size)
                lines += _measure(plan, files, Path(folder), count, ray, note)
    finally:
        torch.set_num_threads(before)
    return "\n".join(
        [
            f"{rows} clouds of {points} points, batches of {batch_size}, {threads} threads for torch; {hardware()}",
            "",
            "| task | who reads | rows a second | of one process | the model is busy |",
            "| --- | --- | --- | --- | --- |",
            *lines,
            "",
            f"Medians of {_TURNS} turns; loading is not counted. All rows are the same byte for byte.",
        ]
    )


def _clouds(folder: Path, count: int, points: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        np.save(folder / f"{number:06d}.npy", rng.standard_normal((points, 3)).astype(np.float32))
    return folder


def _measure(
    plan: Plan, files: Path, folder: Path, readers: int, ray: bool, note: Callable[[str], Any]
) -> list[str]:  # fmt: skip
    ways = {"the model's own thread": 0, f"{readers} processes beside it": readers}
    found: dict[str, list[Done]] = {name: [] for name in ways}
    results = set()
    for turn in range(_TURNS):
        for name, count in ways.items():
            note(f"{plan.task}, {name}, {turn + 1} of {_TURNS}")
            output = folder / f"{plan.task}-{turn}-{count}.jsonl"
            found[name].append(run_local(plan, Inputs(f"point_cloud:{files}"), output, readers=count))
            results.add(output.read_bytes())
    if ray:
        note(f"{plan.task}, two hosts on Ray")
        name, done, same = _on_ray(plan, files, folder)
        found[name] = [done]
        results.add(same)
    if len(results) > 1 or any(done.failed for some in found.values() for done in some):
        raise InternalError(f"The rows of {plan.task} are not the same everywhere, or some have failed.")
    one = median(done.rows / done.seconds for done in found["the model's own thread"])
    return [_line(plan.task, name, some, one) for name, some in found.items()]


def _line(task: str, name: str, some: list[Done], one: float) -> str:
    rate, busy = median(done.rows / done.seconds for done in some), median(done.busy for done in some)
    return f"| {task} | {name} | {rate:.2f} | {rate / one:.2f} | {f'{busy:.0%}' if busy else '-'} |"


def _on_ray(plan: Plan, files: Path, folder: Path) -> tuple[str, Done, bytes]:
    """The run on a local Ray; its rows as the local runs write them."""
    import json

    from .._optional import require
    from ..batches.columns import as_json
    from ..batches.ray import Cluster, run_on_ray

    output = folder / f"{plan.task}-ray"
    done = run_on_ray(plan, Inputs(f"point_cloud:{files}"), output, Cluster(actors=2))
    dataset = require("pyarrow.dataset", extra="ray", purpose="Reading what Ray wrote")
    rows = sorted(dataset.dataset(output).to_table().to_pylist(), key=lambda row: row["row"])
    lines = (json.dumps({key: as_json(value) for key, value in row.items()}, ensure_ascii=False) for row in rows)
    return "2 hosts on Ray", done, "".join(line + "\n" for line in lines).encode()
