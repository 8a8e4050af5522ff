"""A package that nobody here knows brings a modality and a host by entry points, and everything works for them.

It is installed into a folder of its own, and every check runs in a process that has this folder on its path, so that
entry points are read as they are from any installed package.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACKAGE = HERE / "thermal_package"

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def install(package: Path, target: Path) -> None:
    """What pip does for a package of pure modules: copy them, and write who they are."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))
    name, version = project["project"]["name"], project["project"]["version"]
    info = target / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    for module in project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]:
        shutil.copy(package / module, target)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = project["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    install(PACKAGE, folder)
    return folder


@pytest.fixture(scope="module")
def run(site):
    """Run Python with the package installed; the completed process."""
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def _run(*words: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *map(str, words)], env=env, cwd=ROOT, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    return _run


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Warm and cold cups with pictures of their own colour."""
    folder = tmp_path_factory.mktemp("pairs")
    random = np.random.default_rng(0)
    lines = []
    for number in range(12):
        degrees = np.full((3, 24, 24), 45.0 if number % 2 else 5.0, "<f4")
        degrees += random.normal(0, 1, degrees.shape).astype("<f4")
        (folder / f"{number}.thm").write_bytes(b"THM 3 24 24\n" + degrees.tobytes())
        Image.new("RGB", (28, 28), (220, 60, 20) if number % 2 else (20, 60, 220)).save(folder / f"{number}.png")
        lines.append(json.dumps({"modality": "thermal", "path": f"{number}.thm", "image": f"{number}.png"}))
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return folder


def passed(done: subprocess.CompletedProcess[str]) -> int:
    """How many tests pytest says have passed."""
    return int(re.search(r"(\d+) passed", done.stdout)[1])


def test_it_inherits_every_promise(run, tmp_path):
    (tmp_path / "empty.ini").write_text("[pytest]\n")
    done = run("-m", "pytest", "-q", "-c", tmp_path / "empty.ini", "-p", "no:cacheprovider", PACKAGE / "checks.py")
    assert passed(done) >= 35
    assert "skipped" not in done.stdout


def test_it_has_a_place_in_the_matrix(run):
    done = run("-m", "pytest", "-v", ROOT / "tests/test_matrix.py", "-k", "thermal and blip2-opt")
    assert passed(done) >= 8


@pytest.fixture(scope="module")
def trained(run, pairs, tmp_path_factory) -> tuple[Path, Path]:
    """The toy host's folder, and a lens trained for ten steps on its ViT."""
    work = tmp_path_factory.mktemp("trained")
    run("-c", f"import pathlib, lens_toy_host as t; t.ToyModel(1).save(pathlib.Path({str(work / 'toy')!r}))")
    done = run(
        "-m", "lens_plugins", "train", pairs / "pairs.jsonl", "--modality", "thermal", "--output", work / "lens",
        "--host", work / "toy", "--steps", 10, "--batch-size", 6, "--config", "log_every=1", "--lr", 0.003,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert (said["steps"], said["stopped"]) == (10, "steps")
    return work / "toy", work / "lens"


def test_it_trains_ten_steps(trained):
    rows = [json.loads(line) for line in (trained[1] / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 10
    assert min(losses[5:]) < losses[0]
    config = json.loads((trained[1] / "config.json").read_text())
    assert config["input"]["clips"] == 2
    assert config["vit"]["positions"] == 4


COMMANDS = """
import contextlib, io, json, sys
from lens_plugins.cli.main import run
ended = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    ended.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(ended))
"""


def test_it_captions_with_its_own_lens_host_and_options(run, trained, pairs):
    toy, lens = trained
    start = ["caption", str(pairs / "1.thm"), "--host", str(toy), "--lens", f"thermal={lens}", "--max-new-tokens", "2"]
    more = (["--clips", "1"], ["--set", "thermal.high=100"], ["--set", "thermal.hihg=1"], ["--set", "thermal.low=60"])
    done = run("-c", COMMANDS, json.dumps([start + words for words in more]))
    one_clip, warmer, misspelt, refused = json.loads(done.stdout.splitlines()[-1])
    assert (one_clip[0], warmer[0]) == (0, 0)
    assert len(one_clip[1].split()) >= 2
    assert misspelt[0] == refused[0] == 2
    assert "thermal has no setting 'hihg'; did you mean 'high'?" in misspelt[2]
    assert "low is 60; it must be below high, 50.0" in refused[2]
