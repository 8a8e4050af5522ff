"""salesforce-lavis 1.0.2 as patched, beside today's libraries. Runs where LAVIS is importable: `patches/check.py`."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.testing import assert_close

pytest.importorskip("lavis", reason="salesforce-lavis is not importable here; run `python patches/check.py`")

import small_lavis as small
from lavis.common.registry import registry
from lavis.models import Blip2ITM, Blip2OPT, Blip2Qformer, Blip2T5, eva_vit
from PIL import Image

ABSENT = ("torchvision", "timm", "cv2", "decord", "fairscale", "spacy", "pandas", "iopath", "einops", "webdataset")
MODULES = ("blip2", "blip2_opt", "blip2_t5", "blip2_qformer", "blip2_image_text_matching", "Qformer")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return small.folders(tmp_path_factory.mktemp("language"))


@pytest.fixture(scope="module")
def opt(folders):
    return small.small(Blip2OPT, bert_model=folders["bert"], opt_model=folders["opt"])


@pytest.fixture(scope="module")
def t5(folders):
    return small.small(Blip2T5, bert_model=folders["bert"], t5_model=folders["t5"])


@pytest.fixture(scope="module")
def qformer(folders):
    return small.small(Blip2Qformer, bert_model=folders["bert"])


@pytest.fixture(scope="module")
def pixels():
    return small.pixels()


def test_imports_where_every_optional_package_is_absent():
    lines = [
        "import sys",
        f"sys.modules.update(dict.fromkeys({ABSENT!r}))",  # None makes `import` fail
        *(f"import lavis.models.blip2_models.{module}" for module in MODULES),
        "import lavis.models.eva_vit, lavis.models.clip_vit, lavis.processors.blip_processors",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_registry_imports_a_class_when_its_name_is_asked_for():
    assert registry.get_model_class("blip2_opt") is Blip2OPT
    assert registry.get_processor_class("blip_image_eval").__name__ == "BlipImageEvalProcessor"
    assert registry.get_model_class("no such model") is None
    assert registry.get_processor_class("no such processor") is None


def test_zoo_lists_what_can_be_imported():
    from lavis.models import model_zoo

    assert "pretrain_opt2.7b" in dict(model_zoo)["blip2_opt"]


def test_qformer_keeps_the_weights_of_bert_and_its_positions(folders):
    from lavis.models.blip2_models.Qformer import BertLMHeadModel
    from transformers import BertForMaskedLM

    theirs = BertForMaskedLM.from_pretrained(folders["bert"])
    qformer, queries = Blip2Qformer.init_Qformer(4, small.WIDTH, bert_model=str(folders["bert"]))
    assert isinstance(qformer, BertLMHeadModel)
    ours = dict(qformer.named_parameters())
    shared = [(name, value) for name, value in theirs.named_parameters() if name in ours]
    assert len(shared) > 30
    for name, value in shared:
        assert_close(ours[name], value, msg=name)
    embeddings = qformer.bert.embeddings
    assert embeddings.position_ids.tolist() == [list(range(64))]
    assert qformer.cls.predictions.decoder.weight is embeddings.word_embeddings.weight
    assert queries.shape == (1, 4, small.WIDTH)


def test_new_layers_of_the_qformer_are_initialised(folders):
    qformer, _ = Blip2Qformer.init_Qformer(4, small.WIDTH, bert_model=str(folders["bert"]))
    cross = qformer.bert.encoder.layer[0].crossattention
    assert 0.01 < cross.self.query.weight.std() < 0.03  # BERT's range is 0.02
    assert_close(cross.output.LayerNorm.weight, torch.ones(small.WIDTH))
    assert cross.self.query.bias.abs().max() == 0


def test_padded_text_changes_nothing(qformer, pixels):
    both = qformer.extract_features({"image": pixels, "text_input": ["a chair", "a red chair is it for one"]})
    alone = qformer.extract_features({"image": pixels[:1], "text_input": ["a chair"]})
    assert_close(both.multimodal_embeds[:1], alone.multimodal_embeds, rtol=0, atol=1e-5)


def test_masked_image_tokens_change_nothing(qformer):
    tokens = torch.randn(2, 9, small.WIDTH, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 9).index_fill(1, torch.tensor([7, 8]), 0)
    queries = qformer.query_tokens.expand(2, -1, -1)
    masked = qformer.Qformer.bert(query_embeds=queries, encoder_hidden_states=tokens, encoder_attention_mask=mask)
    shorter = qformer.Qformer.bert(query_embeds=queries, encoder_hidden_states=tokens[:, :7])
    whole = qformer.Qformer.bert(query_embeds=queries, encoder_hidden_states=tokens)
    assert_close(masked.last_hidden_state, shorter.last_hidden_state, rtol=0, atol=1e-5)
    assert (masked.last_hidden_state - whole.last_hidden_state).abs().max() > 1e-3


def test_head_mask_switches_heads_off(qformer, pixels):
    image = qformer.visual_encoder(pixels)
    queries = qformer.query_tokens.expand(2, -1, -1)

    def run(mask):
        return qformer.Qformer.bert(query_embeds=queries, encoder_hidden_states=image, head_mask=mask).last_hidden_state

    assert_close(run(torch.ones(4)), run(None))
    assert_close(run(torch.ones(2, 4)), run(None))
    assert (run(torch.tensor([1.0, 1.0, 1.0, 0.0])) - run(None)).abs().max() > 1e-4


def test_pruned_heads_equal_masked_heads(qformer, pixels):
    pruned = copy.deepcopy(qformer)
    attention = pruned.Qformer.bert.encoder.layer[1].attention
    attention.prune_heads([1])
    attention.prune_heads([1, 3])
    assert attention.self.num_attention_heads == 2
    image = qformer.visual_encoder(pixels)
    queries = qformer.query_tokens.expand(2, -1, -1)
    mask = torch.ones(2, 4)
    mask[1, [1, 3]] = 0
    expected = qformer.Qformer.bert(query_embeds=queries, encoder_hidden_states=image, head_mask=mask)
    got = pruned.Qformer.bert(query_embeds=queries, encoder_hidden_states=image)
    assert_close(got.last_hidden_state, expected.last_hidden_state, rtol=0, atol=1e-5)


def caption_without_cache(model, pixels, steps):
    """The captioner's greedy ids, the whole text read again at every step."""
    image = model.ln_vision(model.visual_encoder(pixels))
    ids = torch.full((len(pixels), 1), model.tokenizer.bos_token_id)
    for _ in range(steps):
        text = torch.ones(len(pixels), small.QUERIES + ids.shape[1])
        out = model.Qformer(
            ids,
            attention_mask=text,
            query_embeds=model.query_tokens.expand(len(pixels), -1, -1),
            encoder_hidden_states=image,
        )
        logits = out.logits[:, -1]
        logits[:, model.tokenizer.sep_token_id] = -torch.inf
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    return model.tokenizer.batch_decode(ids, skip_special_tokens=True)


@torch.no_grad()
def test_qformer_captions_with_its_cache_as_without(qformer, pixels):
    expected = caption_without_cache(qformer, pixels, steps=7)
    assert qformer.generate({"image": pixels}, num_beams=1, max_length=8, min_length=8) == expected


def test_qformer_captions_with_beams_and_samples(qformer, pixels):
    torch.manual_seed(0)
    assert len(qformer.generate({"image": pixels}, num_beams=3, max_length=8, min_length=3)) == 2
    assert len(qformer.generate({"image": pixels}, use_nucleus_sampling=True, max_length=8, min_length=3)) == 2


def test_beams_depend_on_their_own_picture(qformer, opt, pixels):
    """A picture in a batch gives what it gives alone: beams must not mix the pictures of a batch."""
    for model in (qformer, opt):
        batch = model.generate({"image": pixels}, num_beams=3, max_length=8, min_length=3)
        alone = [model.generate({"image": x[None]}, num_beams=3, max_length=8, min_length=3)[0] for x in pixels]
        assert batch == alone


@torch.no_grad()
def test_opt_answers_as_its_language_model_does(opt, pixels):
    said = opt.generate({"image": pixels, "prompt": "red"}, num_beams=1, max_length=6)
    image = opt.ln_vision(opt.visual_encoder(pixels))
    queries = opt.query_tokens.expand(2, -1, -1)
    out = opt.Qformer.bert(query_embeds=queries, encoder_hidden_states=image)
    ids = opt.opt_tokenizer(["red", "red"], return_tensors="pt").input_ids
    for _ in range(6):
        embeds = torch.cat([opt.opt_proj(out.last_hidden_state), opt.opt_model.get_input_embeddings()(ids)], dim=1)
        logits = opt.opt_model(inputs_embeds=embeds).logits[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    expected = opt.opt_tokenizer.batch_decode(ids[:, 4:], skip_special_tokens=True)  # `</s>`, `r`, `e`, `d` before
    assert said == [text.strip() for text in expected]


def test_opt_gives_several_captions_each(opt, pixels):
    torch.manual_seed(0)
    assert len(opt.generate({"image": pixels}, num_beams=3, num_captions=2, max_length=4)) == 4
    assert len(opt.generate({"image": pixels}, use_nucleus_sampling=True, num_captions=2, max_length=4)) == 4


def test_t5_generates_and_answers(t5, pixels):
    assert len(t5.generate({"image": pixels, "prompt": ["a red chair", "what"]}, num_beams=1, max_length=6)) == 2
    assert len(t5.generate({"image": pixels, "prompt": "what"}, num_beams=3, num_captions=2, max_length=6)) == 4
    assert len(t5.predict_answers({"image": pixels, "text_input": ["what", "what is it"]}, num_beams=2)) == 2


def test_matching_scores(folders, pixels):
    model = small.small(Blip2ITM, bert_model=folders["bert"])
    samples = {"image": pixels, "text_input": ["a red chair", "two one chair"]}
    assert model(samples).shape == (2, 2)
    assert model(samples, match_head="itc").shape == (2, 1)


@pytest.mark.parametrize("name", ["opt", "t5"])
def test_training_losses_reach_the_projection(name, request, pixels):
    model = copy.deepcopy(request.getfixturevalue(name))
    samples = {"image": pixels, "text_input": ["a red chair", "two"], "text_output": ["a chair", "one"]}
    model(samples)["loss"].backward()
    projection = getattr(model, f"{name}_proj")
    assert projection.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in model.visual_encoder.parameters())


@pytest.fixture
def small_vit(monkeypatch):
    vision = small.vision()  # made before its class is replaced
    monkeypatch.setattr(eva_vit, "VisionTransformer", lambda **_: copy.deepcopy(vision))
    return vision


def no_download(*_, **__):
    raise AssertionError("a download was asked for")


def test_weights_of_the_vit_are_an_argument(small_vit, tmp_path, monkeypatch):
    monkeypatch.setattr(eva_vit, "download_cached_file", no_download)
    assert_close(eva_vit.create_eva_vit_g(precision="fp32", weights=None).cls_token, small_vit.cls_token)
    state = {name: value + 1 for name, value in small_vit.state_dict().items()}
    torch.save(state, tmp_path / "vit.pth")
    loaded = eva_vit.create_eva_vit_g(precision="fp32", weights=str(tmp_path / "vit.pth"))
    assert_close(dict(loaded.state_dict()), state)
    with pytest.raises(AssertionError, match="download"):
        eva_vit.create_eva_vit_g()  # what LAVIS published


def test_from_config_takes_local_files_only(folders, small_vit, tmp_path, opt, monkeypatch):
    from omegaconf import OmegaConf

    monkeypatch.setattr(eva_vit, "download_cached_file", no_download)
    torch.save({"model": opt.state_dict()}, tmp_path / "blip2.pth")
    model = Blip2OPT.from_config(
        OmegaConf.create(
            {
                "image_size": small.IMAGE,
                "num_query_token": small.QUERIES,
                "vit_precision": "fp32",
                "opt_model": str(folders["opt"]),
                "bert_model": str(folders["bert"]),
                "vit_weights": None,
                "load_finetuned": False,
                "pretrained": str(tmp_path / "blip2.pth"),
            }
        )
    )
    assert_close(model.float().query_tokens, opt.query_tokens)
    assert_close(model.opt_proj.weight, opt.opt_proj.weight)


def test_eval_processor_gives_normalised_pixels_without_torchvision():
    from lavis.processors.blip_processors import BlipImageEvalProcessor

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    pixels = BlipImageEvalProcessor(image_size=8)(picture)
    resized = np.asarray(picture.resize((8, 8), Image.Resampling.BICUBIC), dtype=np.float32)
    expected = (resized[2, 5] / 255 - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    assert pixels.shape == (3, 8, 8)
    assert_close(pixels[:, 2, 5], torch.tensor(expected, dtype=torch.float32))


def test_absent_packages_of_training_processors_are_said_on_use(monkeypatch):
    from lavis.models import load_preprocess
    from omegaconf import OmegaConf

    monkeypatch.setitem(sys.modules, "torchvision", None)
    vision, text = load_preprocess(OmegaConf.load(Blip2OPT.default_config_path("pretrain_opt2.7b")).preprocess)
    assert vision["eval"](Image.new("RGB", (30, 20))).shape == (3, 224, 224)
    assert text["eval"]("A chair!") == "a chair"
    with pytest.raises(ImportError, match=r"'blip_image_train' needs a package that is absent: .*torchvision"):
        vision["train"](Image.new("RGB", (30, 20)))


def test_drop_path_keeps_the_mean_and_rests_in_eval():
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 3)
    dropped = eva_vit.drop_path(x, 0.25, training=True)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean() == pytest.approx(1, abs=0.05)
    assert eva_vit.drop_path(x, 0.25, training=False) is x
