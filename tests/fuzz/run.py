"""Damages valid files of every format and every kind of checkpoint, reads them, and counts what should not be.

    python tests/fuzz/run.py --inputs 300000 --workers 2 --keep build/fuzz
    python tests/fuzz/run.py --seconds 60 --seed 0

Input number N of a seed is always the same. A reader may give its tensor or raise one of our errors; a crash, more
than 10 seconds, more than 2 GiB, another exception, or a number that is not finite is kept below --keep and makes the
exit status 1.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

import torch
from fuzz_mutations import mutate
from fuzz_seeds import Seed, seeds

from lens_plugins.errors import InternalError, LensPluginsError

SECONDS, BYTES = 10.0, 2 * 2**30
FAULTS = ("crash", "hang", "memory", "foreign", "not finite")
_POLL = 0.05  # seconds between two looks at the workers
_SLOT = struct.Struct("<dq")  # when the reading began, number of the input being read (-1: none)


def build(number: int, seed: int, given: list[Seed], weights: list[float]) -> tuple[Seed, dict[str, bytes], str]:
    """Input `number`: its seed, the files after damage, and the name of the damaged one."""
    random = Random(f"{seed}:{number}")
    (chosen,) = random.choices(given, weights)
    name = random.choice(sorted(chosen.files))
    suffix = Path(name).suffix
    others = [
        one
        for other in given
        for file, one in other.files.items()
        if file.endswith(suffix) and other.kind == chosen.kind
    ]
    return chosen, {**chosen.files, name: mutate(chosen.files[name], random, others)}, name


def write(files: dict[str, bytes], folder: Path) -> Path:
    """The path to hand over: the file where there is one, else the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / next(iter(files)) if len(files) == 1 else folder


def outcome(chosen: Seed, path: Path) -> tuple[str, str]:
    """What came of reading: "read", "refused" or a fault, and what was said."""
    before, began = reset_peak(), time.process_time()
    try:
        tensors = chosen.read(path)
        for tensor in tensors if isinstance(tensors, list) else [tensors]:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                return "not finite", f"shape {tuple(tensor.shape)}"
        found = "read", ""
    except MemoryError as error:
        return "memory", repr(error)
    except InternalError as error:
        return "foreign", repr(error)
    except LensPluginsError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                return "memory", f"{error!r} because of {cause!r}"
            cause = cause.__cause__
        found = "refused", str(error)
    except BaseException as error:  # noqa: BLE001 - SystemExit and KeyboardInterrupt from a library too
        return "foreign", f"{type(error).__name__}: {error}"
    if (took := time.process_time() - began) > SECONDS:
        return "hang", f"{took:.1f} s; {found[1]}"
    grown = peak() - before
    return ("memory", f"{grown / 2**20:.0f} MiB") if grown > BYTES else found


def outcome_apart(chosen: Seed, path: Path) -> tuple[str, str]:
    """`outcome` in a process of its own, with "crash" and "hang" for what ends it."""
    there, here = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            warnings.simplefilter("ignore")
            os.write(here, json.dumps(outcome(chosen, path)).encode()[:4000])
        finally:
            os._exit(0)
    os.close(here)
    with os.fdopen(there, "rb") as answer:
        if not select.select([answer], [], [], 3 * SECONDS)[0]:  # it counts the seconds itself; a busy machine is slow
            os.kill(pid, signal.SIGKILL)
        text = answer.read()
    _, status = os.waitpid(pid, 0)
    if text:
        found, said = json.loads(text)
        return found, said
    return ("hang", "") if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else ("crash", f"{status}")


def spent() -> float:
    """Seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def reset_peak() -> int:
    """Bytes in memory now; the peak starts anew from here."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return peak()


def peak() -> int:
    text = Path("/proc/self/status").read_text() if sys.platform == "linux" else ""
    at = text.find("VmHWM:")
    return int(text[at + 6 :].split()[0]) * 1024 if at >= 0 else 0


class Run:
    """Workers that share the numbers of the inputs among them; one that dies is replaced, and its input is a fault."""

    def __init__(self, options: argparse.Namespace, given: list[Seed], scratch: Path) -> None:
        self.options, self.given, self.scratch = options, given, scratch
        self.weights = [one.share / sum(other.kind == one.kind for other in given) for one in given]
        self.shared = mmap.mmap(-1, _SLOT.size * options.workers)
        self.pids: dict[int, int] = {}
        self.log = scratch / "outcomes.jsonl"
        self.began = time.monotonic()
        self.looks: dict[int, tuple[object, int]] = {}

    def run(self) -> Counter[tuple[str, str]]:
        for worker in range(self.options.workers):
            self.start(worker, worker)
        while self.pids:
            time.sleep(_POLL)
            for worker in list(self.pids):
                self.look_after(worker)
        return self.counts()

    def start(self, worker: int, number: int) -> None:
        self.mark(worker, -1)
        pid = os.fork()
        if pid == 0:
            try:
                self.work(worker, number)
            finally:
                os._exit(0)
        self.pids[worker] = pid

    def mark(self, worker: int, number: int) -> None:
        """Tell the parent what is being read; the time first, which it looks at only beside a number."""
        struct.pack_into("<d", self.shared, worker * _SLOT.size, time.monotonic())
        struct.pack_into("<q", self.shared, worker * _SLOT.size + 8, number)

    def look_after(self, worker: int) -> None:
        slot = _SLOT.unpack_from(self.shared, worker * _SLOT.size)
        # looks are counted and not seconds: a machine that stood still has a clock that went on
        self.looks[worker] = (slot, self.looks[worker][1] + 1 if self.looks.get(worker, (None, 0))[0] == slot else 0)
        number = slot[1]
        pid, status = os.waitpid(self.pids[worker], os.WNOHANG)
        fault = ""
        if pid:
            if os.WIFSIGNALED(status) or number >= 0:
                fault = "crash"
        elif number >= 0 and self.looks[worker][1] * _POLL > 3 * SECONDS:  # a busy machine is slow
            os.kill(self.pids[worker], signal.SIGKILL)
            os.waitpid(self.pids[worker], 0)
            fault = "hang"
        if fault:
            said = signal.Signals(os.WTERMSIG(status)).name if fault == "crash" and os.WIFSIGNALED(status) else ""
            self.note(number, fault, said)
            self.start(worker, number + self.options.workers)
        elif pid:
            del self.pids[worker]

    def work(self, worker: int, number: int) -> None:
        """In the worker: one input after the other, until there are enough or the time is up."""
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        warnings.simplefilter("ignore")
        folder = self.scratch / f"worker-{worker}"
        with open(self.log, "a", buffering=1) as log:
            while number < self.options.inputs and time.monotonic() - self.began < self.options.seconds:
                chosen, files, _ = build(number, self.options.seed, self.given, self.weights)
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                path = write(files, folder)
                began = spent()
                self.mark(worker, number)
                found, said = outcome(chosen, path)
                took = spent() - began
                self.mark(worker, -1)
                if took > SECONDS:
                    found, said = "hang", f"{took:.1f} s; {said}"
                log.write(json.dumps([chosen.kind, found, number, said[:300], round(took, 3)]) + "\n")
                number += self.options.workers

    def note(self, number: int, fault: str, said: str) -> None:
        chosen, _, _ = build(number, self.options.seed, self.given, self.weights)
        with open(self.log, "a") as log:
            log.write(json.dumps([chosen.kind, fault, number, said, 0.0]) + "\n")

    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def counts(self) -> Counter[tuple[str, str]]:
        return Counter((kind, found) for kind, found, *_ in self.rows())


def keep(run: Run, folder: Path) -> None:
    """The inputs that failed, as files, and a line for each on stdout."""
    for kind, found, number, said, _ in run.rows():
        if found not in FAULTS:
            continue
        _, files, damaged = build(number, run.options.seed, run.given, run.weights)
        name = f"{found.replace(' ', '-')}-{run.options.seed}-{number}-{kind.replace(':', '-')}"
        target = folder / name
        if len(files) == 1:
            target = target.with_name(f"{name}{Path(damaged).suffix}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files[damaged])
        else:
            write(files, target)
        print(f"{found}: {target} ({damaged}): {said}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=10**9, help="how many are read")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="or for how long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="formats that begin so: point_cloud, eeg:set, lens")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="where failing inputs are kept")
    options = parser.parse_args(arguments)
    if options.inputs == 10**9 and options.seconds == float("inf"):
        options.seconds = 60.0
    space = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=space if space.is_dir() else None) as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scratch = Path(name)
        given = [one for one in seeds(scratch) if one.kind.startswith(options.only)]
        for number, one in enumerate(given):  # imports happen here, once; and a seed must be valid
            whole = scratch / f"seed-{number}"
            found, said = outcome(one, write(one.files, whole))
            if found != "read" and one.share >= 0.25:
                raise SystemExit(f"The valid {one.kind} ({', '.join(one.files)}) is {found}: {said}")
        run = Run(options, given, scratch)
        counts = run.run()
        took = time.monotonic() - run.began
        report(counts, took)
        keep(run, options.keep)
    return int(any(found in FAULTS for _, found in counts))


def report(counts: Counter[tuple[str, str]], took: float) -> None:
    columns = ("read", "refused", *FAULTS)
    print(f"{'format':20}" + "".join(f"{column:>11}" for column in columns))
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:20}" + "".join(f"{counts[kind, column]:11}" for column in columns))
    totals = [sum(count for (_, found), count in counts.items() if found == column) for column in columns]
    print(f"{'all':20}" + "".join(f"{total:11}" for total in totals))
    print(f"{sum(totals)} inputs in {took:.0f} s, {sum(totals) / max(took, 1e-9):.0f} a second")


if __name__ == "__main__":
    raise SystemExit(main())
