"""CLIP and every tower of the vitlensL family against recordings of the original research code, 1e-5."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from lens_plugins import load_host
from lens_plugins.hosts.clip_files import from_open_clip
from lens_plugins.lens.loading import load_lens
from lens_plugins.splice import digest, unchanged

pytestmark = pytest.mark.parity

SHORT = {
    "image": "image",
    "pc": "point_cloud",
    "audio": "audio",
    "depth": "depth",
    "tactile": "tactile",
    "eeg": "eeg",
}
HEADS = {"heads": 4, "cross_dim_head": 8, "latent_dim_head": 8}
SETTINGS = {
    "point_cloud": {**HEADS, "group_size": 8, "num_groups": 16},
    "audio": {**HEADS, "mel_bins": 128},
    "eeg": HEADS,
    "depth": {"heads": 4},
    "tactile": {"heads": 4, "size": 56},
}
OPEN_CLIP = {"model_cfg": {"vision_cfg": {"head_width": 4}, "text_cfg": {"heads": 3}}}


def assert_same(mine, recorded):
    torch.testing.assert_close(mine, recorded, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def towers(golden):
    folder = golden / "towers"
    if not folder.is_dir():
        pytest.skip(f"no recordings of the towers in {folder}")
    return folder


@pytest.fixture(scope="module")
def recorded(towers):
    return load_file(towers / "expected.safetensors")


@pytest.fixture(scope="module", params=["vitlensL", "files"])
def host(request, towers, tmp_path_factory):
    """The one-stop file alone, or open_clip's file and a file for each lens."""
    folder = tmp_path_factory.mktemp(request.param)
    pattern = "vitlensL.pt" if request.param == "vitlensL" else "*[!L].*"
    for path in towers.glob(pattern):
        shutil.copy(path, folder)
    for name in ("config.json", "expected.safetensors"):
        (folder / name).unlink(missing_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(OPEN_CLIP))
    (folder / "lens_plugins.json").write_text(json.dumps({"lens_settings": SETTINGS}))
    return load_host(folder)


@pytest.mark.parametrize("short", SHORT)
def test_every_modality_ends_where_the_original_ends(host, recorded, short):
    assert sorted(host.lenses) == ["audio", "depth", "eeg", "point_cloud", "tactile"]
    before = digest(host.model)
    with unchanged(host.model):
        mine = host.features(SHORT[short], recorded[f"{short}.input"])
    assert_same(mine, recorded[f"{short}.feature"])
    assert_same(torch.nn.functional.normalize(mine, dim=-1), recorded[f"{short}.feature_unit"])
    assert digest(host.model) == before


def test_texts(host, recorded):
    mine = host.texts.features(recorded["text.input"])
    assert_same(mine, recorded["text.feature"])
    assert_same(torch.nn.functional.normalize(mine, dim=-1), recorded["text.feature_unit"])


def test_clips_are_averaged_before_they_get_unit_length(host, recorded):
    clips = torch.stack([host.features("audio", recorded["audio.input"][:, i]) for i in range(3)], dim=1)
    assert_same(clips, recorded["audio.clip_features"])
    assert_same(clips.mean(dim=1), recorded["audio.feature"])
    wrong = torch.nn.functional.normalize(torch.nn.functional.normalize(clips, dim=-1).mean(dim=1), dim=-1)
    assert (wrong - recorded["audio.feature_unit"]).abs().max() > 0.01


def test_a_lens_by_itself_walks_the_same_way(towers, recorded):
    lens = load_lens(towers / "vitlensL_depth.pt", "depth", **SETTINGS["depth"])
    latents = lens(recorded["depth.input"])
    assert_same(latents, recorded["depth.latents"])
    assert_same(lens.tower.encode(latents), recorded["depth.feature"])


def test_a_file_without_its_heads_is_refused(towers, tmp_path):
    shutil.copy(towers / "open_clip_pytorch_model.bin", tmp_path)
    with pytest.raises(Exception, match=r"picture tower .* is 16 wide, .* open_clip_config\.json"):
        from_open_clip(tmp_path / "open_clip_pytorch_model.bin")
