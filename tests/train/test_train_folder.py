"""A run's folder: nothing is lost in it, and one training at a time writes there."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from lens_plugins.errors import CheckpointError, ConfigError
from lens_plugins.train.folder import RunFolder

HOLDER = """
import sys, time
from lens_plugins.train.folder import RunFolder
with RunFolder(sys.argv[1]).locked():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder's lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def lock_of(folder):
    return folder / ".training.lock"


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_lens_is_not_overwritten_without_a_word(tmp_path, file):
    (tmp_path / file).touch()
    with pytest.raises(ConfigError, match=r"already holds a lens\. Give another folder, .*--resume.*--overwrite"):
        RunFolder(tmp_path).check(resume=False, overwrite=False)
    RunFolder(tmp_path).check(resume=False, overwrite=True)


def test_nor_is_an_unfinished_run(tmp_path):
    (tmp_path / "checkpoint.pt").touch()
    with pytest.raises(ConfigError, match="already holds the state of an unfinished run"):
        RunFolder(tmp_path).check(resume=False, overwrite=False)
    RunFolder(tmp_path).check(resume=True, overwrite=False)
    with pytest.raises(ConfigError, match="exclude each other"):
        RunFolder(tmp_path).check(resume=True, overwrite=True)


def test_what_is_no_folder_or_holds_no_run(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is a file; give a folder"):
        RunFolder(tmp_path / "file").check(resume=False, overwrite=False)
    with pytest.raises(CheckpointError, match=r"no .*checkpoint\.pt to resume from"):
        RunFolder(tmp_path).check(resume=True, overwrite=False)
    RunFolder(tmp_path / "new").check(resume=False, overwrite=False)
    (tmp_path / "notes.txt").touch()
    RunFolder(tmp_path).check(resume=False, overwrite=False)


def test_of_an_overwritten_run_the_lens_stays_until_the_new_one_is_whole(tmp_path):
    for name in ("checkpoint.pt", "metrics.jsonl", "train.json", "text_head.safetensors", "model.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "anchors").mkdir()
    (tmp_path / "notes.txt").touch()
    RunFolder(tmp_path).clear(keep=tmp_path / "anchors" / ".." / "text_head.safetensors")
    kept = ["anchors", "model.safetensors", "notes.txt", "text_head.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    RunFolder(tmp_path).clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == kept[:3]


def test_a_second_training_is_refused_by_process_and_machine(tmp_path, holder):
    with (
        pytest.raises(ConfigError, match=f"process {holder.pid} on {platform.node()}.*or give another folder"),
        RunFolder(tmp_path).locked(),
    ):
        pytest.fail("locked twice")
    holder.communicate()
    with RunFolder(tmp_path).locked():
        assert json.loads(lock_of(tmp_path).read_text())["pid"] == os.getpid()
    assert not lock_of(tmp_path).exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert lock_of(tmp_path).exists()
    with RunFolder(tmp_path).locked():
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_runs_of_one_process_are_told_apart(tmp_path):
    with RunFolder(tmp_path / "run").locked():
        with (
            pytest.raises(ConfigError, match=f"process {os.getpid()} on"),
            RunFolder(tmp_path / "other" / ".." / "run").locked(),
        ):
            pytest.fail("locked twice")
        with RunFolder(tmp_path / "other").locked():
            pass


@pytest.mark.parametrize("torn", ["", "{", "[1]", '{"pid": "x", "host": null}'])
def test_a_torn_lock_keeps_nobody_out(tmp_path, torn):
    lock_of(tmp_path).write_text(torn)
    with RunFolder(tmp_path).locked():
        pass


class TestDisksWithoutLocks:
    """There the record in the file decides."""

    @pytest.fixture(autouse=True)
    def _no_locks(self, monkeypatch):
        monkeypatch.setattr("lens_plugins.train.folder.fcntl", None)

    def test_a_living_process_is_told_by_its_start(self, tmp_path, holder):
        with pytest.raises(ConfigError, match=f"process {holder.pid}"), RunFolder(tmp_path).locked():
            pytest.fail("locked twice")
        record = json.loads(lock_of(tmp_path).read_text())
        lock_of(tmp_path).write_text(json.dumps({**record, "began": record["began"] - 1000}))  # a number used again
        with RunFolder(tmp_path).locked():
            pass

    def test_a_process_that_is_gone_is_not(self, tmp_path, holder):
        holder.kill()
        holder.wait()
        with RunFolder(tmp_path).locked():
            pass

    def test_another_machine_cannot_be_asked(self, tmp_path):
        lock_of(tmp_path).write_text(json.dumps({"pid": 1, "host": "elsewhere", "began": 0}))
        with pytest.raises(ConfigError, match="process 1 on elsewhere"), RunFolder(tmp_path).locked():
            pytest.fail("locked twice")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(CheckpointError, match="cannot be written: Not a directory"),
        RunFolder(tmp_path / "file" / "x").locked(),
    ):
        pytest.fail("made")
