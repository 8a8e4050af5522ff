"""Prompts, padding and generation, against transformers' own pieces called by hand."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import AddedToken
from transformers import InstructBlipForConditionalGeneration

from lens_plugins import ModalityInput, Request, load_host
from lens_plugins.errors import CheckpointError, ConfigError, InputError, Unsupported
from lens_plugins.hosts.instructblip import GENERATION
from lens_plugins.hosts.prefix import sampled, with_penalty
from lens_plugins.testing.small import HOSTS, small_host, small_input, small_lens, write_host

PROMPTS = ("a", "what is this piano", "tell a short story of the photo")


def test_the_prefix_is_what_the_models_own_pieces_make(host, pixels):
    features = host.vit.encode(host.vit.embed_image(pixels))
    model = host.model
    queries = model.query_tokens.expand(2, -1, -1)
    if host.model.config.model_type.startswith("instructblip"):
        ids, mask = torch.tensor([[1, 5, 6, 2], [1, 7, 2, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
        own = model.qformer(
            input_ids=ids,
            attention_mask=torch.cat([torch.ones(2, 3, dtype=torch.long), mask], 1),
            query_embeds=queries,
            encoder_hidden_states=features,
        )[0][:, :3]
        made = host.prefix(features, ids, mask)
        assert not torch.allclose(made[1], host.prefix(features, ids)[1], atol=1e-4)
    else:
        own = model.qformer(query_embeds=queries, encoder_hidden_states=features)[0]
        made = host.prefix(features)
    torch.testing.assert_close(made, model.language_projection(own))


def test_a_picture_is_answered_as_the_model_answers_it(host_folder, pixels):
    """Greedy, no penalty: then placeholders in the prompt, as transformers' own `generate` has them, count nothing."""
    host = load_host(host_folder("instructblip-llama"))
    ids = torch.tensor([host.prompt_ids("what is this")])
    qformer = host.qformer_text(["what is this"])
    own = host.model.generate(
        pixel_values=pixels[:1],
        input_ids=torch.cat([torch.full((1, 3), 39), ids], 1),
        qformer_input_ids=qformer[0],
        qformer_attention_mask=qformer[1],
        max_new_tokens=6,
        do_sample=False,
    )[:, 3 + ids.shape[1] :]
    features = host.vit.encode(host.vit.embed_image(pixels[:1]))
    assert torch.equal(host.generate_from_prefix(host.prefix(features, *qformer), ids, max_new_tokens=6), own)


def test_padded_prompts_in_a_batch_answer_as_alone(host):
    host.plug(small_lens("audio"))
    inputs = [small_input("image"), small_input("audio"), small_input("image", seed=7)]
    requests = [Request(i, p) for i, p in zip(inputs, PROMPTS)]
    for options in ({"num_beams": 1}, {"num_beams": 3}):
        together = host.generate_batch(requests, max_new_tokens=8, **options)
        assert together == [host.generate(r.inputs, r.prompt, max_new_tokens=8, **options) for r in requests]


def test_decoder_only_pads_left_and_t5_right(host):
    seen = [host.look(small_input("image"))] * 2
    embeds, mask = host._batch(seen, ["a", "what is this piano"])
    short = mask[0].tolist()
    assert embeds.shape[:2] == mask.shape
    assert 0 in short
    assert mask[1].all()
    if host.language_model.config.is_encoder_decoder:
        assert short == sorted(short, reverse=True)
    else:
        assert short == sorted(short)


def test_a_padded_mask_moves_no_logits(host):
    prefix = host.prefixes([host.look(small_input("image"))], ["a"])[0][None]
    encoder_decoder = host.language_model.config.is_encoder_decoder
    padded, mask = ([4, 9, 0], [1, 1, 0]) if encoder_decoder else ([0, 4, 9], [0, 1, 1])
    alone = host.logits(prefix, torch.tensor([[4, 9]]))
    joined = host.logits(prefix, torch.tensor([padded]), torch.tensor([mask]))
    assert alone.shape[1] == (1 if encoder_decoder else prefix.shape[1] + 2)
    torch.testing.assert_close(joined[:, -1], alone[:, -1])
    if not encoder_decoder:
        torch.testing.assert_close(joined[:, : prefix.shape[1]], alone[:, : prefix.shape[1]])


def test_new_tokens_alone_come_back(host):
    prefix = host.prefixes([host.look(small_input("image"))], ["a"])[0][None]
    ids = torch.tensor([[4, 9]])
    made = host.generate_from_prefix(prefix, ids, max_new_tokens=5, min_new_tokens=5)
    assert made.shape == (1, 5)
    again = host.generate_from_prefix([prefix[:, :1], prefix[:, 1:]], ids, max_new_tokens=5, min_new_tokens=5)
    assert torch.equal(made, again)


def test_the_penalty_sees_new_tokens_only(instructblip):
    """Word for word: the logit of a word said before is divided by 1.5, prompt words keep theirs."""
    prefix = instructblip.prefixes([instructblip.look(small_input("image"))], ["a"])[0][None]
    ids = torch.tensor([[4, 9, 9, 9]])
    how = {"max_new_tokens": 2, "min_new_tokens": 2, "output_scores": True, "return_dict_in_generate": True}
    embeds, mask = instructblip._embedded(prefix, ids, None)
    plain = instructblip.language_model.generate(inputs_embeds=embeds, attention_mask=mask, **how)
    made = instructblip.language_model.generate(
        inputs_embeds=embeds, attention_mask=mask, **with_penalty({**how, "repetition_penalty": 1.5})
    )
    assert torch.equal(made.scores[0], plain.scores[0])
    said = int(made.sequences[0, 0])
    before, after = plain.scores[1][0], made.scores[1][0]
    value = before[said]
    torch.testing.assert_close(after[said], value / 1.5 if value > 0 else value * 1.5)
    others = torch.arange(len(before)) != said
    assert torch.equal(after[others], before[others])


def test_the_defaults_are_lavis_own(instructblip):
    assert instructblip.generation == GENERATION
    assert GENERATION == {
        "num_beams": 5,
        "max_new_tokens": 256,
        "min_new_tokens": 1,
        "repetition_penalty": 1.5,
        "length_penalty": 1.0,
    }
    assert sampled({"do_sample": True})["top_p"] == 0.9
    assert sampled({"do_sample": True, "top_p": 0.5})["top_p"] == 0.5
    assert "top_p" not in sampled({})


def test_a_folder_may_set_its_own_defaults(tmp_path):
    folder = write_host(tmp_path / "own", "instructblip-llama")
    model = small_host("instructblip-llama")
    model.generation_config.num_beams, model.generation_config.repetition_penalty = 2, 1.1
    model.generation_config.save_pretrained(folder)
    own = load_host(folder).generation
    assert (own["num_beams"], own["repetition_penalty"], own["max_new_tokens"]) == (2, 1.1, 256)


@pytest.mark.parametrize("name", HOSTS)
def test_default_prompts(host_folder, name):
    host = load_host(host_folder(name))
    expected = {"instructblip": "A short image caption.", "instructblipvideo": "A short image caption."}
    expected |= {"blip2": "a photo of", "minigpt4": "Describe this image in detail."}
    assert host.default_prompt == expected[name.split("-")[0]]


def test_prompts_are_raw_and_begin_as_the_tokenizer_says(host_folder):
    start = {"instructblip-llama": 1, "blip2-opt": 2, "instructblip-t5": None}
    for name, first in start.items():
        host = load_host(host_folder(name))
        ids = host.prompt_ids("what is this")
        words = host.tokenizer.convert_tokens_to_ids(["what", "is", "this"])
        assert ids == ([first, *words] if first else [*words, 2])


def test_lavis_vicuna_begins_with_id_2(tmp_path):
    model = small_host("instructblip-llama")
    model.language_model.resize_token_embeddings(32001)
    write_host(tmp_path, "instructblip-llama")
    processor = load_host(tmp_path)
    tokenizer = processor.tokenizer
    tokenizer.add_tokens([f"w{n}" for n in range(len(tokenizer), 32000)])
    tokenizer.add_tokens([AddedToken("[PAD]", special=True)])
    host = load_host(model, processor=processor)
    assert tokenizer.convert_tokens_to_ids("[PAD]") == 32000
    assert host.prompt_ids("what is")[0] == 2
    assert host.prompt_ids("what is")[1:] == processor.prompt_ids("what is")[1:]


def test_id_0_is_dropped_where_it_is_the_unknown_word(instructblip, monkeypatch):
    assert instructblip.decode(torch.tensor([4, 9, 2, 0])) == "a what"
    monkeypatch.setattr(instructblip, "tokenizer", Vicuna())
    assert instructblip.decode(torch.tensor([5, 0, 6])) == "5 6"


class Vicuna:
    def convert_ids_to_tokens(self, number):
        return "<unk>" if number == 0 else str(number)

    def decode(self, ids, skip_special_tokens):
        return " ".join(str(int(i)) for i in ids)


def test_the_qformers_text_is_cut_on_the_left_and_padded_on_the_right(instructblip):
    ids, mask = instructblip.qformer_text(["a " * 100 + "piano " * 100, "what is"])
    assert ids.shape == (2, 128)
    piano, cls, sep = instructblip.qformer_tokenizer.convert_tokens_to_ids(["piano", "[CLS]", "[SEP]"])
    assert (ids[0, 0], ids[0, -1], ids[0, -2]) == (cls, sep, piano)
    assert (ids[0] == piano).sum() == 100
    assert mask[1].tolist() == [1] * 4 + [0] * 124


def test_a_prompt_longer_than_the_language_model_names_both_numbers(instructblip):
    with pytest.raises(InputError, match=r"take 304 positions; the language model of .* has 256"):
        instructblip.generate(small_input("image"), "a " * 300)


def test_equal_units_with_equal_prompts_pass_the_qformer_once(instructblip):
    rows = []
    hook = instructblip.qformer.encoder.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    picture = small_input("image")
    requests = [Request(picture, "a"), Request(picture, "a"), Request(picture, "what is")]
    instructblip.generate_batch(requests, max_new_tokens=2)
    hook.remove()
    assert rows == [2]


def test_an_empty_prompt_is_vectors_alone(instructblip, monkeypatch):
    """Some tokenizers put nothing around a prompt."""
    monkeypatch.setattr(instructblip, "prompt_ids", lambda prompt, count=1: [])
    embeds, mask = instructblip._batch([instructblip.look(small_input("image"))], [""])
    assert embeds.shape == (1, 3, 64)
    assert mask.tolist() == [[1, 1, 1]]
    assert isinstance(instructblip.generate(small_input("image"), "", max_new_tokens=3), str)


def test_two_inputs_of_one_modality_both_count(instructblip):
    a, b = small_input("image"), small_input("image", seed=5)
    for place in ("vit", "qformer", "llm"):
        one, both, twice = (instructblip.look(i, fuse=place) for i in ([a], [a, b], [a, a]))
        made = [instructblip.prefixes([seen], ["a"])[0] for seen in (one, both, twice)]
        assert len(made[1]) == (6 if place == "llm" else 3)
        assert not torch.allclose(made[1], made[2], atol=1e-4)
        assert not torch.allclose(made[1][:3], made[0], atol=1e-4) or place == "llm"


def test_order_of_inputs_counts_only_before_the_language_model(instructblip):
    a, b = small_input("image"), small_input("image", seed=5)
    for place in ("vit", "qformer", "llm"):
        seen = [instructblip.look(pair, fuse=place) for pair in ([a, b], [b, a])]
        one, other = (instructblip.prefixes([s], ["a"])[0] for s in seen)
        assert torch.allclose(one, other, atol=1e-4) == (place != "llm")


def test_blip2_refuses_text_for_its_qformer(host_folder):
    host = load_host(host_folder("blip2-opt"))
    with pytest.raises(Unsupported, match="its Q-Former reads no text, yet qformer_input_ids"):
        host.prefix(torch.zeros(1, 5, 32), torch.tensor([[1, 2]]))


@pytest.mark.parametrize("options", [{"max_new_token": 3}, {"repetition_penalty": -1.0}])
def test_options_that_generate_does_not_know_are_refused(instructblip, options):
    with pytest.raises(ConfigError, match="transformers refuses these generation options"):
        instructblip.generate(small_input("image"), **options)


@pytest.mark.parametrize("several", [0, -1, 1.5, "2"])
def test_another_number_of_replies_than_a_whole_one_is_refused(instructblip, several):
    with pytest.raises(ConfigError, match=r"num_return_sequences is .*; it must be a whole number of at least 1"):
        instructblip.generate(small_input("image"), num_return_sequences=several, num_beams=2, max_new_tokens=2)


def test_beams_are_read_once(instructblip):
    """Their vectors and prompt pass the language model in one row each, and the answer is that of every beam's own."""
    lengths = []
    first = instructblip.language_model.model.layers[0]
    hook = first.register_forward_hook(lambda _, given, __: lengths.append(tuple(given[0].shape[:2])))
    given = [Request(small_input("image", seed=seed), prompt) for seed, prompt in enumerate(PROMPTS)]
    how = {"num_beams": 3, "max_new_tokens": 6, "min_new_tokens": 6}
    once = instructblip.generate_batch(given, **how)
    longest = max(length for _, length in lengths)
    assert lengths[:2] == [(3, longest), (9, 1)]
    lengths.clear()
    each = instructblip.generate_batch(given, use_cache=True, **how)
    assert lengths[0] == (9, longest + 1)
    hook.remove()
    assert once == each


def test_a_loaded_model_works_without_tokenizers_until_text_is_needed(pixels):
    host = load_host(small_host("instructblip-llama"))
    features = host.vit.encode(host.vit.embed_image(pixels))
    prefix = host.prefix(features, torch.tensor([[1, 5], [1, 6]]))
    assert host.generate_from_prefix(prefix, torch.tensor([[4], [5]]), max_new_tokens=3, min_new_tokens=3).shape == (
        2,
        3,
    )
    with pytest.raises(CheckpointError, match=r"lacks the tokenizer of its Q-Former.*processor="):
        host.generate(small_input("image"))


def test_a_loaded_model_finds_its_tokenizers_where_it_came_from(host_folder):
    folder = host_folder("instructblip-llama")
    model = InstructBlipForConditionalGeneration.from_pretrained(folder)
    picture = small_input("image")
    assert load_host(model).generate(picture, max_new_tokens=4) == load_host(folder).generate(picture, max_new_tokens=4)


def test_a_tokenizer_of_another_model_names_both_numbers(instructblip):
    instructblip.tokenizer.add_tokens([f"w{n}" for n in range(30)])
    with pytest.raises(CheckpointError, match=r"makes id 48, the model has 40 embeddings"):
        instructblip.generate(small_input("image"), "w29")


def test_half_precision_and_float32_parts_meet(host_folder):
    host = load_host(host_folder("blip2-t5"), dtype="bfloat16")
    assert host.vit.dtype == torch.bfloat16
    host.plug(small_lens("point_cloud"))
    assert isinstance(host.generate(small_input("point_cloud"), max_new_tokens=3), str)


def test_pictures_are_prepared_as_transformers_does(instructblip, tmp_path):
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 31, 3), dtype=np.uint8))
    processor = BlipImageProcessorPil(size={"height": 28, "width": 28})
    own = processor(picture, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(instructblip.read(picture).tensor, own, atol=1e-5, rtol=0)


FRAMES = 4


@pytest.fixture
def video(host_folder):
    return load_host(host_folder("instructblipvideo-llama"))


@pytest.fixture
def frames():
    return torch.stack([small_input("image", seed=seed).tensor for seed in range(FRAMES)])


def own_inputs(video, frames, prompt):
    """What transformers' own class reads: a placeholder for each vector, then the prompt."""
    ids = video.prompt_ids(prompt)
    places = FRAMES * video.model.config.num_query_tokens
    qformer_ids, qformer_mask = video.qformer_text([prompt])
    return {
        "pixel_values": frames[None],
        "input_ids": torch.tensor([[video.model.config.video_token_id] * places + ids]),
        "qformer_input_ids": qformer_ids,
        "qformer_attention_mask": qformer_mask,
    }, ids


def test_frames_give_the_logits_of_transformers_own_forward(video, frames):
    inputs, ids = own_inputs(video, frames, "what is this")
    own = video.model(**inputs).logits
    features = video.vit.encode(video.vit.embed_image(frames))  # (F, T, D)
    text = (inputs["qformer_input_ids"], inputs["qformer_attention_mask"])
    prefixes = [video.prefix(frame[None], *text) for frame in features]
    torch.testing.assert_close(video.logits(prefixes, torch.tensor([ids])), own)


def test_a_list_of_frames_and_a_clip_of_frames_are_answered_as_transformers_answers(video, frames):
    inputs, _ = own_inputs(video, frames, "what is this")
    how = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
    made = video.model.generate(**inputs, **how)[0, inputs["input_ids"].shape[1] :]
    plain = {**how, "num_beams": 1, "repetition_penalty": 1.0}
    pictures = [ModalityInput("image", frame, None) for frame in frames]
    assert video.generate(pictures, "what is this", **plain) == video.decode(made)
    assert video.generate(ModalityInput("image", frames, None), "what is this", **plain) == video.decode(made)
    assert video.generate(pictures[::-1], "what is this", **plain) != video.decode(made)


def test_frames_before_a_still_picture_host_are_the_same_at_the_language_model(video, instructblip, frames):
    given = [ModalityInput("image", frame, None) for frame in frames]
    how = {"max_new_tokens": 8, "num_beams": 1}
    assert video.generate(given, **how) == instructblip.generate(given, fuse="llm", **how)
    assert len(video.look(given).features) == FRAMES
    assert len(instructblip.look(given).features) == 1


def test_a_loaded_video_model_is_known(video):
    assert type(load_host(video.model)) is type(video)


def test_a_tokenizer_with_damaged_settings_is_one_sentence(tmp_path):
    folder = write_host(tmp_path, "instructblip-llama")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": "many"}))
    with pytest.raises(CheckpointError, match="tokenizer"):
        load_host(folder)
