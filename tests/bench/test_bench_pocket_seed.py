"""The tables and the grid of `bench pocket-seed`, on a small SEED-LLaMA of random weights and a judge by rote."""

import types

import numpy as np
import pytest
import torch
from PIL import Image

from lens_plugins import load_host
from lens_plugins.bench import pocket_seed as bench
from lens_plugins.bench.drawings import CELL, Found, SecondJudge, portrait
from lens_plugins.bench.heldout import HeldOut
from lens_plugins.errors import Unsupported
from lens_plugins.inputs import ModalityInput
from lens_plugins.lens.lens import Lens
from lens_plugins.testing.small_seed import write_seed_host
from lens_plugins.train import lens_config_for


class Judge:
    """Says "chair" of every picture and "lamp" of every cloud."""

    def plug(self, lens):
        pass

    def classify(self, inputs, labels):
        said = ("chair" if isinstance(each, Image.Image) else "lamp" for each in inputs)
        return [[{"label": label, "score": 1.0}] for label in said]


def painted(colour, back="white", size=64):
    picture = Image.new("RGB", (size, size), back)
    picture.paste(Image.new("RGB", (size // 2, size // 2), colour), (size // 4, size // 4))
    return picture


@pytest.fixture
def everything(monkeypatch, tmp_path):
    host, judge = load_host(write_seed_host(tmp_path)), Judge()
    host.detokenizer  # noqa: B018  -- loaded once, here
    lens = Lens(lens_config_for("point_cloud", host.vit, {"num_groups": 8, "group_size": 4, "encoder_dim": 16})).eval()
    rng = np.random.default_rng(0)
    things = [
        HeldOut(str(i), label, [painted(label_colour)], torch.from_numpy(rng.normal(size=(64, 3)).astype(np.float32)))
        for i, (label, label_colour) in enumerate((("chair", "red"), ("lamp", "blue"), ("chair", "green")))
    ]
    monkeypatch.setattr(bench, "load_host", lambda name: {"seed": host, "judge": judge}.get(name, judge))
    monkeypatch.setattr(bench, "load_lens", lambda name: lens)
    monkeypatch.setattr(bench, "open_objects", lambda: things)
    monkeypatch.setattr(bench, "SENSES", ())
    monkeypatch.setattr(bench, "PAIRS", 2)
    monkeypatch.setattr(bench, "EDITED", 1)
    return types.SimpleNamespace(host=host, judge=judge, file=tmp_path / "grid.png")


def test_tables_and_grid(everything):
    noted = []
    text = bench.run("seed", "judge", grid=everything.file, note=noted.append)
    lines = text.splitlines()
    assert lines[0].startswith("3 held-out objects of 2 classes")
    assert "| the pictures themselves (ceiling) | 67% | 100% | 1.00 |" in lines
    assert any(line.startswith("| picture, from its codes | 67% | 100% | 0.") for line in lines)
    assert any(line.startswith("| the point clouds themselves (ceiling) | 33% | 100% |") for line in lines)
    assert any(line.startswith("| point cloud, from its codes | 67% | 0% | 0.") for line in lines)
    assert any(line.startswith("| point cloud, shuffled lens, from its codes | 67% | 0% |") for line in lines)
    assert "| two pictures | 0% |" in lines  # both halves are called a chair
    assert len(noted) == 6 + 2 + 3
    assert everything.host.lenses.keys() == {"point_cloud"}
    assert Image.open(everything.file).width > 5 * CELL


class Colours(torch.nn.Module):
    """A network that sees colours in the middle."""

    def forward(self, rgb):
        return rgb[:, :, 60:100, 60:100].mean((2, 3))


def test_the_second_judge_finds_what_is_alike():
    colours = ("red", "green", "blue", "yellow", "white", "black", "purple")
    judge = SecondJudge([painted(colour, "gray") for colour in colours], Colours())
    assert judge([painted(colour, "gray") for colour in colours]) == Found(1.0, 1.0)
    assert judge([painted(colour, "black", 32) for colour in colours]).first == 1.0
    swapped = judge([painted(colour, "gray") for colour in ("green", "red", *colours[2:])])
    assert swapped.first == pytest.approx(5 / 7)
    assert str(Found(0.25, 0.5)) == "25% (50%)"


def test_what_the_second_judge_finds_is_a_column(everything, monkeypatch):
    monkeypatch.setattr(bench, "SecondJudge", lambda pictures: SecondJudge(pictures, Colours()))
    lines = bench.run("seed", "judge", second_judge=True).splitlines()
    assert "| drawn | class right | class kept | SSIM | found again of 3 (among the first 5) |" in lines
    assert "| the pictures themselves (ceiling) | 67% | 100% | 1.00 | 100% (100%) |" in lines
    assert any(
        line.startswith("| picture, from its codes | 67% | 100% | 0.") and line.count("%") == 4 for line in lines
    )
    assert any(line.endswith("| 100% | - | - |") for line in lines)  # clouds themselves are no drawings


def test_a_host_without_pictures_is_refused(everything):
    everything.judge.name = "the judge"
    with pytest.raises(Unsupported, match="makes no pictures"):
        bench.run("judge", "judge")


def test_chance_is_that_of_random_pairing():
    assert bench.by_chance(["a", "a", "b", "b"], ["a", "a", "a", "c"]) == pytest.approx(0.5 * 0.75)


def test_likeness_is_one_for_the_same_and_small_for_noise():
    picture = painted("red")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    assert bench.ssim(picture, picture) == pytest.approx(1)
    assert bench.ssim(picture, noise) < 0.2
    assert bench.ssim(picture, painted("red").resize((112, 112))) > 0.8


@pytest.mark.parametrize("name", bench.ASKED_COLOURS)
def test_colours_of_things_and_of_backgrounds(name):
    assert bench.colour_of(painted(name), "tint") == name
    assert bench.colour_of(painted("gray", name), "backdrop") == name


@pytest.mark.parametrize(
    ("modality", "shape"),
    [
        ("image", (3, 20, 20)),
        ("depth", (1, 20, 20)),
        ("audio", (1, 50, 16)),
        ("eeg", (8, 40)),
        ("point_cloud", (99, 3)),
    ],
)
def test_every_modality_has_a_portrait(modality, shape):
    drawn = portrait(ModalityInput(modality, torch.randn(shape), None))
    assert drawn.size == (CELL, CELL)
    assert len(drawn.convert("L").getcolors()) > 3
