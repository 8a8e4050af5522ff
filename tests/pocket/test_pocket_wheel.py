"""The wheel: small, with its licences, and whole when it is installed outside the checkout."""

import os
import re
import subprocess
import sys
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

from lens_plugins.pocket.fetched import cache_folder
from lens_plugins.pocket.shipped import ROWS, WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 60e6  # bytes
LEFT_OUT = ("expected", "heldout", "lens-eeg", "samples", "seed-llama")  # of the folder of weights
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling", reason="building the wheel needs hatchling")
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_it_is_small(wheel):
    assert wheel.stat().st_size <= LARGEST


def test_it_holds_every_module_and_what_was_decided_of_the_weights(names):
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "lens_plugins").rglob("*.py")} <= names
    weights = "lens_plugins/pocket/weights/"
    wanted = {weights + row.file for row in ROWS if not row.file.startswith(LEFT_OUT)}
    found = {name for name in names if name.startswith(weights) and name.endswith(".safetensors")}
    assert found == wanted
    assert not [name for name in names if name.removeprefix(weights).startswith(LEFT_OUT)]
    assert {f"{weights}{name}/MODEL_CARD.md" for name in ("instructblip", "lens-audio")} <= names
    assert {path.name for path in WEIGHTS.iterdir() if path.is_dir()} >= set(LEFT_OUT)


def test_it_holds_nothing_that_others_drew_or_recorded(names):
    kinds = {Path(name).suffix for name in names}
    assert not kinds & {".png", ".jpg", ".webp", ".ogg", ".flac", ".wav", ".npy", ".ply", ".obj"}


def test_its_licences_are_said_and_enclosed(wheel, names):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        said = BytesParser().parsebytes(archive.read(metadata))
        assert said["License-Expression"] == "Apache-2.0 AND CC-BY-4.0"
        texts = {
            name: archive.read(f"{Path(metadata).parent}/licenses/{name}") for name in said.get_all("License-File")
        }
    assert b"Apache License" in texts["LICENSE"]
    assert b"aiSFX" in texts["lens_plugins/pocket/weights/ATTRIBUTION.md"]
    text = texts["lens_plugins/pocket/weights/lens-audio/LICENSE-CC-BY-4.0.txt"]
    assert text.startswith(b"Creative Commons Attribution 4.0 International")


OUTSIDE = """
import lens_plugins as lp
from lens_plugins.bench.heldout import open_objects
from lens_plugins.pocket.shipped import WEIGHTS

host = lp.load_host("pocket-instructblip")
for name in ("point-cloud", "audio", "depth", "tactile"):
    host.plug(lp.load_lens(f"pocket-{name}"))
print(WEIGHTS)
print(host.generate("noise.npy", max_new_tokens=4))
for call in (lambda: lp.load_lens("pocket-eeg"), lambda: lp.load_host("pocket-seed-llama"), open_objects):
    try:
        call()
    except lp.errors.LensPluginsError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def outside(wheel, tmp_path_factory) -> Path:
    """A fresh environment with the wheel, which borrows the packages that it needs from this one."""
    home = tmp_path_factory.mktemp("outside")
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True, timeout=120)
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    install = [str(home / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=120)
    checkout = {str(ROOT), str(ROOT / "demos")}
    borrowed = [path for path in sys.path if path.endswith("site-packages") and path not in checkout]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return home


def python(outside: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LENS_PLUGINS_POCKET")}
    return subprocess.run(
        [str(outside / "venv" / "bin" / "python"), *arguments],
        cwd=outside, env={**kept, **more}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_installed_outside_the_checkout_it_answers_and_says_what_it_left_out(outside):
    if not (cache_folder() / "smollm2-135m-instruct").is_dir():
        pytest.skip("the language model is not in the cache; `lens-plugins doctor --fetch` fetches it")
    code = "import numpy; numpy.save('noise.npy', numpy.random.rand(2048, 3).astype('float32'))"
    assert python(outside, "-c", code).returncode == 0
    done = python(outside, "-c", OUTSIDE)
    assert done.returncode == 0, done.stderr
    where, answer, *left_out = done.stdout.splitlines()
    assert Path(where).is_relative_to(outside)
    assert answer
    assert len(left_out) == 3
    for name, line in zip(("pocket-eeg", "pocket-seed-llama", "heldout"), left_out):
        assert re.match(rf"{name} is not in this installation: .*set LENS_PLUGINS_POCKET to the folder", line)


def test_doctor_tells_what_is_there(outside):
    done = python(outside, "-m", "lens_plugins", "doctor")
    lines = {line[2:].split(maxsplit=1)[0]: line for line in done.stdout.splitlines() if line[2:3].strip()}
    for row in ROWS:
        there = "whole" if not row.file.startswith(LEFT_OUT) else "is not in this installation"
        assert there in lines[row.id]
    found = python(outside, "-m", "lens_plugins", "doctor", LENS_PLUGINS_POCKET=str(WEIGHTS)).stdout
    assert found.count(", whole") == len({row.id for row in ROWS})
