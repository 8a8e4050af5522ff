"""Picture anchors are computed once, found by content, and never mixed up between ViTs."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch

from lens_plugins.errors import CheckpointError
from lens_plugins.files.digests import sha256_of
from lens_plugins.inputs import ImageSettings, read
from lens_plugins.splice.frozen import digest
from lens_plugins.train.anchors import AnchorCache
from lens_plugins.train.loss import anchor_rows

SETTINGS = ImageSettings(size=28)


@pytest.fixture
def pictures(world):
    return {sha256_of(path): path for path in sorted(world.parent.glob("*-0.png"))[:5]}


def cache(root, vit, kind="pooled", settings=SETTINGS):
    return AnchorCache(root, vit, digest(vit.module), settings, kind)


@pytest.mark.parametrize("kind", ["none", "cls", "pooled", "tokens"])
def test_anchors_are_the_features_of_the_picture(tmp_path, vit, pictures, kind):
    store = cache(tmp_path, vit, kind)
    found, problems = store.fill(pictures, batch_size=2)
    assert problems == {}
    assert list(found) == list(pictures)
    for name, path in pictures.items():
        pixels = read(path, modality="image", settings=SETTINGS).tensor[None]
        with torch.no_grad():
            expected = anchor_rows(vit.encode(vit.embed_image(pixels)), kind)[0]
        torch.testing.assert_close(found[name].float(), expected, atol=2e-3 if kind == "tokens" else 1e-5, rtol=1e-3)
        assert found[name].shape == (store.rows, 32)


def test_the_second_time_nothing_is_computed(tmp_path, vit, pictures, monkeypatch):
    first, _ = cache(tmp_path, vit).fill(pictures)
    done = []
    again = cache(tmp_path, vit)
    monkeypatch.setattr(again, "_features", lambda *_: pytest.fail("the ViT was asked again"))
    second, _ = again.fill(pictures, advance=done.append)
    assert all(torch.equal(first[name], second[name]) for name in pictures)
    assert done == []


def test_a_copy_is_known_and_only_the_new_is_added(tmp_path, vit, pictures, world):
    store = cache(tmp_path / "cache", vit)
    store.fill(pictures)
    moved = shutil.copy(next(iter(pictures.values())), tmp_path / "copy.png")
    new = world.parent / "9-1.png"
    done = []
    found, _ = store.fill({sha256_of(moved): moved, sha256_of(new): new}, advance=done.append)
    assert len(found) == 2
    assert sum(done) == 1


def test_another_vit_settings_or_kind_has_its_own_place(tmp_path, vit):
    other = copy.deepcopy(vit)
    with torch.no_grad():
        other.norm.weight.mul_(1.5)
    folders = {
        cache(tmp_path, vit).folder,
        cache(tmp_path, other).folder,
        cache(tmp_path, vit, "tokens").folder,
        cache(tmp_path, vit, settings=ImageSettings(size=28, interpolation="bilinear")).folder,
    }
    assert len(folders) == 4
    assert cache(tmp_path, vit, "none").folder == cache(tmp_path, vit, "cls").folder


def test_unreadable_pictures_are_told_and_the_rest_is_kept(tmp_path, vit, pictures):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    found, problems = cache(tmp_path, vit).fill({**pictures, "bad": broken})
    assert list(found) == list(pictures)
    assert list(problems) == ["bad"]
    assert "broken.png" in problems["bad"]


def test_a_damaged_cache_says_what_to_do(tmp_path, vit, pictures):
    store = cache(tmp_path, vit)
    store.fill(pictures)
    (path,) = store.folder.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=rf"{path.name} is damaged.*Delete it"):
        store.fill(pictures)
