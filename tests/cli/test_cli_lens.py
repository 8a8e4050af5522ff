import json

import pytest
import torch

from lens_plugins import load_lens
from lens_plugins.catalog import LENSES

HEADS = ["--set", "cross_dim_head=16", "--set", "latent_dim_head=16"]


@pytest.fixture
def released(golden):
    return golden / "point_cloud_lens_eva" / "lens.pt"


def test_inspect_a_folder(cli, small):
    ended = cli("lens", "inspect", small / "point_cloud")
    assert ended.code == 0
    assert "a lens for point_cloud of the family own" in ended.out
    assert "latents     4 x 32" in ended.out
    assert "resampler.latents" not in ended.out
    assert len(ended.out.splitlines()) < 10
    assert "4 x 32  resampler.latents" in cli("lens", "inspect", small / "point_cloud", "--keys").out


def test_list_names_every_lens(cli):
    ended = cli("lens", "list")
    assert [line.split()[:2] for line in ended.out.splitlines()] == [[row.id, row.modality] for row in LENSES]
    rows = [json.loads(line) for line in cli("lens", "list", "--json").out.splitlines()]
    assert [row["id"] for row in rows] == [row.id for row in LENSES]


def test_inspect_as_json(cli, small):
    found = json.loads(cli("lens", "inspect", small / "depth", "--json").out)
    assert (found["modality"], found["path"]) == ("depth", str(small / "depth"))
    assert found["config"]["width"] == 32
    assert (found["missing"], found["unexpected"], found["misshapen"]) == ([], [], [])


@pytest.mark.parity
def test_inspect_a_released_file(cli, released):
    ended = cli("lens", "inspect", released, *HEADS, "--keys")
    assert ended.code == 0
    assert "family eva_g14" in ended.out
    assert "module.visual.perceiver.latents" in ended.out
    assert "known keys that are not the lens's" in ended.out


@pytest.mark.parity
def test_inspect_names_what_is_wrong(cli, released, tmp_path):
    content = torch.load(released, weights_only=True)
    state = content.get("state_dict", content)
    del state["module.visual.perceiver.layers.1.1.norm.bias"]
    state["module.visual.perceiver.layers.1.1.norm.scale"] = torch.zeros(1)
    torch.save(content, tmp_path / "broken.pt")
    ended = cli("lens", "inspect", tmp_path / "broken.pt", *HEADS)
    assert ended.code == 2
    wrong = [line for line in ended.out.splitlines() if line.startswith("! ")]
    assert len(wrong) == 2
    assert wrong[0].startswith("! missing: ")
    assert "layers.1" in wrong[0]
    assert wrong[1] == "! unexpected: module.visual.perceiver.layers.1.1.norm.scale"


@pytest.mark.parity
def test_convert_keeps_the_lens(cli, released, tmp_path):
    ended = cli("lens", "convert", released, tmp_path / "lens", *HEADS)
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'lens'}\n")
    first = load_lens(released, cross_dim_head=16, latent_dim_head=16).state_dict()
    second = load_lens(tmp_path / "lens").state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_convert_writes_into_no_folder_that_is_used(cli, small, tmp_path):
    (tmp_path / "letter.txt").write_text("keep me")
    ended = cli("lens", "convert", small / "depth", tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert f"{tmp_path} is there already" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_failed_conversion_leaves_nothing(cli, tmp_path):
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    ended = cli("lens", "convert", tmp_path / "other.pt", tmp_path / "lens")
    assert (ended.code, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "lens").exists()


def test_a_host_to_compare_with(cli, small):
    ended = cli("lens", "inspect", small / "depth", "--host", small / "host")
    assert ended.code == 0
    assert "0 tensors differ from the host's" in ended.out
