"""Every lens against recordings of the original research code, float32, 1e-4."""

import pytest
import torch
from safetensors.torch import load_file

from lens_plugins import load_lens

pytestmark = pytest.mark.parity

HEADS = {"cross_dim_head": 16, "latent_dim_head": 16}
OTHERS = {"audio": ("fbank", HEADS), "depth": ("map", {}), "eeg": ("signal", HEADS), "tactile": ("image", {"size": 56})}


def assert_same(mine, recorded):
    torch.testing.assert_close(mine, recorded, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def recorded(golden):
    return load_file(golden / "point_cloud_lens_eva" / "expected.safetensors")


@pytest.fixture(scope="module")
def point_lens(golden):
    path = golden / "point_cloud_lens_eva" / "lens.pt"
    return load_lens(path, modality="point_cloud", **HEADS, group_size=8, num_groups=16)


def test_groups(point_lens, recorded):
    centers, groups = point_lens.embedding.group(recorded["point_clouds"])
    assert_same(centers, recorded["group_centers"])
    gaps = (groups[:, :, :, None] - recorded["group_neighborhoods"][:, :, None]).abs().amax(-1)  # (B, G, K, K)
    assert gaps.amin(2).max() < 1e-6  # order inside a group is free
    assert gaps.amin(3).max() < 1e-6


def test_point_tokens_and_latents(point_lens, recorded):
    tokens, positions = point_lens.embedding(recorded["point_clouds"])
    assert_same(tokens, recorded["tokens"])
    assert_same(positions, recorded["positions"])
    assert_same(point_lens(recorded["point_clouds"]), recorded["latents"])


@pytest.mark.parametrize("modality", OTHERS)
def test_other_lenses(golden, modality):
    folder = golden / "other_lenses"
    recorded = load_file(folder / "expected.safetensors")
    name, overrides = OTHERS[modality]
    lens = load_lens(folder / f"{modality}.pt", modality=modality, **overrides)
    given = recorded[f"{modality}.{name}"]
    tokens, positions = lens.embedding(given)
    for what, mine in (("tokens", tokens), ("positions", positions)):
        if f"{modality}.{what}" in recorded:
            assert_same(mine, recorded[f"{modality}.{what}"])
    assert_same(lens(given), recorded[f"{modality}.latents"])
    assert (lens.num_tokens, lens.width) == tuple(recorded[f"{modality}.latents"].shape[1:])


def test_a_saved_copy_gives_the_same(point_lens, recorded, tmp_path):
    point_lens.save_pretrained(tmp_path)
    assert_same(load_lens(tmp_path)(recorded["point_clouds"]), recorded["latents"])
