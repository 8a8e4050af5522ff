"""LAVIS's three sources become a host, and every defect of a file is named."""

import logging

import pytest
import torch
from test_hosts_layouts import EXTRA, lavis_states
from transformers import AutoConfig

from lens_plugins import load_host
from lens_plugins.errors import CheckpointError, ConfigError
from lens_plugins.hosts.convert import convert_lavis, from_lavis, read_state
from lens_plugins.testing.small import small_host

NAMES = ("instructblip-llama", "instructblip-t5", "blip2-opt", "blip2-t5")
HEADS = {"vit_heads": 2, "qformer_heads": 2}


@pytest.fixture
def files(tmp_path):
    """Writes a small host as LAVIS keeps it; `change` may spoil the two states first."""

    def write(name, change=lambda eyes, trimmed: None, extra=None):
        model, eyes, trimmed, _ = lavis_states(name)
        eyes.update(extra or {})
        change(eyes, trimmed)
        torch.save(eyes, tmp_path / "eva_vit_g.pth")
        torch.save({"model": trimmed}, tmp_path / "trimmed.pth")
        model.language_model.save_pretrained(tmp_path / "llm")
        sources = {"vit": tmp_path / "eva_vit_g.pth", "instructblip": tmp_path / "trimmed.pth", "llm": tmp_path / "llm"}
        return model, sources

    return write


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("extra", [None, EXTRA], ids=["39 blocks", "40 blocks, norm and head"])
def test_every_weight_arrives(files, name, extra):
    model, sources = files(name, extra=extra)
    made = from_lavis(**sources, **HEADS)
    assert type(made) is type(model)
    expected = model.state_dict()
    assert made.state_dict().keys() == expected.keys()
    assert not [key for key, value in made.state_dict().items() if not torch.equal(value, expected[key])]


def test_every_norm_has_lavis_own_epsilon(files):
    _, sources = files("instructblip-llama")
    made = from_lavis(**sources, **HEADS)
    tower = made.vision_model
    assert (tower.post_layernorm.eps, tower.encoder.layers[0].layer_norm1.eps) == (1e-5, 1e-6)
    assert made.qformer.embeddings.layernorm.eps == 1e-12


def test_the_epsilon_survives_a_round_through_a_folder(files, tmp_path, pixels, host_folder):
    _, sources = files("instructblip-llama")
    made = from_lavis(**sources, **HEADS)
    made.save_pretrained(tmp_path / "saved")
    own = load_host(host_folder("instructblip-llama"))
    own.tokenizer.save_pretrained(tmp_path / "saved")
    own.qformer_tokenizer.save_pretrained(tmp_path / "saved" / "qformer_tokenizer")
    loaded, direct = load_host(tmp_path / "saved"), load_host(made)
    assert loaded.vit.norm_eps == 1e-5
    assert torch.equal(
        loaded.vit.encode(loaded.vit.embed_image(pixels)), direct.vit.encode(direct.vit.embed_image(pixels))
    )


def test_flan_t5_gets_lavis_plain_gelu_and_keeps_it(files, tmp_path):
    _, sources = files("instructblip-t5")
    made = from_lavis(**sources, **HEADS)
    made.save_pretrained(tmp_path / "saved")
    assert made.config.text_config.dense_act_fn == "gelu"
    assert AutoConfig.from_pretrained(tmp_path / "saved").text_config.dense_act_fn == "gelu"
    again = type(made).from_pretrained(tmp_path / "saved")
    activation = again.language_model.encoder.block[0].layer[-1].DenseReluDense.act
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(activation(x), torch.nn.functional.gelu(x))


def test_a_mixed_up_ln_vision_gives_other_features(files, pixels):
    _, sources = files("instructblip-llama")
    other = small_host("instructblip-llama", seed=8).vision_model.post_layernorm.state_dict()
    right = load_host(from_lavis(**sources, **HEADS))

    def swap(eyes, trimmed):
        trimmed["ln_vision.weight"], trimmed["ln_vision.bias"] = other["weight"], other["bias"]

    _, sources = files("instructblip-llama", swap)
    wrong = load_host(from_lavis(**sources, **HEADS))
    features = [host.vit.encode(host.vit.embed_image(pixels)) for host in (right, wrong)]
    assert not torch.allclose(*features, atol=1e-2)


DEFECTS = {
    "a missing block bias": (
        lambda e, t: e.pop("blocks.1.attn.q_bias"),
        r"eva_vit_g\.pth .*1 missing: blocks\.1\.attn\.q_bias",
    ),
    "a missing norm": (lambda e, t: e.pop("blocks.1.norm2.weight"), r"1 missing: blocks\.1\.norm2\.weight"),
    "no position embedding": (lambda e, t: e.pop("pos_embed"), r"lack vision_model\.embeddings\.position_embedding"),
    "an unknown tensor": (lambda e, t: e.update(mask_token=torch.ones(1)), "1 unexpected: mask_token"),
    "no ln_vision": (lambda e, t: t.pop("ln_vision.bias"), r"trimmed\.pth .*1 missing: ln_vision\.bias"),
    "an unknown Q-Former tensor": (
        lambda e, t: t.update({"Qformer.cls.predictions.bias": torch.ones(2)}),
        r"1 unexpected: Qformer\.cls\.predictions\.bias",
    ),
    "no projection": (
        lambda e, t: (t.pop("llm_proj.weight"), t.pop("llm_proj.bias")),
        "holds 0 projections .* needs 1 of",
    ),
    "two projections": (lambda e, t: t.update({"t5_proj.weight": torch.ones(2, 2)}), "holds 2 projections"),
    "a projection to another model": (
        lambda e, t: t.update({"llm_proj.weight": torch.ones(16, 24)}),
        r"language_projection\.weight \(\(16, 24\), expected \(64, 24\)\)",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_is_named(files, defect):
    change, message = DEFECTS[defect]
    _, sources = files("instructblip-llama", change)
    with pytest.raises(CheckpointError, match=message):
        from_lavis(**sources, **HEADS)


def test_files_that_hold_no_weights_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="There is no file"):
        read_state(tmp_path / "absent.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"junk\.pth cannot be read"):
        read_state(tmp_path / "junk.pth")
    torch.save({"a": torch.nn.Linear(1, 1)}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match=r"code\.pth holds more than tensors .* is not opened"):
        read_state(tmp_path / "code.pth")
    torch.save({"step": 3}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="does not hold named tensors"):
        read_state(tmp_path / "other.pth")


def test_a_folder_without_a_language_model_is_refused(files, tmp_path):
    _, sources = files("instructblip-llama")
    with pytest.raises(CheckpointError, match=r"is no folder of a language model: it has no config\.json"):
        from_lavis(**{**sources, "llm": tmp_path / "nothing"}, **HEADS)


def test_vicuna_v0_is_warned_of(files, caplog):
    model, sources = files("instructblip-llama")
    model.language_model.resize_token_embeddings(32001)
    model.language_model.save_pretrained(sources["llm"])
    with caplog.at_level(logging.WARNING):
        from_lavis(**sources, **HEADS)
    assert "32001 words, as Vicuna v0 has" in caplog.text


@pytest.fixture
def with_words(files, host_folder):
    """`files`, the language model's folder with its tokenizer, and a BERT tokenizer beside."""

    def write(name):
        _, sources = files(name)
        own = load_host(host_folder(name))
        own.tokenizer.save_pretrained(sources["llm"])
        questions = sources["llm"].parent / "bert"
        if name.startswith("instructblip"):
            own.qformer_tokenizer.save_pretrained(questions)
        return own, sources, questions

    return write


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_folder_answers_as_the_converted_model_does(with_words, tmp_path, pixels, name):
    own, sources, questions = with_words(name)
    folder = convert_lavis(tmp_path / "host", **sources, qformer_tokenizer=questions, **HEADS)
    loaded, direct = load_host(folder), load_host(from_lavis(**sources, **HEADS))
    features = direct.vit.encode(direct.vit.embed_image(pixels))
    assert torch.equal(loaded.vit.encode(loaded.vit.embed_image(pixels)), features)
    assert loaded.tokenizer("what is this")["input_ids"] == own.tokenizer("what is this")["input_ids"]
    if name.startswith("instructblip"):
        assert loaded.qformer_tokenizer.bos_token == "[DEC]"


def test_nothing_is_left_of_a_conversion_that_fails(with_words, tmp_path):
    _, sources, _ = with_words("instructblip-llama")
    with pytest.raises(CheckpointError, match="no-such-tokenizer"):
        convert_lavis(tmp_path / "host", **sources, qformer_tokenizer=tmp_path / "no-such-tokenizer", **HEADS)
    assert not list(tmp_path.glob("*host*"))


def test_a_folder_in_use_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(ConfigError, match="not an empty folder"):
        convert_lavis(tmp_path, vit="absent", instructblip="absent", llm="absent")
