import pytest
import torch
from lens_files import OVERRIDES, random_lens, released_state, small_config

from lens_plugins import load_lens
from lens_plugins.errors import CheckpointError
from lens_plugins.lens.config import presets
from lens_plugins.lens.lens import Lens
from lens_plugins.lens.loading import has_vit_copy
from lens_plugins.lens.report import compare_vit, inspect_lens

VIT = {"cls_token": torch.randn(1, 1, 64), "blocks.0.norm1.weight": torch.randn(64), "pos_embed": torch.randn(1, 5, 64)}


@pytest.fixture
def released(tmp_path):
    state = released_state(random_lens(small_config("point_cloud")))
    copies = {f"visual.eva_vit.{name}": tensor for name, tensor in VIT.items()} | {"logit_scale": torch.zeros(())}
    torch.save({"state_dict": state | copies}, tmp_path / "lens.pt")
    return tmp_path / "lens.pt"


def test_a_look_at_a_file(released):
    report = inspect_lens(released)
    assert (report.modality, report.family, report.config.width) == ("point_cloud", "eva_g14", 64)
    assert report.shapes["visual.perceiver.latents"] == (4, 64)
    assert report.parameters == sum(
        t.numel() for t in load_lens(released, **OVERRIDES["point_cloud"]).state_dict().values()
    )
    assert (report.missing, report.unexpected, report.presets) == ([], [], [])
    assert {"logit_scale", "visual.eva_vit.cls_token"} <= set(report.ignored)
    assert "heads" in report.notes[0]
    assert report.vit_differences is None


def test_what_does_not_fit_is_listed_not_raised(released, tmp_path):
    state = torch.load(released)["state_dict"]
    del state["visual.visual_adapter.pos_embed.2.bias"]
    state["visual.perceiver.stray"] = torch.zeros(1)
    torch.save(state, tmp_path / "torn.pt")
    report = inspect_lens(tmp_path / "torn.pt")
    assert report.missing == ["visual.visual_adapter.pos_embed.2.bias"]
    assert report.unexpected == ["visual.perceiver.stray"]


def test_a_look_at_a_folder(released, tmp_path):
    load_lens(released, **OVERRIDES["point_cloud"]).save_pretrained(tmp_path / "folder")
    report = inspect_lens(tmp_path / "folder", VIT)
    assert (report.modality, report.missing, report.vit_differences) == ("point_cloud", [], [])
    with pytest.raises(CheckpointError, match="not the audio lens"):
        inspect_lens(tmp_path / "folder", modality="audio")


def test_released_dimensions_are_recognised():
    assert {"eva_g14_objaverse", "vitlensL_depth", "vitlensL_eeg"} <= presets().keys()


class TestVit:
    def test_the_same(self, released):
        assert compare_vit(released, VIT) == []

    def test_rounding_to_half_precision_is_no_difference(self, released):
        assert compare_vit(released, {name: tensor.half() for name, tensor in VIT.items()}) == []

    def test_differences_come_largest_first(self, released):
        moved = {name: tensor.clone() for name, tensor in VIT.items()}
        moved["cls_token"][0, 0, 3] += 0.5
        moved["pos_embed"][0, 1, 2] += 2
        found = compare_vit(released, moved | {"blocks.9.x": torch.zeros(1)})
        assert [name for name, _ in found] == ["pos_embed", "cls_token"]
        assert found[0][1] == pytest.approx(2, abs=1e-5)
        assert found[1][1] == pytest.approx(0.5, abs=1e-5)
        assert inspect_lens(released, moved).vit_differences == found

    def test_other_shapes_differ_without_end(self, released):
        assert compare_vit(released, {"pos_embed": torch.zeros(1, 9, 64)}) == [("pos_embed", float("inf"))]

    def test_of_a_loaded_lens(self, released):
        lens = load_lens(released, **OVERRIDES["point_cloud"])
        assert compare_vit(lens, VIT) == []
        assert compare_vit(lens, VIT | {"cls_token": VIT["cls_token"] + 1})[0][0] == "cls_token"
        lens.source = None
        assert compare_vit(lens, VIT | {"cls_token": VIT["cls_token"] + 1}) == []

    def test_a_file_that_was_loaded_is_not_opened_again(self, released, monkeypatch):
        lens = load_lens(released, **OVERRIDES["point_cloud"])
        monkeypatch.setattr("lens_plugins.lens.loading.open_released", lambda *_: pytest.fail("opened again"))
        assert has_vit_copy(lens)
        assert compare_vit(lens, VIT | {"cls_token": VIT["cls_token"] + 1})[0][0] == "cls_token"

    def test_where_there_is_nothing_to_compare_no_file_is_opened(self, tmp_path, monkeypatch):
        torch.save(released_state(random_lens(small_config("depth"))), tmp_path / "d.pt")
        bare = load_lens(tmp_path / "d.pt")
        bare.save_pretrained(tmp_path / "folder")
        monkeypatch.setattr("lens_plugins.lens.loading.open_released", lambda *_: pytest.fail("opened again"))
        new = Lens(small_config("depth"))
        assert not any(has_vit_copy(lens) for lens in (bare, load_lens(tmp_path / "folder"), new))
        new.source = tmp_path / "d.pt"
        assert has_vit_copy(new)  # only opening it would tell

    def test_the_patch_embedding_of_a_tactile_lens_is_the_lens(self, tmp_path):
        torch.save(released_state(random_lens(small_config("tactile"))), tmp_path / "t.pt")
        assert compare_vit(tmp_path / "t.pt", {"patch_embed.proj.bias": torch.full((64,), 9.0)}) == []
