"""The script that damages files finds nothing, and would find something."""

import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import run
from fuzz_mutations import mutate
from fuzz_seeds import Seed

from lens_plugins.errors import InputError, InternalError


def test_some_hundred_damaged_files(tmp_path):
    options = ["--inputs", "1200", "--seed", "0", "--workers", "2", "--keep", str(tmp_path)]
    done = subprocess.run([sys.executable, run.__file__, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1200 inputs in" in done.stdout
    assert list(tmp_path.iterdir()) == []


def grow(_):
    kept = bytearray(2**29)
    kept[:: 2**12] = b"x" * len(kept[:: 2**12])
    return []


def loop(_):
    while True:
        pass


def crash(_):
    import ctypes

    ctypes.string_at(0)


def stop(error):
    def read(_):
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "found"),
    [
        (lambda _: torch.zeros(2), "read"),
        (lambda _: [torch.zeros(2), torch.tensor([1.0, float("nan")])], "not finite"),
        (stop(InputError("x")), "refused"),
        (stop(InternalError("x")), "foreign"),
        (stop(KeyError("x")), "foreign"),
        (stop(SystemExit(3)), "foreign"),
        (stop(MemoryError()), "memory"),
        (grow, "memory"),
        (crash, "crash"),
    ],
)
def test_every_fault_is_seen(read, found, monkeypatch, tmp_path):
    monkeypatch.setattr(run, "BYTES", 2**28)
    assert run.outcome_apart(Seed("x", {}, read), tmp_path)[0] == found


def test_a_hang_is_seen(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "SECONDS", 0.3)
    assert run.outcome_apart(Seed("x", {}, loop), tmp_path)[0] == "hang"
    slow = Seed("x", {}, lambda _: sum(range(10**8)) and [])
    assert run.outcome_apart(slow, tmp_path)[0] == "hang"


def test_a_run_counts_faults_and_goes_on(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(run, "SECONDS", 1.0)
    ends = {b"a": lambda: torch.zeros(1), b"b": lambda: crash(0), b"c": lambda: loop(0), b"d": lambda: 1 / 0}

    def read(path):
        return ends[path.read_bytes()[:1]]()

    monkeypatch.setattr(run, "mutate", lambda data, random, others: b"abcd"[(n := random.randrange(4)) : n + 1] + data)
    monkeypatch.setattr(run, "seeds", lambda folder: [Seed("format:x", {"a.x": b"a"}, read)])
    before = time.monotonic()
    assert run.main(["--inputs", "12", "--workers", "2", "--keep", str(tmp_path / "kept")]) == 1
    assert time.monotonic() - before < 60
    told = capfd.readouterr().out
    row = next(line for line in told.splitlines() if line.startswith("all")).split()
    kept = [path.name.partition("-")[0] for path in (tmp_path / "kept").iterdir()]
    assert sum(map(int, row[1:])) == 12
    assert sorted(kept) == sorted(["crash"] * int(row[3]) + ["hang"] * int(row[4]) + ["foreign"] * int(row[6]))
    assert all(int(row[at]) for at in (1, 3, 4, 6)), "twelve draws of four ends: the seed is fixed, all four come"


def test_damage_is_the_same_for_the_same_number():
    data = bytes(range(256)) * 4
    assert mutate(data, Random("0:7"), []) == mutate(data, Random("0:7"), [])
    made = {mutate(data, Random(f"0:{n}"), [data[::-1]]) for n in range(200)}
    assert len(made) > 180
