"""A run on this machine: reader processes beside the model, parts on the disk."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, InputError, Interrupted
from .columns import columns_of
from .parts import Parts, check_output
from .plan import LOADING, Plan
from .readers import SECONDS, Readers, default_readers, start_readers
from .rows import Given, Inputs, Listing, Rolling, Row
from .worker import Worker

if TYPE_CHECKING:
    from ..hosts.base import Host

__all__ = ["Done", "batch", "run_local"]

Note = Callable[[int, int], None]
"""Told how many rows are done, and of how many."""


@dataclass(frozen=True)
class Done:
    """What became of a run.

    Attributes:
        output: the file, or the folder of parts.
        rows: all of them.
        failed: rows with an error in place of an answer.
        computed: rows of this run; others were there from an earlier one.
        seconds: of reading and answering, without loading.
        busy: share of these seconds in which the model computed.
    """

    output: str
    rows: int
    failed: int
    computed: int = 0
    seconds: float = 0.0
    busy: float = 0.0


def batch(
    task: str,
    inputs: Given | Iterable[Given],
    *,
    output: str | os.PathLike[str],
    host: str | os.PathLike[str] | Host = "pocket-instructblip",
    lenses: Mapping[str, str] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    prompt: str | None = None,
    fuse: str | None = None,
    labels: Sequence[str] = (),
    template: str | Sequence[str] = "{}",
    space: str | None = None,
    seed: int = 0,
    batch_size: int = 16,
    readers: int | None = None,
    overwrite: bool = False,
    note: Note | None = None,
    **options: Any,
) -> Done:
    """Do one task with many inputs, and write a table of answers; a run that was stopped goes on where it was.

    Args:
        task: "caption", "ask", "embed", "classify" or "imagine".
        inputs: files, folders, patterns, tables with a path column (JSON lines, CSV, Parquet), or mappings with path.
        output: a file .jsonl, .csv or .parquet, or a folder of Parquet parts.
        host: what `load_host` takes by name, or a loaded host with its lenses.
        lenses: by modality, what `load_lens` takes.
        settings: how inputs are read, by modality and field.
        prompt: for rows without their own.
        fuse: where several inputs of a row meet.
        labels: of classify.
        template: of classify, one or several.
        space: of embed.
        seed: of sampling and drawing; row n has ``seed + n``.
        batch_size: consecutive rows that go through the host together.
        readers: processes that read; 0: none but this. None: one for each core but one.
        overwrite: begin afresh.
        note: told how many rows are done, and of how many.
        options: of `load_host` (dtype, device, quantization, text_tower, ...), and of `generate` for all rows.

    Returns:
        Where the result is, and counts. A row that fails has the reason in its column ``error``.

    Raises:
        LensPluginsError: a table, the plan or the host is no good, or `output` holds another run's result.
        Interrupted: by Ctrl-C; what was done is kept.
    """
    loaded = None if isinstance(host, (str, os.PathLike)) else host
    loading = {name: options.pop(name) for name in LOADING if options.get(name) is not None}
    if loaded is not None and (loading or lenses or settings):
        raise ConfigError("A loaded host is used as it is; leave out lenses, settings and options of loading.")
    templates = (template,) if isinstance(template, str) else tuple(template)
    plan = Plan(
        task, loaded.name if loaded is not None else os.fspath(host), loading, dict(lenses or {}),
        {name: dict(values) for name, values in (settings or {}).items()}, prompt, fuse,
        {name: value for name, value in options.items() if name not in LOADING},
        tuple(label.strip() for label in labels), templates, space, seed, batch_size,
    )  # fmt: skip
    return run_local(plan, Inputs(inputs), output, host=loaded, readers=readers, overwrite=overwrite, note=note)


def run_local(
    plan: Plan,
    inputs: Inputs,
    output: str | os.PathLike[str],
    *,
    listing: Listing | None = None,
    host: Host | None = None,
    readers: int | None = None,
    overwrite: bool = False,
    note: Note | None = None,
) -> Done:
    """See `batch`.

    Args:
        plan: what to do.
        inputs: with what.
        output: where to.
        listing: of the inputs, where they have been looked through.
        host: one that is loaded.
        readers: as in `batch`, as `overwrite` and `note`.
    """
    if readers is not None and readers < 0:
        raise ConfigError(f"readers is {readers}; it must be at least 0.")
    check_output(output)
    listing = listing or inputs.listing()
    if plan.task == "ask" and plan.prompt is None and not listing.prompted:
        raise InputError("There is no question: give a prompt, or a table with a column prompt.")
    columns_of(plan.task, listing.columns, several=listing.several, width=1)  # refuses names that clash
    with Parts(output, plan, listing, overwrite=overwrite) as parts:
        if parts.finished is not None:
            return Done(str(parts.output), parts.finished.rows, parts.finished.failed)
        started = start_readers(default_readers() if readers is None else readers)  # while the host is loaded
        try:
            with _stopping(parts, listing):
                worker = Worker(plan, host, modalities=listing.modalities)
                parts.columns = columns_of(plan.task, listing.columns, several=listing.several, width=worker.width)
                return _run(worker, inputs, parts, started, note)
        finally:
            for process in started:
                process.stop()


def _run(worker: Worker, inputs: Inputs, parts: Parts, started: Sequence[Any], note: Note | None) -> Done:
    began, busy, computed = perf_counter(), 0.0, 0
    total, rolling = parts.listing.count, Rolling()
    before = total - sum(len(some) for some in parts.missing())
    with Readers(len(started), worker.settings, worker.host.name, seconds=SECONDS, started=started) as reading:
        for unit in reading.units(_wanted(inputs, rolling, parts), worker.plan.batch_size):
            asked = perf_counter()
            answers = worker.answer(unit)
            busy += perf_counter() - asked
            parts.add(answers)
            computed += len(unit)
            if note is not None:
                note(before + computed, total)
    seconds = perf_counter() - began
    if rolling.digest != parts.listing.digest:
        raise InputError("The inputs have changed while they were read; give the result another name, or overwrite it.")
    finished = parts.finish()
    return Done(str(parts.output), finished.rows, finished.failed, computed, seconds, busy / max(seconds, 1e-9))


def _wanted(inputs: Inputs, rolling: Rolling, parts: Parts) -> Iterator[Row]:
    """The rows that are in no part yet; all of them go into the digest, so that a change is seen."""
    missing = parts.missing()
    current = next(missing, None)
    for row in inputs:
        rolling.add(row)
        while current is not None and row.number >= current.stop:
            current = next(missing, None)
        if current is not None and row.number >= current.start:
            yield row


@contextmanager
def _stopping(parts: Parts, listing: Listing) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block with what was answered kept, and say so."""
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt as stop:
        parts.flush()
        kept = listing.count - sum(len(some) for some in parts.missing())
        raise Interrupted(
            f"Stopped: {kept} of {listing.count} rows are kept; the same call again goes on with {parts.output}."
        ) from stop
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
