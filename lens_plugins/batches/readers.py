"""Reader processes beside the model: rows go in as JSON, tensors come back as bytes, never as pickles."""

from __future__ import annotations

import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, BinaryIO, cast

import numpy as np
import torch

from ..errors import InternalError
from ..hosts.messages import Text
from ..inputs import ModalityInput
from .rows import Row
from .worker import Prepared, Reader, Settings

__all__ = ["SECONDS", "Readers", "cut_units", "default_readers", "serve"]

SECONDS = 120.0
"""Until a reader is given up that reads one row."""
_START_SECONDS = 300.0
_AHEAD = 2  # units that are read before they are needed
_LENGTH = struct.Struct("<Q")


def default_readers() -> int:
    """Readers for this machine: one core is left to the model."""
    able = getattr(os, "sched_getaffinity", None)
    cores = len(able(0)) if able else os.cpu_count() or 1
    return max(1, min(8, cores - 1))


class Readers:
    """Processes that read rows; a row whose reader dies or hangs gets an error, and the others go on.

    Args:
        count: processes; 0: rows are read here.
        settings: of the host, as `Worker.settings` gives them.
        host: what errors call it.
        seconds: for one row.
    """

    def __init__(self, count: int, settings: Settings, host: str, *, seconds: float = SECONDS) -> None:
        self._reader = Reader(settings, host)
        self._settings, self._host, self._seconds = settings, host, seconds
        self._count = count
        self._idle: queue.SimpleQueue[_Process | None] = queue.SimpleQueue()
        self._started: list[_Process] = []
        self._closed = False
        self._pool = ThreadPoolExecutor(count, "lens-plugins-batch") if count else None
        for _ in range(count):
            self._idle.put(None)

    def units(self, rows: Iterable[Row], batch_size: int) -> Iterator[list[Prepared]]:
        """Rows read, `batch_size` together, in their order; some units ahead and no further.

        A unit is cut where row numbers are a multiple of `batch_size`, so that it is the same whatever was done before.
        """
        coming = iter(rows)
        if self._pool is None:
            for unit in cut_units(coming, batch_size):
                yield self._reader.read(unit)
            return
        waiting: deque[list[Future[Prepared]]] = deque()
        for unit in cut_units(coming, batch_size):
            waiting.append([self._pool.submit(self._read, row) for row in unit])
            if len(waiting) > max(_AHEAD, -(-2 * self._count // batch_size)):
                yield [one.result() for one in waiting.popleft()]
        while waiting:
            yield [one.result() for one in waiting.popleft()]

    def close(self) -> None:
        """End the processes at once."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for process in self._started:
            process.stop()

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, row: Row) -> Prepared:
        if row.problem is not None:
            return Prepared(row, error=row.problem)
        process = self._idle.get()
        try:
            for last in (False, True):  # a reader may be killed for what others do: each row has two
                if process is None:
                    process = self._start()
                try:
                    return self._prepared(row, process.ask({"inputs": row.inputs}, self._seconds))
                except _Died as error:
                    process.stop()
                    process = None
                    if self._closed or last or error.late:
                        return Prepared(row, error=f"{', '.join(row.inputs)} cannot be read: {error}.")
            raise InternalError("A row was neither read nor refused.")
        finally:
            self._idle.put(process)

    def _start(self) -> _Process:
        process = _Process()
        self._started.append(process)
        if self._closed:  # which may have come in between
            process.stop()
        process.ask({"settings": self._settings, "host": self._host}, _START_SECONDS)
        return process

    def _prepared(self, row: Row, answer: dict[str, Any]) -> Prepared:
        if answer["error"] is not None:
            return Prepared(row, error=str(answer["error"]))
        inputs: list[ModalityInput | Text] = []
        for told in answer["inputs"]:
            if "text" in told:
                inputs.append(Text(told["text"]))
                continue
            tensor = torch.from_numpy(np.frombuffer(told["data"], np.float32).reshape(told["shape"]))
            settings = self._reader.settings(told["modality"])
            inputs.append(ModalityInput(told["modality"], tensor, told["source"], settings))
        return Prepared(row, tuple(inputs))


def cut_units(rows: Iterator[Row], batch_size: int) -> Iterator[list[Row]]:
    """Rows whose numbers, divided by `batch_size`, are the same whole number."""
    unit: list[Row] = []
    for row in rows:
        if unit and row.number // batch_size != unit[0].number // batch_size:
            yield unit
            unit = []
        unit.append(row)
    if unit:
        yield unit


class _Died(Exception):
    """The process ended before it answered; the message says why."""

    late = False


class _Process:
    """One reader: a Python of its own, which ends when its input does."""

    def __init__(self) -> None:
        # Not multiprocessing: it would run a user's script again that has no `if __name__ == "__main__"`.
        boot = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", boot],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries talk there
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for us
        )
        self._late = 0.0

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        timer = threading.Timer(seconds, self._stop_late, (seconds,))
        timer.daemon = True
        timer.start()
        pipe_in, pipe_out = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        try:
            pipe_in.write(json.dumps(request).encode() + b"\n")
            pipe_in.flush()
            return _receive(pipe_out)
        except (OSError, EOFError, ValueError) as error:  # ValueError: the pipe was closed
            died = _Died(self._cause())
            died.late = bool(self._late)
            raise died from error
        finally:
            timer.cancel()

    def _stop_late(self, seconds: float) -> None:
        self._late = seconds
        self._process.kill()

    def _cause(self) -> str:
        if self._late:
            return f"reading it takes more than {self._late:g} seconds"
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        known = code is not None and -code in set(signal.Signals)
        return f"its reader crashed, {signal.Signals(-code).name}" if known and code else "its reader crashed"

    def stop(self) -> None:
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)


def _receive(pipe: BinaryIO) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    answer: dict[str, Any] = json.loads(_exactly(pipe, length))
    for told in answer.get("inputs", ()):
        if "bytes" in told:
            told["data"] = _exactly(pipe, told["bytes"])
    return answer


def _exactly(pipe: BinaryIO, count: int) -> bytearray:
    data, filled = bytearray(count), 0
    while filled < count:
        more = pipe.readinto(memoryview(data)[filled:])  # type: ignore[attr-defined]  # BufferedReader has it
        if not more:
            raise EOFError
        filled += more
    return data


# --- in the process ---


def serve() -> None:
    """Answer requests from stdin until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no answer
    torch.set_num_threads(1)  # the model beside it has the other cores
    requests = os.fdopen(os.dup(0), "rb")
    first = json.loads(requests.readline() or "null")
    if first is None:
        return
    reader = Reader(first["settings"], first["host"])
    _send(answers, {}, [])
    while line := requests.readline():
        _answer(answers, reader, json.loads(line)["inputs"])


def _answer(answers: BinaryIO, reader: Reader, inputs: list[str]) -> None:
    try:
        read = reader.read_row(Row(0, tuple(inputs), ""))
    except Exception as error:  # noqa: BLE001 - a run of days does not end at one file
        told = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:500]}"
        read = Prepared(Row(0, (), ""), error=told)
    parts, arrays = [], []
    for one in read.inputs:
        if isinstance(one, Text):
            parts.append({"text": one.text})
            continue
        array = np.ascontiguousarray(one.tensor.numpy(), np.float32)
        arrays.append(array)
        parts.append({
            "modality": one.modality, "source": one.source, "shape": array.shape, "bytes": array.nbytes,
        })  # fmt: skip
    _send(answers, {"error": read.error, "inputs": parts}, arrays)


def _send(answers: BinaryIO, told: dict[str, Any], arrays: list[np.ndarray]) -> None:
    header = json.dumps(told).encode()
    answers.write(_LENGTH.pack(len(header)) + header)
    for array in arrays:
        answers.write(array.data if array.nbytes else b"")
    answers.flush()
