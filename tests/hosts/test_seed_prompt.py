import json
from types import SimpleNamespace

import pytest
import torch

from lens_plugins.errors import CheckpointError, ConfigError, InputError
from lens_plugins.hosts.loading import load_tokenizer
from lens_plugins.hosts.seed_llama.prompt import STYLES, PromptStyle, place_pictures, style_of
from lens_plugins.hosts.seed_llama.vocabulary import BEGIN, CODE, END, CodeVocabulary
from lens_plugins.testing.small_seed import small_words

HISTORY = [("<img>A</img>what is it", "a chair"), ("make it red", "<img>B</img>")]


def test_8b_prompts():
    style = STYLES["vicuna"]
    assert style.render("<img>A</img>what is it") == "USER: <img>A</img>what is it\nASSISTANT:"
    assert style.render("make it blue", HISTORY) == (
        "USER: <img>A</img>what is it\nASSISTANT: a chair\nUSER: make it red\nASSISTANT: <img>B</img>\n"
        "USER: make it blue\nASSISTANT:"
    )


def test_14b_prompts():
    style = STYLES["llama2"]
    assert style.render("what is it") == "[INST] what is it [/INST]\n"
    assert style.render("make it blue", HISTORY) == (
        "[INST] <img>A</img>what is it [/INST]\na chair\n[INST] make it red [/INST]\n<img>B</img>\n"
        "[INST] make it blue [/INST]\n"
    )


def test_the_configuration_chooses_and_is_overridden():
    small, large = SimpleNamespace(num_hidden_layers=32), SimpleNamespace(num_hidden_layers=40)
    assert style_of(small) == STYLES["vicuna"]
    assert style_of(large) == STYLES["llama2"]
    assert style_of(large, "vicuna") == STYLES["vicuna"]
    own = {"before": "Q: ", "after": " A:", "lead": " ", "end": ";"}
    assert style_of(small, own) == PromptStyle(**own)
    with pytest.raises(ConfigError, match="no prompt style 'vicunna'; known: vicuna, llama2"):
        style_of(small, "vicunna")


def test_pictures_stand_in_front_or_in_their_places():
    assert place_pictures("combine them", ["A", "B"]) == "ABcombine them"
    assert place_pictures("<image>, <image>, combine", ["A", "B"]) == "A, B, combine"
    assert place_pictures("hello", []) == "hello"
    with pytest.raises(InputError, match="<image> 1 times, there are 2 pictures"):
        place_pictures("is <image> red", ["A", "B"])


@pytest.mark.parametrize("prompt", ["what is <img>", "</img> this", "<img_00003>"])
def test_tokens_of_pictures_are_not_taken_from_users(prompt):
    with pytest.raises(InputError, match="write <image> where a picture goes"):
        place_pictures(prompt, [])


@pytest.fixture(scope="module")
def words():
    return small_words()


@pytest.fixture(scope="module")
def vocabulary(words):
    return CodeVocabulary.of(words, codes=17, queries=3, source="it")


def ids(words, text):
    return words(text, add_special_tokens=False)["input_ids"]


def test_ids_come_from_the_tokenizer(words, vocabulary):
    assert vocabulary.ids[4] == words.convert_tokens_to_ids("<img_00004>")
    assert vocabulary.ids[1] < vocabulary.ids[0]  # the small tokenizer has them the other way round
    assert vocabulary.text([3, 0, 16]) == "<img><img_00003><img_00000><img_00016></img>"


def test_a_tokenizer_without_pictures_is_refused(words):
    with pytest.raises(CheckpointError, match=r"lacks 19 of the 19 tokens of pictures, the first is <img>;.* 17 codes"):
        CodeVocabulary.of(small_words(codes=0), codes=17, queries=3, source="a LLaMA")
    with pytest.raises(CheckpointError, match="lacks 3 of the 22 tokens of pictures, the first is <img_00017>"):
        CodeVocabulary.of(words, codes=20, queries=3, source="a LLaMA")


def test_text_and_pictures_keep_their_order(words, vocabulary):
    text = "a red <img><img_00001><img_00002><img_00003></img> piano <img><img_00004><img_00005><img_00006></img> ."
    written = vocabulary.read(ids(words, text), words)
    assert written.problems == ()
    first, one, second, two, third = written.parts
    assert (first, second, third) == ("a red", "piano", ".")
    assert (one.tolist(), two.tolist()) == ([1, 2, 3], [4, 5, 6])
    assert written.text == "a red piano ."
    assert vocabulary.markup(written) == text


def test_a_forced_picture_belongs_to_the_reply(words, vocabulary):
    written = vocabulary.read(ids(words, "<img_00001><img_00002><img_00003></img> a piano </s>"), words, forced=True)
    assert written.problems == ()
    assert written.parts[0].tolist() == [1, 2, 3]
    assert written.parts[1:] == ("a piano",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a <img><img_00001></img> piano", "A picture has 1 codes, it must have 3"),
        ("a <img></img> piano", "A picture has 0 codes, it must have 3"),
        ("a <img><img_00001><img_00002><img_00003><img_00004></img> piano", "A picture has 4 codes, it must have 3"),
        ("a <img_00001> piano", "A picture has 1 codes, it must have 3"),
        ("a </img> piano", "A picture has 0 codes, it must have 3"),
        ("a <img><img_00001><img_00002><img_00003> piano", "A picture of 3 codes lacks its </img>"),
        ("a <img_00001><img_00002><img_00003></img> piano", "A picture of 3 codes lacks its <img>"),
    ],
)
def test_a_malformed_picture_is_reported_and_the_text_kept(words, vocabulary, text, problem):
    written = vocabulary.read(ids(words, text), words)
    assert written.problems == (problem,)
    assert written.parts == ("a", "piano")


def test_a_good_picture_survives_a_bad_one_beside_it(words, vocabulary):
    text = "<img><img_00001><img><img_00004><img_00005><img_00006></img></img>"
    written = vocabulary.read(ids(words, text), words)
    assert [part.tolist() for part in written.parts] == [[4, 5, 6]]
    assert len(written.problems) == 2


@pytest.mark.parametrize("end", ["<img>", "<img><img_00001>", "<img><img_00001><img_00002><img_00003>"])
def test_a_reply_cut_off_inside_a_picture_says_so(words, vocabulary, end):
    written = vocabulary.read(ids(words, f"a piano {end}"), words)
    assert written.parts == ("a piano",)
    assert len(written.problems) == 1
    assert written.problems[0].endswith("cut off inside it, allow more max_new_tokens")


def test_codes_are_tensors_of_whole_numbers(words, vocabulary):
    (codes,) = vocabulary.read(ids(words, vocabulary.text([7, 8, 9])), words).parts
    assert codes.dtype == torch.int64


@pytest.mark.parametrize("named", ["LlamaTokenizer", "SeedLlamaTokenizer"])
def test_llamas_own_tokenizer_reads_and_writes_pictures(tmp_path, named):
    from transformers import LlamaTokenizer

    characters = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "▁", *map(chr, range(33, 127))]
    llama = LlamaTokenizer(vocab={token: n for n, token in enumerate(characters)}, merges=[])
    llama.add_tokens([BEGIN, END, *(CODE.format(code) for code in range(4))])
    llama.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": named}))
    words = load_tokenizer(tmp_path)
    vocabulary = CodeVocabulary.of(words, codes=4, queries=2, source="it")
    prompt = words.bos_token + STYLES["vicuna"].render(vocabulary.text([3, 0]) + "it")
    tokens = words.convert_ids_to_tokens(ids(words, prompt))
    picture = [BEGIN, "<img_00003>", "<img_00000>", END]
    assert tokens == ["<s>", *"USER:▁", *picture, *"it", "<0x0A>", *"ASSISTANT:"]
    written = vocabulary.read(ids(words, f"a b {vocabulary.text([1, 2])} c\nd</s>"), words)
    assert written.parts[0] == "a b"
    assert written.parts[1].tolist() == [1, 2]
    assert written.parts[2] == "c\nd"
