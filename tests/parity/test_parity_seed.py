"""The SEED-2 tokenizer against recordings of the original."""

import pytest
import torch
from safetensors.torch import load_file

from lens_plugins.hosts.convert import from_seed
from lens_plugins.lens.loading import load_lens

pytestmark = pytest.mark.parity
HEADS = {"vit_heads": 4, "qformer_heads": 4, "decoder_heads": 12}


@pytest.fixture(scope="module")
def expected(golden):
    return load_file(golden / "seed_tokenizer" / "expected.safetensors")


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def tokenizer(golden, request):
    return from_seed(golden / "seed_tokenizer" / "seed_quantizer.pt", **HEADS, attention=request.param)


@pytest.fixture(scope="module", params=["image", "point_cloud"])
def tokens(golden, expected, tokenizer, request):
    """What goes into the ViT, and the name under which its results were recorded."""
    if request.param == "image":
        return request.param, tokenizer.vit.embed_image(expected["images"])
    lens = load_lens(
        golden / "point_cloud_lens_eva" / "lens.pt",
        modality="point_cloud",
        latent_dim_head=16,
        cross_dim_head=16,
        group_size=8,
        num_groups=16,
    )
    return request.param, lens(expected["point_clouds"])


def test_every_step_is_that_of_the_original(tokenizer, expected, tokens):
    name, tokens = tokens
    features = tokenizer.vit.encode(tokens)
    torch.testing.assert_close(
        tokenizer.causal_output(features), expected[f"{name}.causal_qformer_output"], rtol=0, atol=1e-4
    )
    torch.testing.assert_close(
        tokenizer.pre_quantization(features), expected[f"{name}.pre_quantization"], rtol=0, atol=1e-4
    )
    codes = tokenizer.quantize(features)
    assert codes.dtype == torch.int64
    assert torch.equal(codes, expected[f"{name}.codes"])
    assert len(codes.unique()) > 1  # a recording of one code would prove nothing
    torch.testing.assert_close(tokenizer.image_embeds(codes), expected[f"{name}.image_embeds"], rtol=0, atol=1e-4)


def test_our_own_folder_gives_the_same(tokenizer, expected, tokens, tmp_path):
    name, tokens = tokens
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    codes = again.quantize(again.vit.encode(tokens))
    assert torch.equal(codes, expected[f"{name}.codes"])
    torch.testing.assert_close(again.image_embeds(codes), expected[f"{name}.image_embeds"], rtol=0, atol=1e-4)
