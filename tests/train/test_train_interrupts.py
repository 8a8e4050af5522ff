"""Ended by a signal, a run keeps its last step; killed, it keeps its last checkpoint and lets the next one in."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lens_plugins.errors import Interrupted
from lens_plugins.splice.frozen import digests
from lens_plugins.testing.small import write_host
from lens_plugins.train import TrainConfig, train_lens
from lens_plugins.train.interrupts import Interrupts

CONFIG = TrainConfig(steps=12, batch_size=18, lr=3e-3, log_every=1, validate_every=0, checkpoint_every=100)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_step_at_hand(world, vit, lens_config, tmp_path, number):
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]

    def run(folder, **more):
        return train_lens(world, vit=vit, lens=lens_config, output=tmp_path / folder, config=CONFIG, **more)

    def stop(step, row):
        if step == 5:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted) as caught:
        run("parts", on_step=stop)
    said = str(caught.value)
    assert f"Stopped by {number.name} after step 5 of 12" in said
    assert str(tmp_path / "parts" / "checkpoint.pt") in said
    assert caught.value.exit_code == 130
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    seen = []
    resumed = run("parts", resume=True, on_step=lambda step, row: seen.append(step))
    assert seen == list(range(6, 13))
    assert digests(resumed.lens) == digests(run("whole").lens)


def test_a_signal_at_the_last_step_changes_nothing(world, vit, lens_config, tmp_path):
    def stop(step, row):
        if step == CONFIG.steps:
            os.kill(os.getpid(), signal.SIGINT)

    done = train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=CONFIG, on_step=stop)
    assert (done.stopped, done.steps) == ("steps", 12)


def send(number: int) -> None:
    """To this process; handlers have run when it returns."""
    os.kill(os.getpid(), number)
    time.sleep(0.1)


def test_before_the_first_step_there_is_nothing_to_save():
    with pytest.raises(Interrupted, match="by SIGTERM before the first step"), Interrupts():
        send(signal.SIGTERM)


def test_a_second_signal_ends_it_at_once():
    with Interrupts() as interrupts:
        interrupts.begin_steps()
        send(signal.SIGINT)
        assert interrupts.asked == "SIGINT"
        with pytest.raises(Interrupted, match="second SIGTERM, without saving"):
            send(signal.SIGTERM)


class Shell:
    """`lens-plugins train` in processes of their own, all into one folder."""

    def __init__(self, world: Path, host: Path, output: Path) -> None:
        self.world, self.host, self.output = world, host, output

    def start(self, steps: int, *words: str) -> subprocess.Popen[str]:
        sizes = [f"lens.{name}" for name in ("num_groups=8", "encoder_dim=16", "hidden=8", "max_points=64")]
        config = [
            word for each in (*sizes, "log_every=1", "validate_every=0", "num_workers=1") for word in ("--config", each)
        ]
        line = ["-m", "lens_plugins", "train", str(self.world), "--modality", "point_cloud", "--host", str(self.host)]
        line += ["--output", str(self.output), "--steps", str(steps), "--batch-size", "6", *config, *words]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, *line], env=env, start_new_session=True, **pipes)

    def rows(self) -> list[dict]:
        file = self.output / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for(self, process: subprocess.Popen[str], step: int) -> None:
        until = time.monotonic() + 300
        while not any(row["step"] >= step for row in self.rows()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_life_of_stops_and_kills(world, tmp_path):
    shell = Shell(world, write_host(tmp_path / "host", "blip2-opt"), tmp_path / "lens")
    first = shell.start(100_000, "--config", "checkpoint_every=100000")
    shell.wait_for(first, 3)

    second = shell.start(5, "--overwrite")  # while the first one trains
    _, said = second.communicate(timeout=300)
    assert second.returncode == 2, said
    assert f"process {first.pid} on {platform.node()}" in said

    os.killpg(first.pid, signal.SIGTERM)  # as a job's end comes: to the workers, too
    _, said = first.communicate(timeout=300)
    assert first.returncode == 130, said
    assert f"The state is in {shell.output / 'checkpoint.pt'}" in said
    assert "Traceback" not in said
    reached = torch.load(shell.output / "checkpoint.pt", weights_only=True)["step"]
    assert reached == shell.rows()[-1]["step"]

    third = shell.start(100_000, "--resume", "--config", "checkpoint_every=1")
    shell.wait_for(third, reached + 3)
    os.killpg(third.pid, signal.SIGKILL)
    third.communicate()
    assert (shell.output / ".training.lock").exists()
    with open(shell.output / "metrics.jsonl", "a") as file:
        file.write('{"step": 999999, "lo')
    reached = torch.load(shell.output / "checkpoint.pt", weights_only=True)["step"]

    last = shell.start(reached + 2, "--resume", "--config", "checkpoint_every=1")
    printed, said = last.communicate(timeout=300)
    assert last.returncode == 0, said
    assert json.loads(printed)["steps"] == reached + 2
    assert [row["step"] for row in shell.rows() if "loss" in row] == list(range(1, reached + 3))
    hidden = [path.name for path in shell.output.iterdir() if path.name.startswith(".")]
    assert hidden == []

    again = shell.start(5)  # the lens is finished
    _, said = again.communicate(timeout=300)
    assert again.returncode == 2
    assert "already holds a lens" in said
