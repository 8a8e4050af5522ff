"""What a run over many files costs, predicted from a few rows and beside whole runs: ``lens-plugins bench scale``.

The model: a row is read in r seconds of one core, answered in m seconds of one host, and written in w seconds. These go
on beside each other, so that N rows with R readers and M hosts take ``start + N · max(r/R, m/M, w)``; in one process
they take ``start + N · (r + m + w)``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from .._optional import require
from ..batches.columns import columns_of
from ..batches.plan import Plan
from ..batches.readers import Readers
from ..batches.remote import RemoteParts, rows_table
from ..batches.rows import Inputs
from ..batches.worker import Prepared, Worker
from ..errors import InputError
from ..index import EXACT_ROWS, Index
from .lens import hardware

__all__ = ["Costs", "MADE", "run"]

_FILES = 32  # of each modality, read again and again
_UNITS = 6  # that are timed, after one that is not
_PART_ROWS = 1024
_INDEXED = (4096, 24_576)  # rows of indices that are built: exact, and approximate
_DAY = 86_400.0
_SIZES = tuple(10**n for n in range(5, 10))


@dataclass(frozen=True)
class Costs:
    """What a row of one modality costs: seconds and bytes.

    Attributes:
        read: of one core.
        answer: of one host.
        write: of one process.
        sent: bytes of the tensor that goes from a reader to a host.
        kept: bytes of a row in Parquet.
        worked: processor seconds of reading and answering, which other work on the machine hardly changes.
    """

    read: float
    answer: float
    write: float
    sent: float
    kept: float
    worked: float

    @property
    def alone(self) -> float:
        """Seconds a row in one process."""
        return self.read + self.answer + self.write

    def beside(self, readers: float, hosts: float) -> float:
        """Seconds a row where readers, hosts and one writer work beside each other."""
        return max(self.read / readers, self.answer / hosts, self.write)

    def narrowest(self, readers: float, hosts: float) -> str:
        """What the others wait for."""
        taken = {"reading": self.read / readers, "the model": self.answer / hosts, "writing": self.write}
        return max(taken, key=lambda name: taken[name])


def run(
    host: str = "pocket-instructblip",
    *,
    lenses: Mapping[str, str] | None = None,
    device: str | None = None,
    rows: int = 1000,
    batch_size: int = 16,
    hosts: int = 8,
    threads: int = 1,
    note: Callable[[str], Any] = lambda _: None,
) -> str:
    """Measure; returns Markdown tables.

    Args:
        host: what embeds.
        lenses: by modality, beside the shipped ones of a shipped host.
        device: on which; None: the CPU.
        rows: of the largest whole run; each is ten times the last, from 100 on.
        batch_size: rows that go through the host together.
        hosts: for which the last table says what is needed.
        threads: of torch.
        note: told what goes on.

    Raises:
        InputError: the host has a lens for no modality of `MADE`.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _report(host, lenses or {}, device, rows, batch_size, hosts, note)
    finally:
        torch.set_num_threads(before)


def _report(
    host: str,
    lenses: Mapping[str, str],
    device: str | None,
    rows: int,
    batch_size: int,
    hosts: int,
    note: Callable[[str], Any],
) -> str:
    loading = {} if device is None else {"device": device}
    plan = Plan("embed", host=host, loading=loading, lenses=dict(lenses), batch_size=batch_size)
    began = time.perf_counter()
    worker = Worker(plan)
    started = time.perf_counter() - began
    with TemporaryDirectory(prefix="lens-plugins-") as name:
        folder = Path(name)
        files = {modality: MADE[modality](folder) for modality in worker.settings if modality in MADE}
        if not files:
            raise InputError(f"{host} reads none of {', '.join(MADE)}; give a lens for one.")
        costs = {}
        for modality, paths in files.items():
            note(f"{modality}: {(_UNITS + 1) * batch_size} rows")
            costs[modality] = _measure(worker, paths, folder)
        every = _mean(list(costs.values()))
        note("an index")
        indexing = {rows: _index_costs(worker, folder, rows) for rows in _INDEXED}
        lines = [f"{worker.host.name}, batches of {batch_size}, {torch.get_num_threads()} threads; {hardware()}", ""]
        lines += [*_cost_lines(costs), "", *_index_lines(indexing), ""]
        lines += [f"Loading the host: {started:.1f} s. Whole runs, all modalities in turn, in one process:", ""]
        lines += _run_lines(worker, list(files.values()), folder, every, rows, note)
    return "\n".join([*lines, "", *_scale_lines(every, indexing[_INDEXED[-1]][1], hosts)])


# Measuring


def _measure(worker: Worker, paths: Sequence[Path], folder: Path) -> Costs:
    """Medians over units, each stage by itself."""
    size = worker.plan.batch_size
    reader, inputs = worker.reader(), list(Inputs([{"path": str(path)} for path in islice(cycle(paths), size)]))
    columns = columns_of("embed", {}, several=False, width=worker.width)
    parquet = require("pyarrow.parquet", extra="batch", purpose="A run")
    read, answered, written, worked, kept = [], [], [], [], 0
    vectors = _vectors(_PART_ROWS, worker.width or 1)  # all different, as those of different files are
    for _ in range(_UNITS + 1):
        times, busy = [time.perf_counter()], time.process_time()
        unit = reader.read(inputs)
        times.append(time.perf_counter())
        lines = worker.answer(unit)
        times.append(time.perf_counter())
        worked.append((time.process_time() - busy) / size)
        many = [{**line, "vector": vector} for line, vector in zip(cycle(lines), vectors)]
        place = folder / "part.parquet"
        told = time.perf_counter()
        parquet.write_table(rows_table(many, columns), place)
        written.append((time.perf_counter() - told) / _PART_ROWS)
        read.append((times[1] - times[0]) / size)
        answered.append((times[2] - times[1]) / size)
        kept = place.stat().st_size
    sent = sum(_bytes(one) for one in unit) / size
    reading, answering, writing = (median(every[1:]) for every in (read, answered, written))
    return Costs(reading, answering, writing, sent, kept / _PART_ROWS, median(worked[1:]))


def _bytes(one: Prepared) -> int:
    if one.error is not None:
        raise InputError(f"A file that was made here cannot be read: {one.error}")
    return sum(each.tensor.nbytes for each in one.inputs if not isinstance(each, str) and hasattr(each, "tensor"))


def _index_costs(worker: Worker, folder: Path, rows: int) -> tuple[float, float]:
    """Seconds and bytes a row of an index, whose vectors are random."""
    index = Index(folder / f"costs{rows}.lance", worker.host, space=worker.plan.space)
    given = index.as_rows([f"/things/{n}.png" for n in range(rows)], _vectors(rows, worker.width or 1), "image")
    began = time.perf_counter()
    index.add_rows(given)
    return (time.perf_counter() - began) / rows, (index.stats().bytes or 0) / rows


def _vectors(rows: int, width: int) -> np.ndarray:  # -> (N, E), of unit length
    made = np.random.default_rng(rows).standard_normal((rows, width), dtype=np.float32)
    unit: np.ndarray = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def _mean(costs: Sequence[Costs]) -> Costs:
    """Of modalities that take turns."""
    return Costs(*(float(np.mean([getattr(one, name) for one in costs])) for name in Costs.__dataclass_fields__))


def _run_lines(
    worker: Worker, files: Sequence[Sequence[Path]], folder: Path, costs: Costs, rows: int, note: Callable[[str], Any]
) -> list[str]:
    """Whole runs beside what the costs predict."""
    lines = [
        "| rows | predicted s | measured s | ratio | of processor: predicted | measured | ratio | GB read |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    in_turn = [path for paths in zip(*files) for path in paths]
    count = 100
    while count <= rows:
        note(f"a run of {count} rows")
        paths = list(islice(cycle(in_turn), count))
        seconds, worked = _whole(worker, paths, folder / f"run{count}")
        size = sum(path.stat().st_size for path in paths)
        pairs = ((count * costs.alone, seconds), (count * costs.worked, worked))
        told = (f"{wanted:.1f} | {found:.1f} | {found / wanted:.2f}" for wanted, found in pairs)
        lines.append(f"| {count:,} | {' | '.join(told)} | {size / 1e9:.2f} |")
        note(lines[-1])
        count *= 10
    return lines


def _whole(worker: Worker, paths: Iterable[Path], folder: Path) -> tuple[float, float]:
    """A run from files to parts in this process: seconds, and seconds of the processor."""
    inputs = Inputs([{"path": str(path)} for path in paths])
    listing = inputs.listing()
    parts = RemoteParts(folder, worker.plan, listing)
    parts.columns = columns_of("embed", {}, several=False, width=worker.width)
    began, busy = time.perf_counter(), time.process_time()
    try:
        written = []
        with Readers(0, worker.settings, worker.host.name) as readers:
            for lines in _parts(worker.answer(unit) for unit in readers.units(inputs, worker.plan.batch_size)):
                written += parts.write([rows_table(lines, parts.columns)])
        parts.finish(written)
        return time.perf_counter() - began, time.process_time() - busy
    finally:
        parts.close()


def _parts(units: Iterator[list[dict[str, Any]]]) -> Iterator[list[dict[str, Any]]]:
    """Lines of whole units, about a part of them together."""
    held: list[dict[str, Any]] = []
    for unit in units:
        held += unit
        if len(held) >= _PART_ROWS:
            yield held
            held = []
    if held:
        yield held


# Telling


def _cost_lines(costs: Mapping[str, Costs]) -> list[str]:
    lines = [
        "| modality | read ms | answer ms | write ms | KB sent | bytes kept | readers for a host |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, cost in costs.items():
        lines.append(
            f"| {name} | {1e3 * cost.read:.2f} | {1e3 * cost.answer:.2f} | {1e3 * cost.write:.4f} "
            f"| {cost.sent / 1e3:.0f} | {cost.kept:.0f} | {cost.read / cost.answer:.2f} |"
        )
    return lines


def _index_lines(indexing: Mapping[int, tuple[float, float]]) -> list[str]:
    told = []
    for rows, (each, size) in indexing.items():
        kind = "IVF-PQ" if rows >= EXACT_ROWS else "exact"
        told.append(f"{rows:,} rows ({kind}): {1e3 * each:.3f} ms and {size:,.0f} bytes a row")
    return [f"An index of {'; of '.join(told)}."]


def _scale_lines(costs: Costs, indexed: float, hosts: int) -> list[str]:
    """What larger runs take, by the same costs and the bytes of a row in an index."""
    readers = max(1, ceil(hosts * costs.read / costs.answer))
    row = costs.beside(readers, hosts)
    lines = [
        f"By these costs, with {hosts} hosts and {readers} readers ({costs.narrowest(readers, hosts)} is narrowest):",
        "",
        "| rows | hours | hosts for a day | readers for a day | TB sent | GB kept | GB of an index |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for count in _SIZES:
        lines.append(
            f"| {count:,} | {count * row / 3600:,.1f} | {max(1, -(-count * costs.answer // _DAY)):,.0f} "
            f"| {max(1, -(-count * costs.read // _DAY)):,.0f} | {count * costs.sent / 1e12:,.2f} "
            f"| {count * costs.kept / 1e9:,.1f} | {count * indexed / 1e9:,.1f} |"
        )
    return lines


# Files


def _pictures(folder: Path) -> list[Path]:
    """JPEG pictures of 640 × 480."""
    random, found = np.random.default_rng(0), []
    for number in range(_FILES):
        small = Image.fromarray(random.integers(0, 255, (12, 16, 3), np.uint8))
        found.append(folder / f"picture{number}.jpg")
        small.resize((640, 480), Image.Resampling.BICUBIC).save(found[-1], quality=90)
    return found


def _clouds(folder: Path) -> list[Path]:
    """Clouds of 8,192 points."""
    random, found = np.random.default_rng(0), []
    for number in range(_FILES):
        found.append(folder / f"cloud{number}.npy")
        np.save(found[-1], random.normal(size=(8192, 3)).astype(np.float32))
    return found


def _sounds(folder: Path) -> list[Path]:
    """Recordings of 10 s at 16 kHz."""
    from soundfile import write

    random, found = np.random.default_rng(0), []
    for number in range(_FILES):
        found.append(folder / f"sound{number}.wav")
        with suppress(FileExistsError):
            write(found[-1], random.uniform(-0.5, 0.5, 160_000).astype(np.float32), 16_000)
    return found


MADE: Mapping[str, Callable[[Path], list[Path]]] = {"image": _pictures, "point_cloud": _clouds, "audio": _sounds}
"""Modalities whose files are made here."""
