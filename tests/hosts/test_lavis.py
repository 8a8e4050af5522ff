"""Lenses before LAVIS's own models, against the same weights in transformers. Runs where LAVIS is importable."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import lens_plugins as lp
from lens_plugins.errors import ConfigError, Unsupported
from lens_plugins.hosts.convert import from_lavis
from lens_plugins.hosts.lavis import LavisHost, LavisQFormerHost, vit_from_lavis
from lens_plugins.inputs.depth import DepthSettings
from lens_plugins.lens.config import LensConfig
from lens_plugins.lens.embeddings import DepthConfig
from lens_plugins.lens.lens import Lens
from lens_plugins.testing import HostContract

pytest.importorskip("lavis", reason="salesforce-lavis is not importable here; run `python patches/check.py`")

import small_lavis as small
from lavis.models import Blip2ITM, Blip2OPT, Blip2Qformer, Blip2T5

FAMILIES = ("opt", "t5", "llm", "instruct-t5")  # of BLIP-2, of BLIP-2, of InstructBLIP, of InstructBLIP
GREEDY = {"num_beams": 1, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return small.folders(tmp_path_factory.mktemp("language"))


@pytest.fixture(scope="module")
def models(folders):
    return {
        "opt": small.small(Blip2OPT, bert_model=folders["bert"], opt_model=folders["opt"]),
        "t5": small.small(Blip2T5, bert_model=folders["bert"], t5_model=folders["t5"]),
        "llm": small.Instruct(folders, "llm"),
        "instruct-t5": small.Instruct(folders, "t5"),
    }


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def host(models, family):
    return lp.load_host(models[family])


@pytest.fixture(scope="module")
def converted(models, tmp_path_factory):
    """The transformers host with a LAVIS model's weights, by family."""
    made = {}

    def make(family):
        if family not in made:
            made[family] = _convert(models[family], tmp_path_factory.mktemp(family))
        return made[family]

    return make


def _convert(model, folder):
    name = next(name for name in ("opt", "t5", "llm") if hasattr(model, f"{name}_proj"))
    language_model, tokenizer = getattr(model, f"{name}_model"), getattr(model, f"{name}_tokenizer")
    language_model.save_pretrained(folder / "llm")
    state = model.state_dict()
    vit = {key.removeprefix("visual_encoder."): state[key] for key in state if key.startswith("visual_encoder.")}
    rest = {k: v for k, v in state.items() if not k.startswith(("visual_encoder.", f"{name}_model."))}
    torch.save(vit, folder / "vit.pth")
    torch.save({"model": rest}, folder / "trimmed.pth")
    theirs = from_lavis(
        vit=folder / "vit.pth",
        instructblip=folder / "trimmed.pth",
        llm=folder / "llm",
        vit_heads=2,
        qformer_heads=4,
    )
    processor = SimpleNamespace(tokenizer=tokenizer, qformer_tokenizer=model.tokenizer)
    return lp.load_host(theirs, processor=processor)


@pytest.fixture(scope="module")
def lens():
    torch.manual_seed(0)
    config = LensConfig(
        modality="depth",
        width=small.WIDTH,
        embedding=DepthConfig(width=small.WIDTH, patch=small.PATCH, size=small.IMAGE),
        input=DepthSettings(size=small.IMAGE),
    )
    return Lens(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def inputs():
    """Two pictures and two depth maps, ready for the models."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"image": (3, small.IMAGE, small.IMAGE), "depth": (1, small.IMAGE, small.IMAGE)}
    return {
        name: [lp.ModalityInput(name, torch.randn(shape, generator=generator) * 2, None) for _ in range(2)]
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def first_stage(folders):
    return small.small(Blip2Qformer, bert_model=folders["bert"])


@pytest.fixture(scope="module")
def pixels():
    return small.pixels()


def test_kind_is_told_by_attributes(models, folders):
    for model in models.values():
        assert type(lp.load_host(model)) is LavisHost
    assert type(lp.load_host(small.small(Blip2ITM, bert_model=folders["bert"]))) is LavisQFormerHost


class LavisContract(HostContract):
    @pytest.fixture
    def heard(self, inputs):
        return inputs["depth"][0]

    @pytest.fixture
    def reference_features(self, host, pixels):
        return host.model.ln_vision(host.model.visual_encoder(pixels))


class TestLavisHost(LavisContract):
    def test_the_model_asks_for_no_gradients(self, host):
        assert not any(parameter.requires_grad for parameter in host.model.parameters())


class TestLavisQFormerHost(LavisContract):
    @pytest.fixture
    def host(self, first_stage):
        return lp.load_host(first_stage)

    @pytest.fixture
    def options(self):
        return {"num_beams": 2, "max_length": 8, "min_length": 3}


def test_prefix_of_a_picture_is_what_lavis_computes(host, pixels):
    own = host.model.ln_vision(host.model.visual_encoder(pixels))
    queries = host.model.query_tokens.expand(2, -1, -1)
    text = {}
    if host._instructed:
        ids = host.model.tokenizer(["a red chair", "what is it"], return_tensors="pt")
        text = {"qformer_input_ids": ids.input_ids, "qformer_attention_mask": ids.attention_mask}
        mask = torch.cat([torch.ones(queries.shape[:2], dtype=torch.long), ids.attention_mask], dim=1)
        output = host.model.Qformer.bert(
            ids.input_ids, attention_mask=mask, query_embeds=queries, encoder_hidden_states=own
        )
    else:
        output = host.model.Qformer.bert(query_embeds=queries, encoder_hidden_states=own)
    expected = host.projection(output.last_hidden_state[:, : small.QUERIES])
    assert_close(host.prefix(own, **text), expected, rtol=0, atol=1e-5)


def test_blip2_answers_about_a_picture_as_lavis_does(models, pixels, inputs):
    for family in ("opt", "t5"):
        host = lp.load_host(models[family])
        pictures = [lp.ModalityInput("image", x, None) for x in pixels]
        requests = [lp.Request([picture], "a red chair") for picture in pictures]
        ours = host.generate_batch(requests, num_beams=1, max_new_tokens=8, repetition_penalty=1.0, min_new_tokens=0)
        theirs = models[family].generate(
            {"image": pixels, "prompt": "a red chair"}, num_beams=1, max_length=8, min_length=0
        )
        assert [str(reply) for reply in ours] == [text.strip() for text in theirs]


@pytest.mark.parametrize("fuse", ["vit", "qformer", "llm"])
def test_features_and_text_are_those_of_transformers(host, family, converted, lens, inputs, fuse):
    theirs = converted(family)
    assert theirs.vit.norm_eps == host.vit.norm_eps == 1e-5
    both = [inputs["depth"][0], inputs["image"][0]]
    for each in (host, theirs):
        each.plug(lens)
    seen, expected = host.look(both, fuse=fuse), theirs.look(both, fuse=fuse)
    assert len(seen.features) == len(expected.features) == (2 if fuse == "llm" else 1)
    for unit, other in zip(seen.features, expected.features):
        assert_close(unit, other, rtol=0, atol=1e-4)
    for options in (GREEDY, {"num_beams": 3, "max_new_tokens": 6}):
        text = host.generate(seen, "what is it", **options)
        assert text == theirs.generate(expected, "what is it", **options)
        assert text != host.generate(inputs["image"][1], "a red chair", **options)


def test_logits_are_those_of_transformers(host, family, converted, lens, inputs):
    theirs = converted(family)
    ids = torch.tensor([[5, 6, 7], [7, 6, 5]])
    made = []
    for each in (host, theirs):
        each.plug(lens)
        seen = [each.look(source) for source in inputs["depth"]]
        prefix = each.prefix(torch.stack([one.features[0] for one in seen]), *each.qformer_text(["what", "a chair"]))
        made.append(each.logits(prefix, ids))
    assert_close(made[0], made[1], rtol=0, atol=1e-3)
    assert (made[0][0] - made[0][1]).abs().max() > 1e-2


def test_a_batch_answers_as_each_alone(host, lens, inputs):
    host.plug(lens)
    requests = [
        lp.Request(inputs["depth"][0], "what is it"),
        lp.Request(inputs["image"], "a red chair is it for one", fuse="llm"),
        lp.Request([inputs["depth"][1], inputs["image"][1]], "a"),
    ]
    batch = host.generate_batch(requests, **GREEDY)
    assert batch == [host.generate_batch([request], **GREEDY)[0] for request in requests]
    assert len(set(batch)) > 1


def test_a_stream_is_the_answer_in_pieces(host, lens, inputs):
    host.plug(lens)
    pieces = list(host.stream(inputs["depth"][0], "what", max_new_tokens=6))
    assert "".join(pieces).strip() == host.generate(inputs["depth"][0], "what", num_beams=1, max_new_tokens=6)


def test_defaults_follow_the_model(models):
    assert lp.load_host(models["opt"]).default_prompt == "a photo of"
    assert lp.load_host(models["llm"]).default_prompt == "A short image caption."
    models["opt"].prompt = "what"
    try:
        assert lp.load_host(models["opt"]).default_prompt == "what"
    finally:
        models["opt"].prompt = ""


def test_opt_ends_at_a_line_break(models):
    host = lp.load_host(models["opt"])
    assert host.generation["eos_token_id"] == models["opt"].opt_tokenizer("\n", add_special_tokens=False).input_ids[0]


def test_instructblip_without_text_for_its_qformer(models, folders, inputs):
    """LAVIS's option qformer_text_input=False: the Q-Former then reads features alone."""
    model = models["llm"]
    model.qformer_text_input = False
    try:
        host = lp.load_host(model)
        features = torch.stack(host.look(inputs["image"][0]).features)
        with pytest.raises(Unsupported, match="qformer_input_ids"):
            host.prefix(features, torch.tensor([[5]]))
        assert_close(host.prefixes([host.look(inputs["image"][0])], ["what"])[0], host.prefix(features)[0])
    finally:
        del model.qformer_text_input


def test_half_precision_runs_as_lavis_runs_it(models, pixels):
    """vit_precision="fp16": linear weights are halved, norms are not, and the blocks run under autocast."""
    from lavis.models.eva_vit import convert_weights_to_fp16

    model = copy.deepcopy(models["opt"])
    convert_weights_to_fp16(model.visual_encoder)
    host = lp.load_host(model)
    features = host.vit.encode(host.vit.embed_image(pixels))
    exact = models["opt"].ln_vision(models["opt"].visual_encoder(pixels))
    assert features.dtype == torch.float32
    assert 0 < (features - exact).abs().max() < 0.05


def test_the_vit_is_named_as_in_lens_files(host, feature_host):
    """So that `plug` can compare a lens file's copy of the ViT with the host's."""
    for each in (host, feature_host):
        state = each.vit_state()
        assert {"cls_token", "pos_embed", "patch_embed.proj.bias", "blocks.2.attn.q_bias"} <= state.keys()
        assert state["pos_embed"].shape == (1, 17, small.WIDTH)


def test_relative_positions_are_refused():
    vit = small.vision()
    vit.rel_pos_bias = nn.Identity()
    with pytest.raises(Unsupported, match="relative positions"):
        vit_from_lavis(vit, nn.LayerNorm(small.WIDTH))


def test_another_vit_is_refused_by_what_it_lacks():
    with pytest.raises(Unsupported, match=r"a Linear without patch_embed, cls_token, pos_embed.*eva_clip_g"):
        vit_from_lavis(nn.Linear(2, 2), nn.LayerNorm(2))


def test_a_name_cannot_be_loaded_as_lavis():
    for kind in (LavisHost, LavisQFormerHost):
        with pytest.raises(Unsupported, match=r"blip2_opt cannot be loaded.*from_lavis"):
            kind.load("blip2_opt", None)


@pytest.fixture
def feature_host(first_stage, lens):
    host = lp.load_host(first_stage)
    host.plug(lens)
    return host


def test_features_are_those_that_lavis_extracts(feature_host, first_stage, pixels):
    own = first_stage.extract_features({"image": pixels}, mode="image")
    pictures = [lp.ModalityInput("image", x, None) for x in pixels]
    assert_close(feature_host.query_features(pictures), own.image_embeds_proj, rtol=0, atol=1e-5)
    texts = ["a red chair", "what"]
    own = first_stage.extract_features({"text_input": texts}, mode="text")
    assert_close(feature_host.text_features(texts), own.text_embeds_proj[:, 0], rtol=0, atol=1e-5)


def test_features_of_every_modality_have_one_space(feature_host, inputs):
    features = feature_host.query_features([inputs["depth"][0], inputs["image"][0]])
    assert features.shape == (2, small.QUERIES, 256)
    assert_close(features.norm(dim=-1), torch.ones(2, small.QUERIES))
    assert feature_host.embed([inputs["depth"][0], inputs["image"][0]]).shape == (2, small.WIDTH)


def test_the_qformer_captions_a_picture_as_in_lavis(feature_host, first_stage, pixels):
    own = first_stage.generate({"image": pixels}, num_beams=3, max_length=8, min_length=3)
    requests = [lp.Request(lp.ModalityInput("image", x, None)) for x in pixels]
    assert feature_host.generate_batch(requests, num_beams=3, max_length=8, min_length=3) == own


def test_the_qformer_captions_through_a_lens_and_goes_on_from_a_prompt(feature_host, inputs):
    options = {"num_beams": 1, "max_length": 9, "min_length": 9}
    requests = [
        lp.Request(inputs["depth"][0], "a red"),
        lp.Request(inputs["image"][0]),
        lp.Request([inputs["depth"][0], inputs["image"][0]], fuse="qformer"),
        lp.Request([inputs["depth"][0], inputs["image"][0]], fuse="vit"),
    ]
    batch = feature_host.generate_batch(requests, **options)
    assert batch == [feature_host.generate_batch([request], **options)[0] for request in requests]
    assert 0 < len(batch[0].split()) <= 6  # of 9 ids [DEC] and the two of the prompt are not in the answer
    streamed = feature_host.stream(inputs["image"][0], max_length=9, min_length=9)
    assert "".join(streamed).strip() == batch[1]


def test_what_the_first_stage_cannot_do_is_said(feature_host, inputs):
    with pytest.raises(Unsupported, match="fuse='llm'"):
        feature_host.generate(inputs["image"], fuse="llm")
    with pytest.raises(ConfigError, match="num_beams=3"):
        list(feature_host.stream(inputs["image"][0], num_beams=3))
    with pytest.raises(ConfigError, match="no_such_option"):
        feature_host.generate(inputs["image"][0], no_such_option=1)
