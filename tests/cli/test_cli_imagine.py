import json
import shutil
import sys

import pytest
from PIL import Image

from lens_plugins.hosts.seed_llama.images import read_notes
from lens_plugins.testing.small_seed import write_seed_host


@pytest.fixture(scope="module")
def artist(tmp_path_factory):
    return write_seed_host(tmp_path_factory.mktemp("cli") / "artist")


@pytest.fixture
def drawing(artist, small):
    return ["--host", artist, "--lens", f"point_cloud={small / 'point_cloud'}"]


def test_a_picture_of_a_cloud(cli, small, drawing, tmp_path):
    ended = cli("imagine", small / "chair.npy", *drawing, "-o", tmp_path / "out.png", "--seed", "4")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{tmp_path / 'out.png'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    notes = read_notes(tmp_path / "out.png")
    assert (notes["seed"], notes["prompt"]) == (4, "Please generate an image of this.")
    assert notes["inputs"] == ["chair.npy"]
    assert len(notes["codes"]) == 5


def test_the_same_seed_makes_the_same_file(cli, small, drawing, tmp_path):
    for name in ("a.png", "b.png"):
        assert cli("imagine", small / "beach.jpg", *drawing, "-o", tmp_path / name).code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_four_pictures_and_a_sheet(cli, small, drawing, tmp_path):
    ended = cli(
        "imagine", small / "beach.jpg", *drawing, "-o", tmp_path / "out.webp", "-n", "4", "--edit", "Make it red.",
        "--seed", "7", "--json",
    )  # fmt: skip
    assert (ended.code, ended.err) == (0, "")
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert [each["seed"] for each in found] == [7, 8, 9, 10]
    assert [each["file"] for each in found] == [str(tmp_path / f"out-{n}.webp") for n in (1, 2, 3, 4)]
    assert all(read_notes(each["file"])["codes"] == each["codes"] for each in found)
    assert found[0]["prompt"] == "Make it red."
    sheet = read_notes(tmp_path / "out.webp")
    assert sheet["seed"] == [7, 8, 9, 10]
    assert {each["sheet"] for each in found} == {str(tmp_path / "out.webp")}
    assert sheet["codes"] == [each["codes"] for each in found]
    with Image.open(tmp_path / "out.webp") as picture:
        assert picture.size == (2 * 16 + 8, 2 * 16 + 8)


def test_the_sheet_is_named_last(cli, small, drawing, tmp_path):
    ended = cli("imagine", small / "beach.jpg", *drawing, "-o", tmp_path / "out.png", "-n", "2")
    assert ended.out.splitlines() == [str(tmp_path / name) for name in ("out-1.png", "out-2.png", "out.png")]


def test_several_files_are_composed_or_fused(cli, small, drawing, tmp_path):
    both = [small / "beach.jpg", small / "piano.npy"]
    assert cli("imagine", *both, *drawing, "-o", tmp_path / "out.jpg").code == 0
    assert read_notes(tmp_path / "out.jpg")["prompt"] == "<image>, <image>, please generate an image to combine them"
    assert cli("imagine", *both, *drawing, "-o", tmp_path / "out.jpg", "--fuse", "vit").code == 0
    assert read_notes(tmp_path / "out.jpg")["prompt"] == "Please generate an image of this."


WRONG = {  # words after the file, what the complaint says
    "no steps": (["--steps", "0"], "steps is 0; it must be at least 1"),
    "an odd size": (["--size", "100"], "size is 100; it must be a positive multiple of 8"),
    "no candidates": (["--candidates", "0"], "candidates is 0"),
    "a noise level below 0": (["--noise-level", "-1"], "noise_level is -1"),
    "a noise level beyond the schedule": (["--noise-level", "1000"], "levels 0 to 999"),
    "no picture format": (["-o", "{tmp}/out.gif"], "'.gif'"),
    "no such folder": (["-o", "{tmp}/gone/out.png"], "there is no folder"),
    "a host that writes only": (["--host", "{writer}"], "cannot make a picture; a SEED-LLaMA host can"),
    "too few places": (["--edit", "put <image> on <image>"], "<image> 2 times, there are 1 pictures"),
    "codes in the prompt": (["--edit", "make <img_00001> red"], "write <image> where a picture goes"),
    "a host that is nowhere": (["--host", "pocket-absent"], "host pocket-absent is no folder, no shipped host"),
    "a host without its pipeline": (["--host", "{poor}"], "community mirror"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_ends_with_2_and_no_file(cli, small, drawing, artist, tmp_path_factory, tmp_path, name):
    words, complaint = WRONG[name]
    poor = tmp_path_factory.mktemp("poor") / "host"
    if "{poor}" in words:
        shutil.copytree(artist, poor, ignore=shutil.ignore_patterns("unclip"))
    given = [word.format(tmp=tmp_path, writer=small / "host", poor=poor) for word in words]
    output = [] if "-o" in given else ["-o", tmp_path / "out.png"]
    host = [] if "--host" in given else drawing
    ended = cli("imagine", small / "beach.jpg", *host, *output, *given)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert complaint in ended.err
    assert list(tmp_path.iterdir()) == []


def test_an_absent_host_comes_before_an_absent_lens(cli, small, tmp_path):
    ended = cli("imagine", small / "chair.npy", "--host", "pocket-absent", "-o", tmp_path / "out.png")
    assert (ended.code, ended.out) == (2, "")
    assert "host pocket-absent is no folder" in ended.err


def test_absent_diffusers_are_missed_before_a_host_is_loaded(cli, small, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    ended = cli("imagine", small / "beach.jpg", "--host", "./gone", "-o", tmp_path / "out.png")
    assert ended.code == 2
    assert "pip install 'lens-plugins[seed]'" in ended.err
