"""Every demo runs: on a small host always, and by tests/e2e on the host that ships."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers.utils import logging

import lens_plugins as lp
from lens_plugins.testing.small import small_lens, write_host
from lens_plugins.testing.small_seed import write_seed_host

DEMOS = Path(__file__).resolve().parents[1] / "demos"
SCRIPTS = sorted(DEMOS.glob("*.py"))
NOTEBOOKS = sorted(DEMOS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("demos")
    write_host(root / "host", "instructblip-llama")
    small_lens("point_cloud").save_pretrained(root / "lens")
    (root / "data").mkdir()
    rng = np.random.default_rng(0)
    points = "\n".join(" ".join(f"{x:.4f}" for x in row) for row in rng.random((90, 3)))
    header = (
        "ply\nformat ascii 1.0\nelement vertex 90\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    (root / "data" / "chair.ply").write_text(header + points + "\n")
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(root / "data" / "beach.jpg")
    return root


@pytest.fixture
def shipped(home, monkeypatch):
    """The small host and lens under the names of those that ship."""
    names = {
        "pocket-instructblip": home / "host",
        "pocket-point-cloud": home / "lens",
        "pocket-seed-llama": home / "seed",
    }
    load_host, load_lens = lp.load_host, lp.load_lens
    for name, load in (("load_host", load_host), ("load_lens", load_lens)):
        call = lambda source, load=load: load(names[source] if isinstance(source, str) else source)  # noqa: E731
        monkeypatch.setattr(lp, name, call, raising=False)
    return home


def run(script, shipped, monkeypatch, capsys, *files):
    monkeypatch.setattr("sys.argv", [str(script), *(str(shipped / "data" / file) for file in files)])
    logging.enable_progress_bar()
    runpy.run_path(str(script), run_name="__main__")
    ended = capsys.readouterr()
    assert ended.err == ""
    return ended.out


def test_there_are_those_of_the_readme():
    assert {path.stem for path in SCRIPTS} >= {"caption_point_cloud", "imagine", "mixed_story", "plug_into_your_model"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_demo_is_short(script):
    assert len(script.read_text().splitlines()) <= 40


def test_caption_point_cloud(shipped, monkeypatch, capsys):
    out = run(DEMOS / "caption_point_cloud.py", shipped, monkeypatch, capsys, "chair.ply")
    *picture, prompt, answer = out.splitlines()
    assert 5 <= len(picture) <= 22
    assert all("\u2800" <= dot <= "\u28ff" for line in picture for dot in line)
    assert prompt == "prompt: What is it?"
    assert answer.startswith("answer: ")


def test_mixed_story(shipped, monkeypatch, capsys):
    lines = run(DEMOS / "mixed_story.py", shipped, monkeypatch, capsys, "chair.ply", "beach.jpg").splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["chair.ply:", "beach.jpg:", "prompt:", "vit", "qformer", "llm"]


def test_plug_into_your_model(shipped, monkeypatch, capsys):
    out = run(DEMOS / "plug_into_your_model.py", shipped, monkeypatch, capsys, "chair.ply")
    assert "latents (1, 4, 32) features (1, 5, 32) prefix (1, 3, " in out
    assert "to the bit: True" in out


def test_imagine(shipped, monkeypatch, capsys, tmp_path):
    pytest.importorskip("diffusers", reason="the seed extra is absent")
    write_seed_host(shipped / "seed")
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    lines = run(DEMOS / "imagine.py", shipped, monkeypatch, capsys, "chair.ply", "beach.jpg").splitlines()
    made = [f"imagined-{name}.png" for name in ("again", "red", "winter", "both")]
    assert [line.split(":")[0] for line in lines] == made
    assert {path.name for path in tmp_path.iterdir()} == set(made)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_holds_no_output(notebook, shipped, monkeypatch):
    monkeypatch.chdir(shipped)  # where data/ is, as beside the notebook
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for cell in cells:
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        exec(compile("".join(cell["source"]), str(notebook), "exec"), names)
    assert names["features"].shape == (1, 5, 32)
