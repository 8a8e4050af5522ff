"""The frozen ViT against the recordings, to 1e-4 in float32: latents, pictures, both fused, and all other lenses."""

import json

import pytest
import torch
from safetensors.torch import load_file

from lens_plugins.hosts.convert import from_lavis
from lens_plugins.splice import vit_from_tower

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def vit(golden):
    heads = json.loads((golden / "config.json").read_text())
    return vit_from_tower(
        from_lavis(
            vit=golden / "point_cloud_lens_eva" / "eva_vit_g.pth",
            instructblip=golden / "instructblip" / "instruct_blip_trimmed.pth",
            llm=golden / "instructblip" / "llm",
            vit_heads=heads["vit"]["heads"],
            qformer_heads=heads["qformer"]["heads"],
        ).vision_model
    )


@pytest.fixture(scope="module")
def expected(golden):
    return load_file(golden / "point_cloud_lens_eva" / "expected.safetensors")


def close(actual, recorded):
    torch.testing.assert_close(actual, recorded, atol=1e-4, rtol=0)


def test_latents(vit, expected):
    close(vit.encode(expected["latents"]), expected["vit_features_ln"])


def test_pictures(vit, expected):
    close(vit.encode(vit.embed_image(expected["images"])), expected["image_vit_features_ln"])


def test_fused_before_the_vit(vit, expected):
    tokens = [vit.embed_image(expected["images"]), expected["latents"]]
    close(vit.encode(tokens), expected["fused_vit_features_ln"])


@pytest.mark.parametrize(("kind", "recorded"), [("latents", "vit_features"), ("images", "image_vit_features")])
def test_before_the_norm(vit, expected, kind, recorded):
    tokens = expected[kind] if kind == "latents" else vit.embed_image(expected[kind])
    norm, vit.norm = vit.norm, torch.nn.Identity()
    try:
        close(vit.encode(tokens), expected[recorded])
    finally:
        vit.norm = norm


def test_the_recorded_norm_is_the_hosts(vit, golden):
    recorded = load_file(golden / "point_cloud_lens_eva" / "ln_vision.safetensors")
    assert vit.norm_eps == 1e-5
    for name, tensor in recorded.items():
        assert torch.equal(vit.norm.state_dict()[name.split(".")[-1]], tensor)


@pytest.mark.parametrize("modality", ["audio", "depth", "eeg", "tactile"])
def test_latents_of_the_other_lenses(vit, golden, modality):
    expected = load_file(golden / "other_lenses" / "expected.safetensors")
    close(vit.encode(expected[f"{modality}.latents"]), expected[f"{modality}.vit_features_ln"])
