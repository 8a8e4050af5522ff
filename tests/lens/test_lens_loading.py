import json
import os
import pickle
import types

import pytest
import torch
from lens_files import OVERRIDES, random_lens, released_state, small_config

from lens_plugins import catalog, load_lens
from lens_plugins.errors import CheckpointError, ConfigError
from lens_plugins.files.digests import sha256_of
from lens_plugins.lens import loading


@pytest.fixture
def original():
    return random_lens(small_config("point_cloud"))


@pytest.fixture
def released(original, tmp_path):
    path = tmp_path / "lens.pt"
    torch.save({"state_dict": released_state(original)}, path)
    return path


@pytest.fixture
def folder(original, tmp_path):
    original.save_pretrained(tmp_path / "folder")
    return tmp_path / "folder"


def load(path, **more):
    return load_lens(path, **(OVERRIDES["point_cloud"] | more))


class TestDamaged:
    def refuse(self, path, match):
        with pytest.raises(CheckpointError, match=match) as caught:
            load(path)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
    def test_a_file_cut_short(self, released, share):
        whole = released.read_bytes()
        released.write_bytes(whole[: int(len(whole) * share)])
        self.refuse(released, "damaged, cut short or no PyTorch file")

    def test_a_file_of_something_else(self, tmp_path):
        (tmp_path / "x.pt").write_text("v 0 0 0\n" * 50)
        self.refuse(tmp_path / "x.pt", "damaged, cut short or no PyTorch file")

    @pytest.mark.parametrize("legacy", [False, True])
    def test_a_pickle_with_code_is_not_run(self, tmp_path, legacy):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "sprung"),)

        content = {"state_dict": {"visual.perceiver.latents": torch.zeros(2, 2)}, "args": Trap()}
        torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
        self.refuse(tmp_path / "x.pt", "can run code")
        assert not (tmp_path / "sprung").exists()

    def test_a_bare_pickle_with_code_is_not_run(self, tmp_path):
        (tmp_path / "x.pt").write_bytes(pickle.dumps(types.SimpleNamespace(a=1)))
        self.refuse(tmp_path / "x.pt", "can run code|no PyTorch file")

    @pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {"epoch": 1}, {"state_dict": [1]}, {}])
    def test_a_file_without_named_tensors(self, tmp_path, content):
        torch.save(content, tmp_path / "x.pt")
        self.refuse(tmp_path / "x.pt", "not a lens")

    def test_a_file_of_another_model(self, tmp_path):
        torch.save({"encoder.weight": torch.zeros(1), "decoder.weight": torch.zeros(1)}, tmp_path / "x.pt")
        self.refuse(tmp_path / "x.pt", r"not a lens.*begin with: decoder, encoder")

    def test_the_format_before_zip_files(self, original, tmp_path):
        torch.save(released_state(original), tmp_path / "x.pt", _use_new_zipfile_serialization=False)
        assert torch.equal(load(tmp_path / "x.pt").resampler.latents, original.resampler.latents)

    def test_nothing_of_that_name(self, tmp_path):
        self.refuse(tmp_path / "none.pt", "no such file or folder")

    def test_a_released_name_that_is_not_here_says_how_to_fetch_it(self):
        with pytest.raises(CheckpointError, match="load_lens\\('eva_g14_objaverse'\\)"):
            load_lens("eva_g14_objaverse.pt")


class TestFolder:
    def test_it_gives_the_lens_back(self, original, folder):
        lens = load_lens(folder, "point_cloud")
        assert lens.source == folder
        assert all(torch.equal(a, b) for a, b in zip(lens.state_dict().values(), original.state_dict().values()))

    def test_another_modality(self, folder):
        with pytest.raises(CheckpointError, match="lens for point_cloud, not the audio lens"):
            load_lens(folder, "audio")

    def test_overrides(self, folder):
        assert load_lens(folder, max_points=1024).config.input.max_points == 1024
        with pytest.raises(ConfigError, match="did you mean 'max_points'"):
            load_lens(folder, max_point=1024)
        with pytest.raises(CheckpointError, match=r"latents \(\(4, 64\), expected \(5, 64\)\)"):
            load_lens(folder, latents=5)

    def test_a_newer_format(self, folder):
        raw = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(raw | {"format": 2, "library_version": "9.1", "aura": 1}))
        with pytest.raises(
            ConfigError, match=r"format 2, written by lens-plugins 9\.1.*up to format 1.*pip install -U"
        ):
            load_lens(folder)

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "1"}', '{"format": 1}'])
    def test_a_damaged_configuration(self, folder, text):
        (folder / "config.json").write_text(text)
        with pytest.raises((CheckpointError, ConfigError)):
            load_lens(folder)

    def test_damaged_weights(self, folder):
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-10])
        with pytest.raises(CheckpointError, match="damaged"):
            load_lens(folder)

    @pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
    def test_a_file_that_is_not_there(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match=f"not a lens: it has no {name}"):
            load_lens(folder)

    def test_saving_over_itself(self, folder):
        lens = load_lens(folder)
        lens.save_pretrained(folder)
        assert torch.equal(load_lens(folder).resampler.latents, lens.resampler.latents)
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]

    def test_a_place_that_cannot_be_written(self, original, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(CheckpointError, match="cannot be saved"):
            original.save_pretrained(tmp_path / "file" / "lens")

    def test_a_converted_file_leaves_its_digest(self, released, tmp_path):
        load(released).save_pretrained(tmp_path / "out")
        assert load_lens(tmp_path / "out").config.source_sha256 == sha256_of(released)


class TestPrecision:
    def test_float32_whatever_the_file_has(self, original, tmp_path):
        original.half().save_pretrained(tmp_path / "half")
        assert load_lens(tmp_path / "half").dtype == torch.float32

    @pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
    def test_another_on_demand(self, folder, dtype):
        assert load_lens(folder, dtype=dtype).dtype == torch.bfloat16

    @pytest.mark.parametrize("dtype", ["bfloat", torch.int8, "nn"])
    def test_one_that_is_none(self, folder, dtype):
        with pytest.raises(ConfigError, match="floating-point"):
            load_lens(folder, dtype=dtype)


class TestHub:
    @pytest.fixture
    def hub(self, monkeypatch, released, folder):
        """A hub that holds one file and one folder."""
        files = {
            ("TencentARC/ViT-Lens", "eva_g14_objaverse.pt"): released,
            ("me/lens", "config.json"): folder / "config.json",
            ("me/lens", "model.safetensors"): folder / "model.safetensors",
        }

        def download(repository, file):
            if (repository, file) not in files:
                raise FileNotFoundError(file)
            return str(files[repository, file])

        monkeypatch.setattr("huggingface_hub.hf_hub_download", download)

    @pytest.mark.parametrize("id_", ["TencentARC/ViT-Lens/eva_g14_objaverse.pt", "eva_g14_objaverse"])
    def test_a_released_file(self, hub, id_):
        assert load(id_).modality == "point_cloud"

    def test_a_folder_of_ours(self, hub):
        assert load_lens("me/lens").modality == "point_cloud"

    @pytest.mark.parametrize("id_", ["TencentARC/ViT-Lens/other.pt", "me/other", "eva_g14-audio-asvgg-dur2"])
    def test_what_cannot_be_fetched(self, hub, id_):
        with pytest.raises(CheckpointError, match=r"cannot be fetched.*HF_HUB_OFFLINE"):
            load_lens(id_)

    def test_a_malformed_id(self):
        with pytest.raises(CheckpointError, match="cannot be fetched"):
            load_lens("a b/c--d/x.pt")

    @pytest.mark.parametrize("path", ["./me/lens", "/me/lens/x.pt", "~/me/lens", "lens"])
    def test_a_path_never_goes_to_the_hub(self, hub, path):
        with pytest.raises(CheckpointError, match="no such file or folder"):
            load_lens(path)

    def test_a_file_that_is_not_the_published_one(self, hub, monkeypatch):
        row = catalog.find_lens("eva_g14_objaverse")
        false = types.SimpleNamespace(**{f: getattr(row, f) for f in row.__dataclass_fields__} | {"sha256": "0" * 64})
        monkeypatch.setattr(loading.catalog, "find_lens", lambda _: false)
        with pytest.raises(CheckpointError, match=r"sha256 is .*, expected 000"):
            load_lens("eva_g14_objaverse")


def test_a_shipped_lens_is_a_folder_in_the_package(monkeypatch, folder):
    row = catalog.LensRow("pocket-x", "point_cloud", "pocket", "a-folder", "model.safetensors", "Apache-2.0")
    monkeypatch.setattr(loading.catalog, "find_lens", lambda _: row)
    monkeypatch.setattr(loading.catalog, "folder_of", {"a-folder": folder}.__getitem__)
    assert load_lens("pocket-x").source == folder


def test_a_revision_reaches_the_hub(monkeypatch):
    asked = []

    def fetch(repository, file, *, revision=None):
        asked.append((repository, file, revision))
        raise CheckpointError("not today")

    monkeypatch.setattr("lens_plugins.lens.loading.fetch", fetch)
    for source in ("owner/name", "owner/name/lens.pt"):
        with pytest.raises(CheckpointError, match="not today"):
            load_lens(source, revision="v2")
    assert [revision for *_, revision in asked] == ["v2", "v2"]
