import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lens_plugins.errors import ConfigError, InputError
from lens_plugins.files import isolated
from lens_plugins.files.isolated import run_isolated


@pytest.fixture(autouse=True)
def functions_are_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    isolated._stop_all()  # a worker knows the path that there was when it started
    yield
    isolated._stop_all()


def run(function, *arguments, **more):
    return run_isolated(f"isolated_functions:{function}", *arguments, name="a.set", kind=".set recording", **more)


def refused(function, *arguments, match, within=60, **more):
    before = time.monotonic()
    with pytest.raises(InputError, match=match):
        run(function, *arguments, **more)
    assert time.monotonic() - before < within


def test_arrays_and_plain_values_come_back_and_the_worker_stays():
    for call in (1, 2):
        found = run("values", 6)
        assert found["array"].dtype == np.float32
        assert found["array"].tolist() == [[0, 1], [2, 3], [4, 5]]
        assert found["turned"].tolist() == [[0, 2, 4], [1, 3, 5]]
        assert found["none"].shape == (0, 3)
        assert (found["text"], found["calls"]) == ("ä", call)
        found["array"][0] = 9  # its own memory


def test_the_module_is_not_imported_here():
    run("values", 2)
    assert "isolated_functions" not in sys.modules


@pytest.mark.parametrize(("function", "said"), [("segfault", "crashed, SIGSEGV"), ("leave", "crashed")])
def test_a_crash_is_one_sentence(function, said):
    refused(function, match=rf"^a\.set is not a whole \.set recording \(its reader {said}\); save it again\.$")
    assert run("values", 2)["calls"] == 1


@pytest.mark.parametrize("function", ["loop", "sleep"])
def test_time_is_limited(function):
    run("values", 2)
    refused(function, match="takes more than 1.5 seconds", within=10, seconds=1.5)
    assert run("values", 2)["calls"] == 1


@pytest.mark.parametrize("function", ["huge", "grow"])
def test_memory_is_limited(function):
    refused(function, match="needs more memory", megabytes=200)
    assert run("values", 2)["calls"] == 1


def test_what_is_raised():
    with pytest.raises(ConfigError, match=r"^a sentence of ours\.$"):
        run("ours")
    refused("foreign", match=r"\('first line\\nsecond line'\)")
    with pytest.raises(InputError, match="No module named"):
        run_isolated("no_such_module:x", name="a.set", kind=".set recording")


def test_only_regular_files_are_opened(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert run("open_it", str(tmp_path / "file")) == {"length": 5}
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        refused("open_it", str(path), match="is a pipe or a device")


def test_what_libraries_print_is_not_the_answer(capfd):
    assert run("noisy") == {"done": True}
    assert run("noisy") == {"done": True}
    assert capfd.readouterr() == ("", "")


def test_threads_have_workers_of_their_own():
    answers = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(run("values", n)["array"].size)) for n in (2, 4, 6, 8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [2, 4, 6, 8]


def test_a_forked_process_leaves_the_parents_worker_alone():
    run("values", 2)
    child = os.fork()
    if child == 0:
        os._exit(0 if run("values", 4)["calls"] == 1 else 1)  # a new worker, not the parent's second call
    assert os.waitpid(child, 0)[1] == 0
    assert run("values", 2)["calls"] == 2


def test_a_worker_that_went_home_is_replaced():
    run("values", 2)
    (worker,) = isolated._idle
    worker._process.kill()
    worker._process.wait()
    assert run("values", 2)["calls"] == 1
