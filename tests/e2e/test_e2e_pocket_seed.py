"""The SEED-LLaMA that ships: any modality to a picture, with the lenses of the other pocket host, unchanged."""

import json

import pytest
import torch
from PIL import Image
from shipped import FILES, load_with_lenses

import lens_plugins as lp
from lens_plugins.bench.heldout import open_objects
from lens_plugins.bench.pocket_seed import by_chance, classes_of, imagine
from lens_plugins.cli.main import run
from lens_plugins.pocket.shipped import WEIGHTS
from lens_plugins.splice import digest

pytest.importorskip("diffusers", reason="the seed extra is absent")
pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("pocket")]
SMALL = 80e6  # bytes that may come with it


@pytest.fixture(scope="module")
def host():
    return load_with_lenses("pocket-seed-llama")


def test_the_host_is_small(host):
    assert sum(file.stat().st_size for file in (WEIGHTS / "seed-llama").rglob("*") if file.is_file()) <= SMALL


def test_both_pocket_hosts_have_one_and_the_same_vit(host):
    other = lp.load_host("pocket-instructblip")
    assert digest(host.vit.blocks) == digest(other.vit.blocks)
    assert digest(host.vit.norm) == digest(other.vit.norm)


@pytest.mark.parametrize("modality", FILES)
def test_a_shipped_file_of_every_modality_becomes_a_picture(tmp_path, modality):
    target = tmp_path / "drawn.png"
    assert run(["imagine", FILES[modality], "-o", str(target), "--steps", "4"]) == 0
    with Image.open(target) as drawn:
        assert drawn.size == (64, 64)
        assert json.loads(drawn.info["lens-plugins"])["seed"] == 0


def test_two_things_and_an_edit(tmp_path):
    files = [FILES["point_cloud"], FILES["depth"]]
    assert run(["imagine", *files, "-o", str(tmp_path / "both.png"), "--steps", "4"]) == 0
    edit = ["--edit", "Make it red.", "-o", str(tmp_path / "red.png"), "--steps", "4"]
    assert run(["imagine", FILES["point_cloud"], *edit]) == 0
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_pictures_and_clouds_keep_their_class_far_more_often_than_by_chance(host):
    judge = lp.load_host("pocket-instructblip")
    shown = open_objects()[::3]
    labels = sorted({one.label for one in shown})
    settings = host.lenses["point_cloud"].config.input
    pictures = [one.pictures[0] for one in shown]
    clouds = [lp.read(one.cloud, "point_cloud", settings) for one in shown]
    own = classes_of(judge, pictures, labels)
    before = digest(host.model)
    for inputs in (pictures, clouds):
        said = classes_of(judge, imagine(host, [[one] for one in inputs]), labels)
        kept = sum(a == b for a, b in zip(said, own)) / len(own)
        chance = by_chance(said, own)
        assert kept > 2 * chance, f"{kept:.0%} of {len(own)} kept their class; {chance:.0%} by chance"
    assert digest(host.model) == before


def test_it_says_what_it_sees_and_edits_what_it_drew(host):
    chat = host.chat()
    shown = open_objects()[0].pictures[0]
    assert str(chat.say("What is it?", shown, max_new_tokens=12)).strip()
    first = chat.say("Draw it again.", shown, force_image=True)
    second = chat.say("Make it blue.", force_image=True)
    assert len(first.images) == len(second.images) == 1
    assert not torch.equal(first.codes, second.codes)
