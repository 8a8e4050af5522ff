"""Features, prefixes, logits and answers of the original InstructBLIP integration, through the tensor-level calls."""

import json

import pytest
import torch
from safetensors.torch import load_file

from lens_plugins import load_host, load_lens
from lens_plugins.hosts.convert import from_lavis
from lens_plugins.splice import digest

pytestmark = pytest.mark.parity
CASES = ("point_cloud", "image", "fuse_vit", "fuse_qformer", "fuse_llm")


@pytest.fixture(scope="module")
def host(golden):
    config = json.loads((golden / "config.json").read_text())
    return load_host(
        from_lavis(
            vit=golden / "point_cloud_lens_eva" / "eva_vit_g.pth",
            instructblip=golden / "instructblip" / "instruct_blip_trimmed.pth",
            llm=golden / "instructblip" / "llm",
            vit_heads=config["vit"]["heads"],
            qformer_heads=config["qformer"]["heads"],
        )
    )


@pytest.fixture(scope="module")
def recorded(golden):
    return load_file(golden / "instructblip" / "expected.safetensors")


@pytest.fixture(scope="module")
def latents(golden):
    """Of the recorded clouds, through the recorded lens."""
    config = json.loads((golden / "config.json").read_text())
    point, heads = config["point"], config["perceiver"]["dim_head"]
    lens = load_lens(
        golden / "point_cloud_lens_eva" / "lens.pt",
        modality="point_cloud",
        latent_dim_head=heads,
        cross_dim_head=heads,
        group_size=point["group_size"],
        num_groups=point["num_group"],
    )
    given = load_file(golden / "point_cloud_lens_eva" / "expected.safetensors")
    return lens(given["point_clouds"]), given["images"]


@pytest.fixture(scope="module")
def prefixes(host, recorded, latents):
    """The prefix of every case; for the last one a list, fused before the language model."""
    text = recorded["qformer_input_ids"], recorded["qformer_attention_mask"]
    cloud, picture = latents[0], host.vit.embed_image(latents[1])
    apart = [host.vit.encode(tokens) for tokens in (picture, cloud)]
    return {
        "point_cloud": host.prefix(apart[1], *text),
        "image": host.prefix(apart[0], *text),
        "fuse_vit": host.prefix(host.vit.encode([picture, cloud]), *text),
        "fuse_qformer": host.prefix(apart, *text),
        "fuse_llm": [host.prefix(features, *text) for features in apart],
    }


@pytest.mark.parametrize("case", CASES)
def test_prefix(prefixes, recorded, case):
    made = prefixes[case] if case != "fuse_llm" else torch.cat(prefixes[case], dim=1)
    torch.testing.assert_close(made, recorded[f"{case}.llm_prefix"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", CASES[:2])
def test_query_output(host, recorded, latents, case):
    tokens = latents[0] if case == "point_cloud" else host.vit.embed_image(latents[1])
    text = recorded["qformer_input_ids"], recorded["qformer_attention_mask"]
    made = host.query_output(host.vit.encode(tokens), *text)
    torch.testing.assert_close(made, recorded[f"{case}.query_output"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_logits(host, prefixes, recorded, case):
    logits = host.logits(prefixes[case], recorded["llm_input_ids"])
    torch.testing.assert_close(logits, recorded[f"{case}.logits"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("beams", "name"), [(1, "greedy_ids"), (5, "beam5_ids")])
@pytest.mark.parametrize("case", CASES)
def test_answers(host, prefixes, recorded, case, beams, name):
    made = host.generate_from_prefix(
        prefixes[case], recorded["llm_input_ids"], num_beams=beams, max_new_tokens=12, min_new_tokens=12
    )
    assert torch.equal(made, recorded[f"{case}.{name}"])


def test_nothing_moved(host, prefixes, recorded):
    before = digest(host.model)
    host.generate_from_prefix(prefixes["image"], recorded["llm_input_ids"], max_new_tokens=2)
    assert digest(host.model) == before
