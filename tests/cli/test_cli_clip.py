"""Commands on a host that embeds, with the lenses that come in its folder."""

import json

import numpy as np
import pytest
from PIL import Image

from lens_plugins.testing.small import small_lens
from lens_plugins.testing.small_clip import write_clip


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """A `host` that embeds, files of three modalities, and a lens of another sort."""
    root = tmp_path_factory.mktemp("clip")
    write_clip(root / "host", "vitlensL", lenses=["point_cloud", "tactile"])
    rng = np.random.default_rng(0)
    (root / "files").mkdir()
    np.save(root / "files" / "piano.npy", rng.random((60, 3), dtype=np.float32))
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(root / "files" / "beach.png")
    small_lens("depth").save_pretrained(root / "depth")
    return root


def test_classify_reads_through_the_lenses_of_the_host(cli, things):
    names = [things / "files" / "piano.npy", f"tactile:{things / 'files' / 'beach.png'}"]
    options = ["--labels", "piano,beach", "--host", things / "host", "--template", "a {}", "--template", "the {}"]
    ended = cli("classify", *names, *options, "--json")
    assert (ended.code, ended.err) == (0, "")
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert [one["modality"] for one in found] == ["point_cloud", "tactile"]


def test_search_by_text_and_by_file(cli, things):
    ended = cli("search", "a beach", things / "files", "--host", things / "host")
    assert (ended.code, ended.err) == (0, "")
    assert {line.split("/")[-1] for line in ended.out.splitlines()} == {"piano.npy", "beach.png"}
    again = cli("search", things / "files" / "piano.npy", things / "files", "--host", things / "host", "--top", "1")
    assert again.out.splitlines()[0].endswith("beach.png")


def test_a_lens_may_be_given_besides(cli, things):
    given = ["--host", things / "host", "--lens", f"depth={things / 'depth'}", "--labels", "a,b"]
    ended = cli("classify", f"depth:{things / 'files' / 'beach.png'}", *given)
    assert ended.code == 2  # a colour picture is no depth map, which the lens given says
    assert "has no lens" not in ended.err
    without = cli("classify", "--host", things / "host", "--labels", "a,b", f"depth:{things / 'files' / 'beach.png'}")
    assert without.code == 2
    assert "has no lens for a depth map; lenses: point_cloud, tactile" in without.err


@pytest.mark.parametrize("command", ["caption", "ask"])
def test_what_writes_is_refused_in_one_sentence(cli, things, command):
    more = ["what is it?"] if command == "ask" else []
    ended = cli(command, things / "files" / "piano.npy", *more, "--host", things / "host")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert "it embeds (embed, classify, search)" in ended.err


def test_it_is_listed_and_verified(cli, things):
    assert "vitlensL " in cli("host", "list").out
    assert "vitlensL_depth" in cli("lens", "list").out
    ended = cli("host", "verify", things / "host")
    assert (ended.code, ended.err) == (0, "")
    assert "point_cloud: fits" in ended.out


def test_without_the_hub_the_name_is_one_sentence(cli, things):
    ended = cli("classify", things / "files" / "beach.png", "--labels", "a,b", "--host", "vitlensL")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "vitlensL.pt cannot be fetched" in ended.err
