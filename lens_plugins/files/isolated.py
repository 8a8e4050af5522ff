"""Parsers that are not ours, in a process of their own: a crash, a loop or a bomb there is one sentence here.

A worker is started with the first request and reused: an ordinary file costs the way through a pipe. It answers with
JSON and the bytes of arrays, never with a pickle, so that nothing it was made to say can run here.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import select
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any, BinaryIO, cast

import numpy as np

from .. import errors
from ..errors import InputError, InternalError, LensPluginsError
from .opening import brief

__all__ = ["Isolated", "run_isolated", "serve"]

SECONDS, MEGABYTES = 7.0, 1536
_START_SECONDS, _IDLE_SECONDS = 120, 120
_MAX_HEADER = 2**20
_LENGTH = struct.Struct("<Q")
_MOST = max(1, min(4, os.cpu_count() or 1))  # workers at once

Isolated = dict[str, Any]  # plain values and arrays by name


def run_isolated(
    function: str,
    *arguments: Any,
    name: str,
    kind: str,
    cure: str = "save it again",
    seconds: float = SECONDS,
    megabytes: int = MEGABYTES,
) -> Isolated:
    """Call a function in a worker process.

    Args:
        function: "module:name"; the module is imported in the worker alone. It returns plain values and numpy arrays
            by name, and may open regular files only.
        *arguments: plain values, as JSON has them.
        name: the file, for the error.
        kind: what it should be: ".set recording".
        cure: what to do about a damaged one.
        seconds: until the worker is stopped; importing the module does not count.
        megabytes: that the worker may take for this call.

    Raises:
        InputError: the function raised something, crashed, or needed more time or memory.
        LensPluginsError: what the function raised, if it is one of ours.
    """
    with _slots:
        worker = _take()
        try:
            answer = worker.ask(function, arguments, seconds, megabytes)
        except _Died as error:
            worker.stop()
            raise InputError(f"{brief(name)} is not a whole {kind} ({error}); {cure}.") from error
        except BaseException:
            worker.stop()
            raise
        if answer.pop("last"):
            worker.stop()
        else:
            _give_back(worker)
    if "raised" not in answer:
        return answer["values"]
    told = str(answer["told"])
    ours = getattr(errors, str(answer["raised"]), None)
    if isinstance(ours, type) and issubclass(ours, LensPluginsError):
        raise ours(told)
    raise InputError(f"{brief(name)} is not a whole {kind} ({told}); {cure}.")


class _Died(Exception):
    """The worker ended before it answered; the message says why."""


class _Worker:
    """One process that answers request after request."""

    def __init__(self) -> None:
        boot = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", boot],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries talk there
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for us
        )
        self._loaded: set[str] = set()
        self._why = ""
        self.owner = os.getpid()

    @property
    def alive(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None

    def ask(self, function: str, arguments: tuple[Any, ...], seconds: float, megabytes: int) -> dict[str, Any]:
        module = function.partition(":")[0]
        if module not in self._loaded:
            loaded = self._exchange({"load": module}, _START_SECONDS)
            if "raised" in loaded:
                return loaded
            self._loaded.add(module)
        limits = {"seconds": seconds, "bytes": megabytes * 2**20}
        return self._exchange({"call": function, "arguments": arguments, **limits}, seconds)

    def _exchange(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        if pipe_in is None or pipe_out is None:
            raise InternalError("A worker process has no pipes.")
        late = threading.Timer(seconds, self._stop_late, (seconds,))
        late.daemon = True
        late.start()
        try:
            pipe_in.write(json.dumps(request).encode() + b"\n")
            pipe_in.flush()
            return _receive(cast(BinaryIO, pipe_out))
        except (OSError, EOFError) as error:
            raise _Died(self._cause()) from error
        finally:
            late.cancel()

    def _stop_late(self, seconds: float) -> None:
        self._why = f"reading it takes more than {seconds:g} seconds"
        self._process.kill()

    def _cause(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        if self._why:
            return self._why
        if code is not None and code == -getattr(signal, "SIGXCPU", 0):
            return "reading it takes too long"
        known = code is not None and -code in set(signal.Signals)
        return f"its reader crashed, {signal.Signals(-code).name}" if known and code else "its reader crashed"

    def stop(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)


_slots = threading.BoundedSemaphore(_MOST)
_idle: list[_Worker] = []
_lock = threading.Lock()


def _take() -> _Worker:
    with _lock:
        while _idle:
            worker = _idle.pop()
            if worker.alive:
                return worker
            if worker.owner == os.getpid():  # it went home; after a fork it is another process's
                worker.stop()
    return _Worker()


def _give_back(worker: _Worker) -> None:
    with _lock:
        _idle.append(worker)


def _forget_workers() -> None:
    """In a forked process: the workers and whatever was locked belong to the parent."""
    global _slots, _lock
    _slots, _lock = threading.BoundedSemaphore(_MOST), threading.Lock()
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_workers)


@atexit.register
def _stop_all() -> None:
    with _lock:
        while _idle:
            worker = _idle.pop()
            if worker.owner == os.getpid():
                worker.stop()


def _receive(pipe: BinaryIO) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size))
    if length > _MAX_HEADER:
        raise EOFError
    answer: dict[str, Any] = json.loads(_exactly(pipe, length))
    for name, told in answer.pop("arrays", {}).items():
        array = np.frombuffer(_exactly(pipe, told["bytes"]), np.dtype(told["dtype"]))
        answer["values"][name] = array.reshape(told["shape"])
    return answer


def _exactly(pipe: BinaryIO, count: int) -> bytearray:
    data, filled = bytearray(count), 0
    while filled < count:
        more = pipe.readinto(memoryview(data)[filled:])  # type: ignore[attr-defined]  # BufferedReader has it
        if not more:
            raise EOFError
        filled += more
    return data


# --- in the worker ---


def serve() -> None:
    """Answer requests from stdin until it ends, or until none came for a while."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is no answer
    sys.addaudithook(_regular_files_only)
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    while select.select([requests], [], [], _IDLE_SECONDS)[0] and (line := requests.readline()):
        request = json.loads(line)
        try:
            if "load" in request:
                importlib.import_module(request["load"])
                _send(answers, {})
                continue
            _limit(request["seconds"], request["bytes"])
            module, _, function = request["call"].partition(":")
            _send(answers, getattr(sys.modules[module], function)(*request["arguments"]))
        except MemoryError:
            _refuse(answers, "MemoryError", "it needs more memory than a recording may", last=True)
        except Exception as error:  # noqa: BLE001 - whatever a parser raises is the answer
            told = str(error) if isinstance(error, LensPluginsError) else str(error).strip().split("\n")[0].rstrip(".")
            _refuse(answers, type(error).__name__, told[:1000] or type(error).__name__)


def _send(answers: BinaryIO, values: Isolated) -> None:
    arrays = {name: np.ascontiguousarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    told = {
        name: {"dtype": array.dtype.str, "shape": array.shape, "bytes": array.nbytes} for name, array in arrays.items()
    }
    plain = {name: value for name, value in values.items() if name not in arrays}
    header = json.dumps({"values": plain, "arrays": told, "last": False}).encode()
    answers.write(_LENGTH.pack(len(header)) + header)
    for array in arrays.values():
        answers.write(array.data if array.nbytes else b"")
    answers.flush()


def _refuse(answers: BinaryIO, raised: str, told: str, *, last: bool = False) -> None:
    header = json.dumps({"raised": raised, "told": told, "last": last}).encode()
    answers.write(_LENGTH.pack(len(header)) + header)
    answers.flush()


def _limit(seconds: float, more_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the parent's clock alone
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = time.process_time()
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 1, hard))
    with suppress(OSError):  # no /proc: no limit of memory
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more_bytes, hard))


def _regular_files_only(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: a pipe or a device that a file names is refused before it is opened, and waited for."""
    if event != "open" or not isinstance(arguments[0], (str, bytes)) or os.fspath(arguments[0]) == os.devnull:
        return
    with suppress(OSError, ValueError):
        mode = os.stat(arguments[0]).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise InputError(f"{brief(os.fsdecode(arguments[0]))} is a pipe or a device; give a regular file.")
