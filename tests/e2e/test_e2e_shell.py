"""What a shell sees of the installed command: streams, exit codes, files. Each costs the imports, so they are few."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lens_plugins.testing.small import small_lens, write_host

pytestmark = pytest.mark.e2e
COMMAND = Path(sys.executable).with_name("lens-plugins")
QUICK = ["--max-new-tokens", "3", "--num-beams", "1"]


def shell(*words: object, **how: object) -> subprocess.CompletedProcess:
    command = [str(COMMAND), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, **how)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a small host, a lens for clouds, a cloud and a picture."""
    root = tmp_path_factory.mktemp("home")
    write_host(root / "host", "instructblip-llama")
    small_lens("point_cloud").save_pretrained(root / "lens")
    rng = np.random.default_rng(0)
    np.save(root / "chair.npy", rng.random((60, 3), dtype=np.float32))
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(root / "beach.jpg")
    (root / "broken.npy").write_bytes(b"\x93NUMPY")
    return root


def test_a_batch_with_a_broken_file_in_a_pipe(home):
    """Names on stdin, JSON on stdout, one complaint on stderr, nothing else; exit code 2."""
    done = shell(
        *["caption", "-", "--host", "host", "--lens", "point_cloud=lens", *QUICK, "--json"],
        cwd=home,
        input="chair.npy\nbroken.npy\nbeach.jpg\n",
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["inputs"] for each in found] == [["chair.npy"], ["beach.jpg"]]
    assert [each["modality"] for each in found] == ["point_cloud", "image"]
    assert done.stderr.startswith("error: broken.npy")
    assert done.stderr.count("\n") == 1
    assert done.returncode == 2


def test_a_conversation_through_a_pipe(home):
    done = shell(
        *["chat", "chair.npy", "--host", "host", "--lens", "point_cloud=lens", "--max-new-tokens", "3"],
        cwd=home,
        input="what is it?\n/add beach.jpg\nwhat is this?\n",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2


def test_a_failure_leaves_no_file_and_no_traceback(home, tmp_path):
    done = shell("lens", "convert", home / "broken.npy", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
