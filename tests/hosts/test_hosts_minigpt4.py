"""MiniGPT-4: its files, and pictures inside the prompt, against its own steps taken by hand."""

import json

import pytest
import torch

import lens_plugins as lp
from lens_plugins.errors import CheckpointError, ConfigError
from lens_plugins.hosts.convert import convert_minigpt4, from_minigpt4
from lens_plugins.hosts.layouts import minigpt4
from lens_plugins.hosts.minigpt4 import GENERATION, MiniGPT4Host
from lens_plugins.hosts.prefix import HERE
from lens_plugins.testing import laws
from lens_plugins.testing.small import small_host, small_input, small_lens
from lens_plugins.testing.small_prefix import HEADS, write_minigpt4_files


@pytest.fixture
def files(tmp_path):
    return write_minigpt4_files(tmp_path / "files")


@pytest.fixture
def host(host_folder):
    return lp.load_host(host_folder("minigpt4-llama"))


def by_hand(host, pixels, before, between, after):
    """Embeddings (1, L, H) of a prompt in which pictures (P, 3, S, S) stand, with transformers' pieces alone."""
    model, words = host.model, host.tokenizer
    features = model.vision_model(pixels).last_hidden_state
    queries = model.query_tokens.expand(len(pixels), -1, -1)
    vectors = model.language_projection(model.qformer(query_embeds=queries, encoder_hidden_states=features)[0])
    texts = [before, *[between] * (len(pixels) - 1), after]
    ids = [
        words(text, add_special_tokens=number == 0, return_tensors="pt").input_ids for number, text in enumerate(texts)
    ]
    first, *rest = [model.language_model.get_input_embeddings()(one)[0] for one in ids]
    joined = torch.cat([first, *(part for pair in zip(vectors, rest) for part in pair)])
    return joined[None]


@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize(
    ("template", "before", "after"),
    [
        ("vicuna", "###Human: <Img>", "</Img> what is this ###Assistant: "),
        ("llama2", "[INST] <Img>", "</Img> what is this [/INST] "),
    ],
)
def test_the_prompt_and_the_answer_are_those_of_its_own_steps(files, pictures, template, before, after):
    model = from_minigpt4(**files, template=template, **HEADS)
    host = lp.load_host(model, processor=lp.load_host(convert(files)))
    assert host.tokenizer("<Img>", add_special_tokens=True)["input_ids"][0] == host.tokenizer.bos_token_id
    inputs = [small_input("image", seed=seed) for seed in range(pictures)]
    reference = by_hand(host, torch.stack([one.tensor for one in inputs]), before, "</Img><Img>", after)
    embeds, mask = host._batch([host.look(inputs, fuse="llm")], ["what is this"])
    torch.testing.assert_close(embeds, reference)
    assert mask.all()
    how = {"max_new_tokens": 12, "suppress_tokens": [host.tokenizer.convert_tokens_to_ids("###")]}
    ids = model.language_model.generate(inputs_embeds=reference, do_sample=False, pad_token_id=0, **how)
    own = host.generate(inputs, "what is this", fuse="llm", repetition_penalty=1.0, min_new_tokens=0, **how)
    assert own == host.tokenizer.decode(ids[0], skip_special_tokens=True).strip()
    assert own


def convert(files):
    folder = files["vit"].parent / "host"
    return folder if folder.is_dir() else convert_minigpt4(folder, **files, **HEADS)


def test_tensor_level_calls_put_the_vectors_where_the_ids_say(host):
    prefix = host.prefixes([host.look([small_input("image"), small_input("image", seed=4)], fuse="llm")], ["a"])[0][
        None
    ]
    text = host.language_model.get_input_embeddings()
    ids = torch.tensor([[1, 5, HERE, 6, HERE, 7]])
    first, second = prefix.chunk(2, dim=1)
    by_hand = torch.cat([text(ids[:, :2]), first, text(ids[:, 3:4]), second, text(ids[:, 5:])], dim=1)
    torch.testing.assert_close(host.logits(prefix, ids), host.language_model(inputs_embeds=by_hand).logits)
    torch.testing.assert_close(host.logits([first, second], ids), host.logits(prefix, ids))


@pytest.mark.parametrize("seed", range(3))
def test_an_answer_ends_at_the_next_speaker(host, monkeypatch, seed):
    """Both in one piece and in pieces, whichever way the sign is written."""
    words = host.tokenizer
    hashes = words.convert_tokens_to_ids("###")
    assert hashes == 19
    said = [5, 6, 7, hashes, words.convert_tokens_to_ids("Human"), 8]
    forced = iter(said)

    def force(ids, scores):
        return torch.full_like(scores, -torch.inf).index_fill_(1, torch.tensor([next(forced)]), 0.0)

    picture = small_input("image", seed=seed)
    whole = host.generate(picture, logits_processor=[force], max_new_tokens=6)
    assert whole == words.decode(said[:3])
    assert next(forced) == words.convert_tokens_to_ids("Human")  # nothing was written after the sign
    forced = iter(said)
    pieces = list(host.stream(picture, logits_processor=[force], max_new_tokens=6))
    assert "".join(pieces).strip() == whole
    assert not any("#" in piece for piece in pieces)


def test_a_row_that_has_ended_leaves_its_neighbours_alone(host):
    requests = [lp.Request(small_input("image", seed=seed), prompt) for seed, prompt in ((0, "a"), (1, "what is this"))]
    host.plug(small_lens("audio"))
    requests.append(lp.Request(small_input("audio"), "tell a story"))
    together = host.generate_batch(requests, max_new_tokens=24)
    assert together == [host.generate(r.inputs, r.prompt, max_new_tokens=24) for r in requests]


def test_every_clip_has_a_place_of_its_own(host):
    host.plug(small_lens("audio"))
    seen = host.look(small_input("audio", clips=3))
    ids = host.prompt_ids("a", len(seen.features))
    assert ids.count(HERE) == 3
    embeds, _ = host._batch([seen], ["a"])
    queries = host.model.config.num_query_tokens
    assert embeds.shape[1] == len(ids) - 3 + 3 * queries


def test_braces_in_a_question_stay(host):
    plain, braces = host.prompt_ids("what"), host.prompt_ids("what {} {name}")
    assert len(braces) > len(plain)


def test_defaults(host):
    assert isinstance(host, MiniGPT4Host)
    assert host.default_prompt == "Describe this image in detail."
    assert host.generation == GENERATION
    assert host.stop == "###"


def test_every_weight_arrives_and_what_is_not_wanted_does_not(files):
    model = from_minigpt4(**files, **HEADS)
    expected = small_host("minigpt4-llama").state_dict()
    made = model.state_dict()
    assert made.keys() == expected.keys()
    assert not [key for key, value in made.items() if not torch.equal(value, expected[key])]
    assert model.vision_model.post_layernorm.eps == 1e-5
    assert type(lp.load_host(model)) is MiniGPT4Host


def test_its_tables_keep_the_laws(files):
    qformer = torch.load(files["qformer"], weights_only=True)["model"]
    qformer["Qformer.bert.embeddings.position_ids"] = torch.arange(4)[None]
    projection = torch.load(files["projection"], weights_only=True)["model"]
    for rows, state in ((minigpt4.QFORMER, qformer), (minigpt4.PROJECTION, projection)):
        laws.there_and_back(rows, state)
        laws.no_two_rows_match_one_key(rows, state)
        laws.every_row_is_used(rows, [state])


def test_the_template_goes_with_the_language_model(files):
    config = json.loads((files["llm"] / "config.json").read_text())
    assert from_minigpt4(**files, **HEADS).config.minigpt4_template == "vicuna"
    (files["llm"] / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    assert from_minigpt4(**files, **HEADS).config.minigpt4_template == "llama2"
    with pytest.raises(ConfigError, match="no template 'llama3' of MiniGPT-4; known: vicuna, llama2"):
        from_minigpt4(**files, template="llama3", **HEADS)


def test_a_converted_folder_is_known_by_its_note_and_answers_as_the_model(files):
    folder = convert(files)
    assert json.loads((folder / "lens_plugins.json").read_text())["kind"] == "minigpt4"
    loaded = lp.load_host(folder)
    direct = lp.load_host(from_minigpt4(**files, **HEADS), processor=loaded)
    assert type(loaded) is type(direct) is MiniGPT4Host
    given = small_input("image")
    assert loaded.generate(given, max_new_tokens=8) == direct.generate(given, max_new_tokens=8)
    with pytest.raises(ConfigError, match="not an empty folder"):
        convert_minigpt4(folder, **files, **HEADS)


@pytest.mark.parametrize(
    ("which", "change", "message"),
    [
        (
            "projection",
            lambda state: state.pop("llama_proj.bias"),
            r"pretrained_minigpt4\.pth .*missing: llama_proj\.bias",
        ),
        (
            "projection",
            lambda state: state.update({"llama_proj.weight": torch.ones(8, 24)}),
            r"\(8, 24\), expected \(64, 24\)",
        ),
        ("projection", lambda state: state.update(extra=torch.ones(1)), "1 unexpected: extra"),
        ("qformer", lambda state: state.pop("ln_vision.bias"), r"flant5xxl\.pth .*missing: ln_vision\.bias"),
        ("qformer", lambda state: state.pop("query_tokens"), "together lack query_tokens"),
    ],
)
def test_every_defect_is_named(files, which, change, message):
    whole = torch.load(files[which], weights_only=True)
    change(whole["model"])
    torch.save(whole, files[which])
    with pytest.raises(CheckpointError, match=message):
        from_minigpt4(**files, **HEADS)
