import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import lens_plugins as lp
from lens_plugins.errors import CheckpointError, ConfigError, DoesNotFit, InputError, LensPluginsError, Unsupported
from lens_plugins.hosts.base import CodeHost, PrefixHost
from lens_plugins.hosts.seed_llama.detokenizer import Drawing
from lens_plugins.hosts.seed_llama.host import SeedLlama, SeedLlamaHost
from lens_plugins.hosts.seed_llama.prompt import STYLES
from lens_plugins.hosts.seed_llama.vocabulary import BEGIN
from lens_plugins.splice import digest
from lens_plugins.testing import HostContract
from lens_plugins.testing.small import IMAGE_SIZE, small_input, small_lens, write_host
from lens_plugins.testing.small_seed import small_seed_llama, small_tokenizer, small_words, write_seed_host

GREEDY = {"do_sample": False, "max_new_tokens": 8}


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_seed_host(tmp_path_factory.mktemp("seed") / "small-seed")


@pytest.fixture(scope="module")
def loaded(folder):
    return lp.load_host(folder)


@pytest.fixture
def host(loaded):
    yield loaded
    for modality in loaded.lenses:
        loaded.unplug(modality)


@pytest.fixture
def cloud():
    return small_input("point_cloud")


@pytest.fixture
def lens():
    return small_lens("point_cloud")


@pytest.fixture
def picture():
    return small_input("image")


class TestContract(HostContract):
    @pytest.fixture
    def heard(self, cloud):
        return cloud

    @pytest.fixture
    def options(self):
        return {"max_new_tokens": 5, "do_sample": False, "steps": 1}

    @pytest.fixture
    def pixels(self):
        return torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))

    @pytest.fixture
    def reference_features(self, host, pixels):
        return host.model.tokenizer.vision_model(pixels).last_hidden_state


def pixels_of(picture):
    return np.asarray(picture, dtype=int)


def test_what_it_can_do(host):
    assert isinstance(host, SeedLlamaHost)
    assert isinstance(host, CodeHost)
    assert not isinstance(host, PrefixHost)
    assert host.image_settings.interpolation == "bilinear"
    assert host.image_settings.resize == "squash"
    assert host.style == STYLES["vicuna"]
    assert host.drawing == Drawing(steps=2)
    with pytest.raises(Unsupported, match="cannot turn features into a prefix"):
        host.prefix(torch.zeros(1))


def test_an_instructblip_makes_no_pictures(tmp_path):
    other = lp.load_host(write_host(tmp_path, "instructblip-llama"))
    with pytest.raises(Unsupported, match="a SEED-LLaMA host can"):
        other.decode_codes(torch.zeros(1, 5))
    with pytest.raises(ConfigError, match="force_image"):
        other.generate(small_input("image"), force_image=True, num_beams=1)


def test_codes_there_and_back(host, lens, cloud, picture):
    host.plug(lens)
    codes = host.encode_codes([picture, cloud, picture])
    assert codes.shape == (3, 5)
    assert codes.dtype == torch.int64
    assert torch.equal(codes[0], codes[2])
    assert not torch.equal(codes[0], codes[1])
    assert len(codes[0].unique()) > 1
    first, second, third = map(pixels_of, host.decode_codes(codes, seed=3))
    assert first.shape == (16, 16, 3)
    assert np.abs(first - third).max() <= 1
    assert np.abs(first - second).max() > 2
    assert np.abs(pixels_of(host.decode_codes(codes[:1], seed=4)[0]) - first).max() > 2
    with pytest.raises(InputError, match="Codes are 0 to 16; these are 0 to 17"):
        host.decode_codes(torch.tensor([[0, 1, 2, 3, 17]]))
    with pytest.raises(InputError, match=r"codes are \(B, 5\); got \(1, 4\)"):
        host.decode_codes(codes[:1, :4])
    with pytest.raises(ConfigError, match=r"guidance, size, noise_level, candidates: .*'stepps'"):
        host.decode_codes(codes, stepps=3)


def test_prompts_hold_what_was_seen(host, lens, cloud, picture, monkeypatch):
    host.plug(lens)
    asked = []
    real = host.tokenizer
    monkeypatch.setattr(host, "tokenizer", Heard(real, asked))
    host.generate([picture, cloud], "combine", **GREEDY)
    host.generate([picture, cloud], "<image>, <image>, combine", **GREEDY)
    host.generate([picture, cloud], "combine", fuse="vit", **GREEDY)
    one, other = map(host.vocabulary.text, host.encode_codes([picture, cloud]))
    (fused,) = host._codes([host.look([picture, cloud], fuse="vit")])[0]
    assert asked == [
        f"<s>USER: {one}{other}combine\nASSISTANT:",
        f"<s>USER: {one}, {other}, combine\nASSISTANT:",
        f"<s>USER: {host.vocabulary.text(fused)}combine\nASSISTANT:",
    ]


class Heard:
    """A tokenizer that remembers what it was given."""

    def __init__(self, words, asked):
        self._words, self._asked = words, asked

    def __call__(self, text, **how):
        self._asked.append(text)
        return self._words(text, **how)

    def __getattr__(self, name):
        return getattr(self._words, name)


def test_composition_asks_as_seed_llama_does(host):
    assert host.prompt_of(None, 2) == "<image>, <image>, please generate an image to combine them"
    assert host.prompt_of(None, 1) == "Please generate an image of this."
    assert host.prompt_of("Make it red.", 2) == "Make it red."


def test_all_inputs_of_a_call_pass_the_vit_once(host, lens, cloud, picture, monkeypatch):
    host.plug(lens)
    passes = []
    real = host.vit.encode
    monkeypatch.setattr(host.vit, "encode", lambda tokens: (passes.append(len(tokens[0])), real(tokens))[1])
    host.generate([picture, cloud, picture], "combine", **GREEDY)
    assert passes == [2]  # both at once, the picture once
    host.imagine([picture, cloud], count=3)
    assert passes == [2, 2]


@pytest.mark.parametrize("how", [{"do_sample": False}, {"num_beams": 3}, {"do_sample": True, "top_p": 1.0}])
def test_a_forced_picture_is_always_there(host, picture, how):
    reply = host.generate(picture, "make it red", force_image=True, max_new_tokens=20, **how)
    assert reply.problems == ()
    assert isinstance(reply.parts[0], Image.Image)
    assert len(reply.images) == len(reply.codes) >= 1
    assert reply.text == " ".join(part for part in reply.parts if isinstance(part, str)) == reply
    drawn = host.decode_codes(reply.codes, seed=reply.seed)
    assert all(np.abs(pixels_of(a) - pixels_of(b)).max() <= 1 for a, b in zip(drawn, reply.images))


def test_a_seed_repeats_and_another_differs(host, picture):
    how = {"force_image": True, "max_new_tokens": 16, "top_p": 1.0}
    first, again, other = (host.generate(picture, **how, seed=seed) for seed in (5, 5, 6))
    assert first == again
    assert torch.equal(first.codes, again.codes)
    assert np.array_equal(pixels_of(first.images[0]), pixels_of(again.images[0]))
    assert not torch.equal(first.codes, other.codes)
    unseeded = host.generate(picture, **how)
    repeated = host.generate(picture, **how, seed=unseeded.seed)
    assert torch.equal(unseeded.codes, repeated.codes)


def test_eight_threads_answer_as_one_by_one(folder, picture, cloud, lens):
    """Text, codes and pictures; the first threads load the pipeline together."""
    host = lp.load_host(folder)
    host.plug(lens)
    inputs = [picture, cloud, [picture, cloud], small_input("image", seed=3)] * 2
    how = {"force_image": True, "max_new_tokens": 16, "top_p": 1.0}
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda n: host.generate(inputs[n], f"make it {n}", seed=n, **how), range(8)))
    for number, reply in enumerate(together):
        alone = host.generate(inputs[number], f"make it {number}", seed=number, **how)
        assert alone == reply
        assert torch.equal(alone.codes, reply.codes)
        assert np.array_equal(pixels_of(alone.images[0]), pixels_of(reply.images[0]))
    assert len({tuple(reply.codes.flatten().tolist()) for reply in together}) > 4


def test_streams_and_replies_of_threads_do_not_mix(host, picture):
    how = {"max_new_tokens": 12, "top_p": 1.0}
    alone = [host.generate(picture, "what is this", seed=seed, **how).text for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        streamed = pool.map(lambda seed: "".join(host.stream(picture, "what is this", seed=seed, **how)), range(4))
        assert [text.split() for text in streamed] == [text.split() for text in alone]


def test_a_seed_gives_the_same_in_a_batch(host, picture):
    requests = [lp.Request(picture, prompt) for prompt in ("make it red", "what is this piano", "blue")]
    how = {"max_new_tokens": 12, "seed": 3}
    assert host.generate_batch(requests, **how) == [host.generate(r.inputs, r.prompt, **how) for r in requests]


def test_several_replies_are_those_of_seeds_that_follow(host, picture):
    how = {"force_image": True, "max_new_tokens": 12, "top_p": 1.0}
    reply = host.generate(picture, "make it red", num_return_sequences=3, seed=5, **how)
    assert len(reply.alternatives) == 3
    assert reply == reply.alternatives[0]
    scores = [one.score for one in reply.alternatives]
    assert scores == sorted(scores, reverse=True)
    assert all(score < 0 for score in scores)
    for one in reply.alternatives:
        alone = host.generate(picture, "make it red", seed=one.seed, **how)
        assert (alone, alone.codes.tolist()) == (one, one.codes.tolist())
        assert np.array_equal(pixels_of(alone.images[0]), pixels_of(one.images[0]))
    assert sorted(one.seed for one in reply.alternatives) == [5, 6, 7]


def test_a_seed_leaves_torchs_own_numbers_alone(host, picture):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    host.generate(picture, seed=7, **{**GREEDY, "do_sample": True})
    assert torch.equal(torch.rand(3), expected)


def test_imagine_gives_as_many_as_asked_each_of_its_seed(host, picture):
    replies = host.imagine(picture, count=3, seed=10)
    assert [reply.seed for reply in replies] == [10, 11, 12]
    (alone,) = host.imagine(picture, seed=11)
    assert len(alone.images) == 1
    assert alone.text == ""
    assert torch.equal(alone.codes, replies[1].codes)
    with pytest.raises(ConfigError, match="count is 0"):
        host.imagine(picture, count=0)


def test_pictures_drawn_do_not_depend_on_the_batch(host, picture):
    requests = [lp.Request(picture, prompt) for prompt in ("make it red", "what is this piano", "blue")]
    how = {"force_image": True, "do_sample": False, "max_new_tokens": 9, "seed": 3}
    together = host.generate_batch(requests, **how)
    for request, reply in zip(requests, together):
        alone = host.generate(request.inputs, request.prompt, **how)
        assert torch.equal(alone.codes, reply.codes)
        assert np.abs(pixels_of(alone.images[0]) - pixels_of(reply.images[0])).max() <= 1


def test_of_several_candidates_the_one_that_reads_most_like_its_codes_is_kept(host, picture):
    codes = torch.cat([host.encode_codes(picture), torch.tensor([[1, 2, 3, 4, 5]])])
    kept = host.decode_codes(codes, seed=3, candidates=4)
    normalised, embeds = host.detokenizer.normalised, host.model.tokenizer.image_embeds
    for row, picture in zip(codes, kept):
        drawn = [host.decode_codes(row[None], seed=3 + k * 1_000_003)[0] for k in range(4)]
        read = torch.cat([normalised(embeds(host.encode_codes(one))) for one in drawn])
        alike = torch.cosine_similarity(read, normalised(embeds(row[None])))
        best = drawn[int(alike.argmax())]
        assert np.abs(pixels_of(best) - pixels_of(picture)).max() <= 1
        assert max(np.abs(pixels_of(one) - pixels_of(best)).max() for one in drawn) > 5


def rigged(host, monkeypatch, text):
    """Let the language model write this."""
    ids = torch.tensor([host.tokenizer(text, add_special_tokens=False)["input_ids"]])
    monkeypatch.setattr(
        host.language_model, "generate", lambda *, input_ids, **_: torch.cat([input_ids, ids], dim=1), raising=False
    )


def test_malformed_pictures_are_reported_and_the_text_kept(host, picture, monkeypatch, caplog):
    good = host.vocabulary.text([1, 2, 3, 4, 5])
    rigged(host, monkeypatch, f"a red {good} piano <img><img_00001></img> . <img><img_00003>")
    with caplog.at_level(logging.WARNING):
        reply = host.generate(picture)
    assert reply == "a red piano ."
    assert [type(part) is str for part in reply.parts] == [True, False, True, True]
    assert reply.codes.tolist() == [[1, 2, 3, 4, 5]]
    assert len(reply.problems) == 2
    assert "1 codes, it must have 5; the reply was cut off inside it" in reply.problems[1]
    assert "left out a malformed picture: A picture has 1 codes, it must have 5." in caplog.text


def test_text_alone_draws_nothing(host, picture, monkeypatch):
    rigged(host, monkeypatch, "a red piano </s>")
    monkeypatch.setattr(SeedLlamaHost, "detokenizer", property(lambda self: pytest.fail("was loaded")))
    reply = host.generate(picture)
    assert (reply, reply.parts, reply.images, reply.problems) == ("a red piano", ("a red piano",), [], ())
    assert reply.codes.shape == (0, 0)


def test_a_conversation_keeps_pictures_as_codes(host, picture, monkeypatch):
    asked = []
    monkeypatch.setattr(host, "tokenizer", Heard(host.tokenizer, asked))
    chat = host.chat()
    first = chat.say("what is this", picture, **GREEDY)
    made = chat.say("make it red", force_image=True, do_sample=False, max_new_tokens=6)
    chat.say("make it blue", force_image=True, do_sample=False, max_new_tokens=6)
    shown = host.vocabulary.text(host.encode_codes(picture)[0])
    drawn = host.vocabulary.text(made.codes[0])
    start = f"<s>USER: {shown}what is this\nASSISTANT: "
    assert asked[0] == start[:-1]
    assert asked[1].startswith(start)
    assert asked[1].endswith(f"\nUSER: make it red\nASSISTANT:{BEGIN}")
    assert asked[2] == asked[1].removesuffix(BEGIN) + f" {drawn}\nUSER: make it blue\nASSISTANT:{BEGIN}"
    assert asked[2].count("<s>") == 1
    assert first.text in asked[1]
    chat.reset()
    chat.say("describe a piano", **GREEDY)
    assert asked[3] == "<s>USER: describe a piano\nASSISTANT:"


def test_streaming_gives_the_text_without_pictures(host, picture):
    whole = host.generate(picture, do_sample=False, max_new_tokens=20)
    pieces = list(host.stream(picture, do_sample=False, max_new_tokens=20))
    assert len(pieces) > 1
    assert "".join(pieces).split() == whole.text.split()
    with pytest.raises(ConfigError, match="Streaming runs 1 beam, got num_beams=2"):
        list(host.stream(picture, num_beams=2))


def test_one_clip_of_a_recording_is_read(host, tmp_path):
    host.plug(small_lens("audio"))
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 48000).astype(np.float32)
    soundfile.write(tmp_path / "sea.wav", wave, 16000)
    assert host.lenses["audio"].config.input.clips == 3
    assert host.read(tmp_path / "sea.wav").tensor.shape == (24, 128)
    assert host.read(tmp_path / "sea.wav", clips=3).tensor.shape == (3, 24, 128)
    assert host.encode_codes(tmp_path / "sea.wav").shape == (1, 5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"force_image": True, "max_new_tokens": 5}, ConfigError, "max_new_tokens is 5; a picture alone takes 6"),
        ({"steps": 0}, ConfigError, "steps is 0; it must be at least 1"),
        ({"size": 100}, ConfigError, "size is 100; it must be a positive multiple of 8"),
        ({"noise_level": -2}, ConfigError, "noise_level is -2"),
        ({"candidates": 0}, ConfigError, "candidates is 0; it must be at least 1"),
        ({"max_new_tokens": 4, "tempreature": 1.0}, ConfigError, "tempreature"),
        (
            {"num_return_sequences": 0},
            ConfigError,
            "num_return_sequences is 0; it must be a whole number of at least 1",
        ),
        ({"num_beams": 2, "num_return_sequences": 3, "max_new_tokens": 4}, ConfigError, "transformers refuses"),
        ({"fuse": "before"}, LensPluginsError, "no place 'before'"),
    ],
)
def test_wrong_options_are_refused(host, picture, options, error, message):
    with pytest.raises(error, match=message):
        host.generate(picture, **options)


def test_a_conversation_that_is_too_long_says_so(host, picture):
    with pytest.raises(InputError, match=r"take \d+ positions; the language model of small-seed has 512"):
        host.generate(picture, "piano " * 600)


def test_a_noise_level_beyond_the_schedule_is_refused(host, picture):
    with pytest.raises(ConfigError, match=r"noise_level is 1000; .* levels 0 to 999"):
        host.generate(picture, force_image=True, noise_level=1000, max_new_tokens=6)


def changed(folder, tmp_path, **notes):
    copy = shutil.copytree(folder, tmp_path / "copy")
    raw = json.loads((copy / "seed_llama.json").read_text())
    (copy / "seed_llama.json").write_text(json.dumps({**raw, **notes}))
    return copy


def test_the_style_is_overridden_in_the_folder(folder, tmp_path):
    host = lp.load_host(changed(folder, tmp_path, prompt_style="llama2"))
    assert host.style == STYLES["llama2"]


@pytest.mark.parametrize(
    ("notes", "error", "message"),
    [
        ({"prompt_stile": "llama2"}, ConfigError, "no field 'prompt_stile'; did you mean 'prompt_style'"),
        ({"prompt_style": "llama3"}, ConfigError, "no prompt style 'llama3'"),
        ({"format": 2}, ConfigError, "format is 2, this version reads 1"),
        ({"drawing": {"steps": 0}}, ConfigError, "steps is 0"),
        ({"llm": "nowhere"}, CheckpointError, "has no llm: 'nowhere' is neither there nor a hub id"),
        ({"tokenizer": "nowhere"}, CheckpointError, "has no tokenizer: 'nowhere'"),
        ({"tokenizer": "nobody/nothing"}, CheckpointError, r"seed_quantizer\.pt of nobody/nothing cannot be fetched"),
    ],
)
def test_a_folder_with_wrong_notes_says_so(folder, tmp_path, notes, error, message):
    with pytest.raises(error, match=message):
        lp.load_host(changed(folder, tmp_path, **notes))


def test_without_its_pipeline_a_host_still_describes(folder, tmp_path, picture):
    copy = changed(folder, tmp_path)
    shutil.rmtree(copy / "unclip")
    host = lp.load_host(copy)
    assert isinstance(host.generate(picture, do_sample=False, max_new_tokens=4), str)
    with pytest.raises(CheckpointError, match=r"unCLIP weights unclip cannot be loaded.*community mirror"):
        host.generate(picture, force_image=True, max_new_tokens=6)


def test_a_pipeline_for_other_embeddings_is_refused_with_both_numbers(folder, tmp_path, picture):
    from lens_plugins.testing.small_seed import small_unclip

    copy = changed(folder, tmp_path)
    shutil.rmtree(copy / "unclip")
    small_unclip(tmp_path / "clip", embedding_width=12).save_pretrained(copy / "unclip")
    with pytest.raises(DoesNotFit, match="reads image embeddings of 12; copy makes 20"):
        lp.load_host(copy).generate(picture, force_image=True, max_new_tokens=6)


def test_a_language_model_without_pictures_is_refused():
    with pytest.raises(CheckpointError, match=r"lacks 19 of the 19 tokens of pictures, the first is <img>"):
        SeedLlamaHost(small_seed_llama(), small_words(codes=0), name="a LLaMA")


def test_a_language_model_without_rows_for_codes_is_refused():
    from transformers import LlamaConfig, LlamaForCausalLM

    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    llm = LlamaForCausalLM(LlamaConfig(vocab_size=50, **small))
    with pytest.raises(CheckpointError, match=r"picture token of id \d+, the model has 50 embeddings"):
        SeedLlamaHost(SeedLlama(small_tokenizer(), llm), small_words(), name="a LLaMA")
    fewer = LlamaForCausalLM(LlamaConfig(vocab_size=16, **small))
    with pytest.raises(DoesNotFit, match="has 16 embeddings; the SEED tokenizer alone has 17 codes"):
        SeedLlama(small_tokenizer(), fewer)


def test_loaded_parts_make_a_host(folder, picture):
    model = small_seed_llama()
    host = lp.load_host(model, processor=small_words())
    assert torch.equal(host.encode_codes(picture), lp.load_host(folder).encode_codes(picture))
    with pytest.raises(CheckpointError, match="LlamaForCausalLM alone is no SEED-LLaMA"):
        lp.load_host(model.language_model)
    with pytest.raises(CheckpointError, match="without a text tokenizer"):
        lp.load_host(model)


def test_a_bare_language_model_needs_the_released_parts(folder):
    with pytest.raises(CheckpointError, match=r"seed_quantizer\.pt of AILab-CVC/seed-tokenizer-2 cannot be fetched"):
        lp.load_host(folder / "llm")


def test_one_vit_for_an_instructblip_and_a_seed_llama(tmp_path, folder):
    blip = lp.load_host(write_host(tmp_path / "blip", "instructblip-llama"))
    tokenizer = small_tokenizer()
    for part in ("embeddings", "encoder"):
        own, theirs = (getattr(tower, part) for tower in (tokenizer.vision_model, blip.model.vision_model))
        own.load_state_dict(theirs.state_dict())
    copy = changed(folder, tmp_path)
    tokenizer.save_pretrained(copy / "tokenizer")
    alone, shared = lp.load_host(copy), lp.load_host(copy, vit=blip.vit)
    before = digest(blip.model)
    x = small_input("image")
    assert torch.equal(alone.encode_codes(x), shared.encode_codes(x))
    theirs = {p.data_ptr() for p in blip.model.vision_model.encoder.parameters()}
    assert {p.data_ptr() for p in shared.vit.blocks.parameters()} == theirs
    assert not {p.data_ptr() for p in alone.vit.blocks.parameters()} & theirs
    assert "encoder" not in dict(shared.model.tokenizer.vision_model.named_children())
    assert digest(blip.model) == before
    with pytest.raises(DoesNotFit, match="is not the ViT of"):
        lp.load_host(folder, vit=blip.vit)


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_a_quantised_language_model(folder, picture, quantization):
    pytest.importorskip("bitsandbytes")
    host = lp.load_host(folder, quantization=quantization)
    linear = host.language_model.model.layers[0].mlp.up_proj
    assert type(linear).__name__ in ("Linear4bit", "Linear8bitLt")
    assert torch.equal(host.encode_codes(picture), lp.load_host(folder).encode_codes(picture))
    reply = host.generate(picture, force_image=True, max_new_tokens=8, do_sample=False)
    assert len(reply.images) == 1


def test_an_offloaded_language_model(folder, picture):
    parts = ("model.embed_tokens", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head")
    host = lp.load_host(folder, device_map={**dict.fromkeys(parts, "cpu"), "model.layers.0": "disk"})
    assert host.language_model.model.layers[0].mlp.up_proj.weight.is_meta
    how = {"force_image": True, "seed": 1, "max_new_tokens": 9}
    assert torch.equal(host.generate(picture, **how).codes, lp.load_host(folder).generate(picture, **how).codes)


@pytest.mark.parametrize("cache", ["static", "dynamic"])
def test_caches_write_the_same(host, picture, cache):
    how = {"force_image": True, "do_sample": False, "max_new_tokens": 12, "seed": 0}
    cached, plain = host.generate(picture, cache_implementation=cache, **how), host.generate(picture, **how)
    assert (cached.text, cached.codes.tolist()) == (plain.text, plain.codes.tolist())
