"""The same run on Ray Data: reading actors, answering actors with a host each, and tasks that write parts.

A row of the data set is a unit, rows that go through the host together; so they are the same units as on one machine.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any, TextIO

from .. import errors
from .._optional import require
from ..errors import ConfigError, InputError, Interrupted, LensPluginsError
from ..files.opening import reason_of
from .columns import columns_of
from .local import Done
from .plan import Plan
from .readers import Readers, cut_units
from .remote import BUSY, RemoteParts, Written, check_address, rows_table
from .rows import Inputs, Listing, Rolling, Row
from .worker import Settings, Worker

__all__ = ["LOCAL", "Cluster", "run_on_ray"]

LOCAL = "local"
"""As an address: a Ray of this machine that is started for the run and ended with it."""
_REACHED_WITHIN, _ANSWERS_WITHIN = 10.0, 60.0  # seconds
_PART_ROWS = 1024  # about so many in a part
_PARTS_EACH = 4  # of one answering actor, at least, so that all end at about the same time
_ACTORS_A_WRITER = 4  # writing costs little, and each writer is a process
_BLOCK_BYTES = 32 * 2**20  # that move between actors together
_STORE_BYTES = 512 * 2**20  # of a Ray that is started here
_RETRIES = 5  # of a unit whose actor dies
_LOOK_SECONDS = 2.0  # between looks at what is written
_WAIT_SECONDS = 30.0  # until it is told that there is no place for a host
_STOPPED = "lens-plugins stopped: "
_RESOURCES = {"CPU": "num_cpus", "GPU": "num_gpus"}
_logger = logging.getLogger(__name__)
_Note = Callable[[int, int], Any]
_Say = Callable[[str], Any]


@dataclass(frozen=True)
class Cluster:
    """Where a run goes, and what each of its actors takes.

    Args:
        address: `LOCAL`; "auto", the cluster that this machine belongs to; or "HOST:PORT" of it.
        actors: hosts at once; None: as many as there is room for.
        cpus: of each of them.
        gpus: of each of them, 0.5 where two share one; None: 1 where the host is loaded on a GPU.
        readers: actors that read, of one CPU each; None: a quarter of the CPUs.

    Raises:
        ConfigError: fewer than one of something.
    """

    address: str = LOCAL
    actors: int | None = None
    cpus: float = 1.0
    gpus: float | None = None
    readers: int | None = None

    def __post_init__(self) -> None:
        for name in ("actors", "readers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1.")
        if self.cpus <= 0:
            raise ConfigError(f"cpus is {self.cpus:g}; it must be above 0.")
        if self.gpus is not None and self.gpus < 0:
            raise ConfigError(f"gpus is {self.gpus:g}; it must be 0 or more.")

    @property
    def takes(self) -> dict[str, float]:
        """Of an answering actor, in Ray's words."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus or 0.0}

    def gpus_for(self, plan: Plan) -> float:
        """GPUs of each answering actor.

        Raises:
            ConfigError: GPUs for a host that is loaded on the CPU, or the other way round.
        """
        device = plan.loading.get("device", plan.loading.get("device_map"))
        on_gpu = device is not None and str(device) not in ("cpu", "mps")
        if isinstance(device, int) or str(device).startswith("cuda:"):
            raise ConfigError(f"device is {device!r}, a GPU of one machine; Ray gives each host its own: say 'cuda'.")
        gpus = (1.0 if on_gpu else 0.0) if self.gpus is None else self.gpus
        if gpus and not on_gpu:
            raise ConfigError(f"gpus is {gpus:g}, but the host is loaded on the CPU; give a device, as device='cuda'.")
        if on_gpu and not gpus and device != "auto":
            raise ConfigError(f"The host is loaded on {device}, but gpus is 0, so actors see none; give gpus.")
        return gpus


def run_on_ray(
    plan: Plan,
    inputs: Inputs,
    output: str | os.PathLike[str],
    cluster: Cluster = Cluster(),
    *,
    listing: Listing | None = None,
    overwrite: bool = False,
    note: _Note | None = None,
    say: _Say | None = None,
) -> Done:
    """Answer all rows on Ray; what is written already is not answered again.

    Args:
        plan: what to do. Hosts, lenses and inputs are where every machine finds them under the same name.
        inputs: to go through.
        output: a folder or an address, to hold Parquet parts.
        cluster: where, and with how much.
        listing: of the inputs, where they have been looked through.
        overwrite: begin afresh, whatever is there.
        note: told how many rows are written, of how many, when there are more.
        say: told what the run waits for.

    Raises:
        LensPluginsError: as a run on one machine; besides, the cluster cannot be reached or gives up.
        Interrupted: by Ctrl-C; what was written is kept.
    """
    check_address(output)
    cluster = replace(cluster, gpus=cluster.gpus_for(plan))
    require("ray.data", extra="ray", purpose="A run on Ray")
    listing = listing or inputs.listing()
    if plan.task == "ask" and plan.prompt is None and not listing.prompted:
        raise InputError("There is no question: give a prompt, or a table with a column prompt.")
    columns_of(plan.task, listing.columns, several=listing.several, width=1)  # refuses names that clash
    parts = RemoteParts(output, plan, listing, overwrite=overwrite)
    try:
        if parts.finished is not None:
            return Done(parts.output, parts.finished.rows, parts.finished.failed)
        with _stopping(parts):
            return _run(parts, inputs, cluster, note, say)
    finally:
        parts.close()


def _run(parts: RemoteParts, inputs: Inputs, cluster: Cluster, note: _Note | None, say: _Say | None) -> Done:
    done, total = parts.done(), parts.listing.count
    computed = total - sum(count for _, count in done)
    if not computed:
        finished = parts.finish([])
        return Done(parts.output, total, finished.failed)
    # A Ray of this machine starts slowly: what is wrong with the host is told before. On a GPU it would stay there.
    here = cluster.address == LOCAL and not cluster.gpus
    seen = _look(parts.plan, parts.listing.modalities) if here else None
    with _connected(cluster) as ray, _noted(parts, note):
        seen = seen or _looked_at(ray, parts, cluster, say)
        actors, readers = _pools(ray.cluster_resources(), cluster)
        began = time.perf_counter()
        known = replace(cluster, actors=actors, readers=readers)
        written = _answered(ray, parts, _left(inputs, done, parts.listing), seen, known)
        seconds = time.perf_counter() - began
    finished = parts.finish(written)
    busy = sum(part.busy for part in written) / (actors * seconds)
    return Done(parts.output, total, finished.failed, computed, seconds, busy)


def _answered(ray: Any, parts: RemoteParts, rows: Iterator[Row], seen: _Seen, cluster: Cluster) -> list[Written]:
    """The run itself: units through both pools into parts."""
    plan, listing, actors = parts.plan, parts.listing, cluster.actors or 1
    parts.columns = columns_of(plan.task, listing.columns, several=listing.several, width=seen.width)
    units = list(cut_units(rows, plan.batch_size))
    together = max(1, min(_PART_ROWS // plan.batch_size, len(units) // (_PARTS_EACH * actors)))
    tables = [_table(units[at : at + together]) for at in range(0, len(units), together)]
    sink = _sink(parts)
    with _context(ray.data.DataContext.get_current()), _errors():
        read = _mapped(
            ray.data.from_arrow(tables), _Reading, (seen.settings, seen.host), cluster.readers or 1, {"num_cpus": 1}
        )
        answered = _mapped(read, _Answering, (parts, listing.modalities), actors, cluster.takes)
        writers = max(1, actors // _ACTORS_A_WRITER)
        answered.write_datasink(sink, ray_remote_args={"num_cpus": 0}, concurrency=writers)
    return [part for one in sink.returned for part in one]


def _mapped(data: Any, actor: type, args: tuple[Any, ...], most: int, takes: Mapping[str, Any]) -> Any:
    """A data set of units through a pool of actors, which grows as there is room."""
    from ray.data import ActorPoolStrategy

    options = {"fn_constructor_args": args, "batch_size": 1, "batch_format": "pyarrow", **takes}
    options["compute"] = ActorPoolStrategy(min_size=1, max_size=most)
    retrying = {"max_restarts": -1, "max_task_retries": _RETRIES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that these words go with Ray 2.64, which has no others for them yet
        try:
            return data.map_batches(actor, **options, **retrying)
        except TypeError:
            return data.map_batches(actor, **options)


# On other machines


class _Reading:
    """An actor that reads units; a file that ends its reader is a row's error, as on one machine."""

    def __init__(self, settings: Settings, host: str) -> None:
        self._readers = Readers(1, settings, host)

    def __call__(self, batch: Any) -> Any:
        import pyarrow as pa

        rows: list[Row] = pickle.loads(batch.column("unit")[0].as_py())
        (unit,) = self._readers.units(rows, len(rows) + rows[0].number)  # one unit, whatever its numbers
        return pa.table({"unit": pa.array([pickle.dumps(unit)], pa.large_binary())})


class _Answering:
    """An actor with a host: a unit that was read becomes lines of the result."""

    def __init__(self, parts: RemoteParts, modalities: frozenset[str]) -> None:
        self._worker = Worker(parts.plan, modalities=modalities)
        self._parts = parts

    def __call__(self, batch: Any) -> Any:
        unit = pickle.loads(batch.column("unit")[0].as_py())
        began = time.perf_counter()
        try:
            answers = self._worker.answer(unit)
        except LensPluginsError as error:  # Ray hands on the text of an error, and not the error
            raise RuntimeError(f"{_STOPPED}{json.dumps([type(error).__name__, str(error)])}") from error
        busy = time.perf_counter() - began
        table = rows_table([self._parts.with_picture(row) for row in answers], self._parts.columns)
        return table.append_column(BUSY, [[busy / len(unit)] * len(unit)])


def _sink(parts: RemoteParts) -> Any:
    """What Ray Data writes with; its base class is Ray's, which is not imported before."""
    from ray.data import Datasink

    class Parts(Datasink[list[Written]]):
        returned: Sequence[list[Written]] = ()

        def write(self, blocks: Iterable[Any], ctx: Any) -> list[Written]:
            return parts.write(blocks)

        def on_write_complete(self, write_result: Any) -> None:
            self.returned = write_result.write_returns

    return Parts()


@dataclass(frozen=True)
class _Seen:
    """What a run must know of its host: how it reads, its name, and how wide its vectors are."""

    settings: Settings
    host: str
    width: int | None


def _look(plan: Plan, modalities: frozenset[str]) -> _Seen:
    """Load a host where the others will be, and look at it."""
    worker = Worker(plan, modalities=modalities)
    return _Seen(worker.settings, worker.host.name, worker.width)


# Here


def _looked_at(ray: Any, parts: RemoteParts, cluster: Cluster, say: _Say | None) -> _Seen:
    """`_look` on the cluster, once there is room."""
    coming = ray.remote(**cluster.takes)(_look).remote(parts.plan, parts.listing.modalities)
    with _errors():
        while not ray.wait([coming], timeout=_WAIT_SECONDS)[0]:
            free = ray.available_resources()
            if say and any(free.get(what, 0) < cluster.takes[name] for what, name in _RESOURCES.items()):
                say(
                    f"waiting for {cluster.cpus:g} CPUs and {cluster.gpus or 0:g} GPUs; "
                    f"{free.get('CPU', 0):g} and {free.get('GPU', 0):g} are free"
                )
        seen: _Seen = ray.get(coming)
    return seen


def _pools(resources: Mapping[str, float], cluster: Cluster) -> tuple[int, int]:
    """How many actors answer, and how many read: at most, since a pool grows as there is room."""
    cpus, gpus = resources.get("CPU", 1.0), cluster.gpus or 0.0
    readers = cluster.readers or max(1, int(cpus // 4))
    room = resources.get("GPU", 0.0) / gpus if gpus else (cpus - readers) / cluster.cpus
    return cluster.actors or max(1, int(room)), readers


def _left(inputs: Inputs, done: Sequence[tuple[int, int]], listing: Listing) -> Iterator[Row]:
    """Rows that are in no part; all of them go into the digest, so that a change is seen.

    Raises:
        InputError: they are others than those of the listing.
    """
    parts, rolling = iter([*done, (1 << 62, 0)]), Rolling()
    first, count = next(parts)
    for row in inputs:
        rolling.add(row)
        while row.number >= first + count:
            first, count = next(parts)
        if row.number < first:
            yield row
    if rolling.digest != listing.digest:
        raise InputError("The inputs have changed while they were read; give the result another name, or overwrite it.")


def _table(units: Sequence[Sequence[Row]]) -> Any:
    """A block of pickled units."""
    import pyarrow as pa

    return pa.table({"unit": pa.array([pickle.dumps(unit) for unit in units], pa.large_binary())})


@contextmanager
def _stopping(parts: RemoteParts) -> Iterator[None]:
    """Ctrl-C, and SIGTERM as Ray hands it on, end the run with a sentence."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        kept = sum(count for _, count in parts.done())
        raise Interrupted(
            f"Stopped: {kept} of {parts.listing.count} rows are kept; the same call again goes on with {parts.output}."
        ) from stop


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, quiet: with what the caller has connected to, or for as long as the run goes on.

    Raises:
        InputError: the cluster cannot be reached.
    """
    import ray
    import ray.data  # configures its own logging, which is changed below

    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    _reach(cluster.address)
    if cluster.address == LOCAL:
        quiet |= {"num_cpus": _room(cluster), "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    with redirect_stdout(_Lines()):  # Ray prints there what its nodes complain of
        try:
            with _silent():
                ray.init(cluster.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, AssertionError, OSError) as error:
            raise InputError(_unreached(cluster.address, reason_of(error))) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _room(cluster: Cluster) -> int:
    """CPUs that a Ray of this machine is told to have: its own, or as many as the actors asked for take."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with_gpus = cluster.actors or 1, cluster.readers or 1
    actors, readers = with_gpus if cluster.gpus else _pools({"CPU": cores}, cluster)
    return max(cores, ceil(actors * cluster.cpus) + readers)


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing on stderr, where Ray's C++ writes on its own."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.environ["RAY_BACKEND_LOG_LEVEL"], before = "fatal", os.environ.get("RAY_BACKEND_LOG_LEVEL")
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
        os.environ.pop("RAY_BACKEND_LOG_LEVEL")
        if before is not None:
            os.environ["RAY_BACKEND_LOG_LEVEL"] = before


def _reach(address: str) -> None:
    """Refuse an address where no Ray answers, for which Ray itself would wait for minutes.

    Raises:
        ConfigError: no address.
        InputError: nothing answers there.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    if address in (LOCAL, "auto"):
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdecimal() or not host:
        raise ConfigError(
            f"The address of Ray is {address!r}; give local, auto or HOST:PORT, and run the command on a machine of "
            "the cluster (ray job submit does)."
        )
    try:
        socket.create_connection((host, int(port)), _REACHED_WITHIN).close()
        # Another process: a call that waits for something that is no Ray cannot be ended in this one.
        trying = [sys.executable, "-c", f"import ray; ray.init({address!r}, log_to_driver=False)"]
        subprocess.run(trying, capture_output=True, text=True, check=True, timeout=_ANSWERS_WITHIN)
    except (OSError, OverflowError) as error:
        raise InputError(_unreached(address, reason_of(error))) from error
    except subprocess.TimeoutExpired as error:
        told = f"nothing like Ray answers within {_ANSWERS_WITHIN:g} seconds"
        raise InputError(_unreached(address, told)) from error
    except subprocess.CalledProcessError as error:
        raise InputError(_unreached(address, error.stderr.strip().splitlines()[-1])) from error


def _unreached(address: str, reason: str) -> str:
    if address == LOCAL:
        return f"Ray cannot be started on this machine: {reason}."
    return f"The Ray cluster {address} cannot be reached: {reason}. Start one with: ray start --head"


class _Lines(TextIO if TYPE_CHECKING else object):  # type: ignore[misc]
    """What is printed goes to the log."""

    encoding, errors, closed = "utf-8", None, False

    def write(self, text: str) -> int:
        if text.strip():
            _logger.debug("%s", text.strip())
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


@contextmanager
def _context(context: Any) -> Iterator[None]:
    """Ray Data as a run needs it; afterwards as it was."""
    mine = {"enable_progress_bars": False, "target_max_block_size": _BLOCK_BYTES}
    before = {name: getattr(context, name) for name in mine}
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [logger.level for logger in loggers]
    for name, value in mine.items():
        setattr(context, name, value)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


@contextmanager
def _noted(parts: RemoteParts, note: _Note | None) -> Iterator[None]:
    """Tell how many rows are written, as the names of the parts say it."""
    ended = threading.Event()

    def watch() -> None:
        known = -1
        while not ended.wait(_LOOK_SECONDS):
            with suppress(LensPluginsError):  # a store that does not answer now may do so later
                rows = sum(count for _, count in parts.done())
                if note and rows != known:
                    note(rows, parts.listing.count)
                known = rows

    watching = threading.Thread(target=watch, name="lens-plugins-ray-progress", daemon=True)
    if note:
        watching.start()
    try:
        yield
    finally:
        ended.set()
        if note:
            watching.join(_REACHED_WITHIN)


@contextmanager
def _errors() -> Iterator[None]:
    """Errors of actors and of Ray as one sentence."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        if isinstance(cause := getattr(error, "cause", None), LensPluginsError):
            raise cause from None
        if found := re.search(rf"{_STOPPED}(\[.*\])$", str(error), re.MULTILINE):
            name, told = json.loads(found[1])
            raise getattr(errors, name, LensPluginsError)(told) from error
        raise InputError(f"Ray ended the run ({_cause(error)}). What was written before is kept; run again.") from error


def _cause(error: BaseException) -> str:
    """The line of an error of Ray that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (named or lines or [type(error).__name__])[-1 if named else 0][:300].rstrip(".")
