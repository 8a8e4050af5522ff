import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_seed_research import CODES, EMBEDDING, QUERIES, VIT, Quantizer
from torch.testing import assert_close

from lens_plugins.errors import CheckpointError, ConfigError, DoesNotFit, InputError, Unsupported
from lens_plugins.hosts.convert import from_seed
from lens_plugins.hosts.layouts.seed import SEED
from lens_plugins.hosts.seed_llama.config import SeedConfig
from lens_plugins.hosts.seed_llama.convert import infer
from lens_plugins.hosts.seed_llama.tokenizer import SeedTokenizer, read_causally
from lens_plugins.keymap import KeyMismatch
from lens_plugins.splice import FrozenViT, digest
from lens_plugins.testing.small_seed import SEED_CONFIG, lively

HEADS = {"vit_heads": 2, "qformer_heads": 2, "decoder_heads": 3}


@pytest.fixture(scope="module")
def research():
    return Quantizer()


@pytest.fixture
def released(research, tmp_path):
    path = tmp_path / "seed_quantizer.pt"
    torch.save(research.state_dict(), path)
    return path


@pytest.fixture
def tokenizer():
    return lively(SeedTokenizer.from_config(SEED_CONFIG))


@pytest.fixture
def features():
    return torch.randn(3, 5, SEED_CONFIG.vit_width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_query_hears_earlier_ones_only(attention):
    tokenizer = lively(SeedTokenizer.from_config(SEED_CONFIG, attention=attention))
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(1, 5, 32, generator=generator)
    queries = torch.randn(1, 5, 24, generator=generator)
    changed = queries.clone()
    changed[:, 3] = torch.randn(24, generator=generator)  # a constant shift would be lost in the LayerNorm
    before, after = (read_causally(tokenizer.qformer, q, features) for q in (queries, changed))
    assert_close(after[:, :3], before[:, :3], rtol=0, atol=1e-6)
    assert (after[:, 3:] - before[:, 3:]).abs().amax(-1).min() > 1e-3


def test_wrapped_and_converted_give_the_same(research, released):
    wrapped, converted = SeedTokenizer.wrap(research), from_seed(released, **HEADS)
    pixels = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(3))
    latents = torch.randn(2, 4, VIT, generator=torch.Generator().manual_seed(4))
    for tokens in (lambda t: t.vit.embed_image(pixels), lambda t: latents):
        ours, theirs = (t.vit.encode(tokens(t)) for t in (converted, wrapped))
        assert_close(ours, theirs, rtol=0, atol=1e-5)
        assert_close(converted.pre_quantization(ours), wrapped.pre_quantization(theirs), rtol=0, atol=1e-4)
        codes = wrapped.quantize(theirs)
        assert codes.shape == (2, QUERIES)
        assert torch.equal(converted.quantize(ours), codes)
        assert len(codes.unique()) > 1
        assert_close(converted.image_embeds(codes), wrapped.image_embeds(codes), rtol=0, atol=1e-4)
        assert wrapped.image_embeds(codes).shape == (2, EMBEDDING)


def test_wrapping_changes_and_copies_nothing(research):
    before = digest(research)
    wrapped = SeedTokenizer.wrap(research)
    wrapped.quantize(wrapped.vit.encode(torch.randn(1, 4, VIT)))
    assert digest(research) == before
    assert wrapped.query_tokens.data_ptr() == research.query_tokens.data_ptr()
    with pytest.raises(Unsupported, match="wraps an object of the research repository"):
        wrapped.save_pretrained("nowhere")


def test_wrapping_something_else_names_what_it_lacks(research):
    other = Quantizer()
    del other.image_down, other.quantize
    with pytest.raises(Unsupported, match="Quantizer is no SEED tokenizer: it has no quantize, image_down"):
        SeedTokenizer.wrap(other)


def test_every_dimension_is_read_off_the_weights(research, released):
    config = from_seed(released, **HEADS).config
    assert (config.queries, config.codes, config.code_width, config.down) == (QUERIES, CODES, 4, (10, 8, 3))
    assert (config.vit_layers, config.vit_mlp, config.image_size, config.patch_size) == (3, 32, 28, 14)
    assert (config.qformer_layers, config.cross_attention_every, config.decoder_layers) == (4, 2, 2)
    assert (config.embedding_width, config.norm_eps) == (EMBEDDING, 1e-5)


def test_the_key_table_leads_there_and_back(research):
    state = research.state_dict()
    there = SEED.convert(state)
    config = infer(state, **HEADS, source="it")
    assert there.keys() == SeedTokenizer.from_config(config, device="meta").state_dict().keys()
    back = SEED.inverse().convert(there)
    left_out = {key for key in state if SEED.row_of(key).__dict__.get("target", "") is None}
    assert {key.split(".")[0] for key in left_out} == {"blocks", "pos_embed", "Qformer"}
    assert back.keys() == state.keys() - left_out
    assert all(torch.equal(back[key], state[key]) for key in back)


def test_missing_and_unexpected_keys_are_named_together(research, tmp_path):
    state = research.state_dict()
    del state["blocks_image.1.norm2.bias"]
    state["Qformer.bert.pooler.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "broken.pt")
    with pytest.raises(KeyMismatch) as caught:
        from_seed(tmp_path / "broken.pt", **HEADS)
    assert caught.value.missing == ["blocks_image.1.norm2.bias"]
    assert caught.value.unexpected == ["Qformer.bert.pooler.weight"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"query_tokens": None}, CheckpointError, "no SEED tokenizer: it has no query_tokens"),
        ({"query_tokens": (5, 12)}, CheckpointError, r"query_tokens has the shape \(5, 12\).*has 3 axes"),
        ({"visual_encoder.pos_embed": (1, 7, 16)}, CheckpointError, "has 7 rows, which is not a square and one"),
    ],
)
def test_a_file_that_is_no_tokenizer_says_why(research, change, error, message):
    state = research.state_dict()
    for key, shape in change.items():
        state.pop(key) if shape is None else state.update({key: torch.zeros(shape)})
    with pytest.raises(error, match=message):
        infer(state, **HEADS, source="x.pt")


def test_heads_that_do_not_divide_are_refused_with_both_numbers(research, released):
    with pytest.raises(ConfigError, match="decoder_width is 12, which decoder_heads = 5 do not divide"):
        from_seed(released, 2, 2, 5)


def test_a_folder_gives_the_same_tokenizer(tokenizer, features, tmp_path):
    tokenizer.save_pretrained(tmp_path / "t")
    again = SeedTokenizer.from_pretrained(tmp_path / "t")
    assert again.config == SEED_CONFIG
    assert digest(again) == digest(tokenizer)
    assert again.vit.norm_eps == 1e-5
    assert not any(p.requires_grad for p in again.parameters())
    assert not list((tmp_path / "t").glob(".saving*"))


def test_a_broken_folder_says_what_is_wrong(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": 7}))
    with pytest.raises(ConfigError, match="has format 7, this version reads up to 1; upgrade"):
        SeedTokenizer.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "querys": 7}))
    with pytest.raises(ConfigError, match="no field 'querys'; did you mean 'queries'"):
        SeedTokenizer.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "codes": 18}))
    with pytest.raises(KeyMismatch, match=r"codebook.weight \(\(17, 6\), expected \(18, 6\)\)"):
        SeedTokenizer.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or not a safetensors file"):
        SeedTokenizer.from_pretrained(tmp_path)


def test_the_nearest_entry_is_taken(tokenizer, features):
    vectors = tokenizer.pre_quantization(features)
    brute = torch.cdist(vectors.double(), tokenizer.codebook.weight.double()[None]).argmin(-1)
    assert torch.equal(tokenizer.quantize(features), brute)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(2, 4, dtype=torch.long), r"A picture has 5 codes, so codes are \(B, 5\); got \(2, 4\)"),
        (torch.zeros(5, dtype=torch.long), r"got \(5,\)"),
        (torch.tensor([[0, 1, 2, 3, 17]]), "Codes are 0 to 16; these are 0 to 17"),
        (torch.tensor([[-1, 1, 2, 3, 4]]), "Codes are 0 to 16; these are -1 to 4"),
        (torch.zeros(1, 5), "whole numbers from 0 to 16, got torch.float32"),
    ],
)
def test_wrong_codes_are_refused_with_the_numbers(tokenizer, codes, message):
    with pytest.raises(InputError, match=message):
        tokenizer.image_embeds(codes)


def test_features_of_another_width_are_refused(tokenizer):
    with pytest.raises(DoesNotFit, match=r"\(B, T, 32\), got \(1, 5, 31\)"):
        tokenizer.quantize(torch.zeros(1, 5, 31))


def bytes_of(module):
    return {p.data_ptr(): p.numel() * p.element_size() for p in module.parameters()}


def test_one_vit_serves_two(tokenizer, features, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    other = SeedTokenizer.from_pretrained(tmp_path)  # as another host would hold it
    shared = SeedTokenizer.from_pretrained(tmp_path, vit=other.vit)
    alone = SeedTokenizer.from_pretrained(tmp_path)
    held = bytes_of(other) | bytes_of(shared) | bytes_of(shared.vit.module)
    vit = sum(bytes_of(other.vision_model.encoder).values()) + sum(bytes_of(other.vision_model.embeddings).values())
    assert sum(held.values()) == 2 * sum(bytes_of(alone).values()) - vit
    assert shared.vit.positions.read().data_ptr() == other.vit.positions.read().data_ptr()
    assert shared.vit.norm.weight.data_ptr() != other.vit.norm.weight.data_ptr()  # its own, always
    tokens = torch.randn(2, 4, 32)
    assert torch.equal(shared.vit.encode(tokens), alone.vit.encode(tokens))
    with pytest.raises(Unsupported, match="shares the ViT of another host"):
        shared.save_pretrained(tmp_path / "x")


def test_another_vit_is_not_taken(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    other = lively(SeedTokenizer.from_config(SEED_CONFIG), seed=9)
    with pytest.raises(DoesNotFit, match=r"is not the ViT of .*class_embedding differs by .*, .* is allowed"):
        SeedTokenizer.from_pretrained(tmp_path, vit=other.vit)
    wide = SeedTokenizer.from_config(SeedConfig.from_dict({**SEED_CONFIG.to_dict(), "vit_width": 64}))
    with pytest.raises(DoesNotFit, match=r"\(32, 4, 28\);.*\(64, 4, 28\)"):
        SeedTokenizer.from_pretrained(tmp_path, vit=wide.vit)


def test_a_vit_in_half_precision_is_still_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    half = SeedTokenizer.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert isinstance(half.vit, FrozenViT)
    assert half.vit.dtype == torch.bfloat16
    assert half.codebook.weight.dtype == half.qformer.layernorm.weight.dtype == torch.float32
    codes = half.quantize(half.vit.encode(torch.randn(1, 4, 32)))
    assert half.image_embeds(codes).dtype == torch.float32


def test_weights_are_copied_from_the_file(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = SeedTokenizer.from_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file({name: torch.zeros_like(t) for name, t in state.items()}, tmp_path / "model.safetensors")
    assert digest(again) == digest(tokenizer)
