import pytest
import torch

from lens_plugins.hosts.seed_llama.constrain import WholePictures
from lens_plugins.hosts.seed_llama.vocabulary import CodeVocabulary
from lens_plugins.testing.small_seed import small_seed_llama, small_words

QUERIES = 5
WORD = 7  # the id of an ordinary word


@pytest.fixture(scope="module")
def words():
    return small_words()


@pytest.fixture(scope="module")
def vocabulary(words):
    return CodeVocabulary.of(words, codes=17, queries=QUERIES, source="it")


def allowed(vocabulary, made, *, forced=False, limit=100, prompt=()):
    """The ids that may follow `made`."""
    size = vocabulary.largest + 1
    whole = WholePictures(vocabulary, size, forced=forced, prompt_length=len(prompt), max_new_tokens=limit)
    ids = torch.tensor([[*prompt, *made]], dtype=torch.long)
    scores = whole(ids, torch.zeros(1, size))
    return set(scores[0].isfinite().nonzero()[:, 0].tolist())


def test_what_may_follow_what(vocabulary):
    code, begin, end = set(vocabulary.ids), vocabulary.begin, vocabulary.end
    text = set(range(vocabulary.largest + 1)) - code - {end}
    whole = [begin, *vocabulary.ids[:QUERIES], end]
    for forced in (False, True):
        assert allowed(vocabulary, [WORD] * 9, forced=forced) == text
        assert allowed(vocabulary, [WORD] * 9 + [begin], forced=forced) == code
        for n in range(1, QUERIES):
            assert allowed(vocabulary, [WORD] * 9 + whole[: n + 1], forced=forced) == code
        assert allowed(vocabulary, [WORD] * 9 + whole[:-1], forced=forced) == {end}
        assert allowed(vocabulary, [WORD] * 9 + whole, forced=forced) == text
        assert allowed(vocabulary, [WORD] * 9 + [*whole, begin], forced=forced) == code


def test_a_forced_picture_is_open_from_the_start(vocabulary):
    codes = list(vocabulary.ids[:QUERIES])
    for n in range(QUERIES):
        assert allowed(vocabulary, codes[:n], forced=True) == set(vocabulary.ids)
    assert allowed(vocabulary, codes, forced=True) == {vocabulary.end}
    assert vocabulary.begin in allowed(vocabulary, [*codes, vocabulary.end], forced=True)
    assert vocabulary.begin in allowed(vocabulary, [])


def test_the_prompt_is_not_looked_at(vocabulary):
    prompt = [vocabulary.begin, vocabulary.ids[3]]
    assert WORD in allowed(vocabulary, [], prompt=prompt)
    assert WORD in allowed(vocabulary, [WORD], prompt=prompt)


def test_a_picture_that_cannot_be_finished_is_not_begun(vocabulary):
    need = QUERIES + 2
    assert vocabulary.begin in allowed(vocabulary, [WORD] * 3, limit=3 + need)
    assert vocabulary.begin not in allowed(vocabulary, [WORD] * 3, limit=2 + need)


@pytest.fixture(scope="module")
def language_model():
    return small_seed_llama().language_model


@pytest.mark.parametrize("embeddings", [False, True], ids=["ids", "embeddings"])
@pytest.mark.parametrize(
    "how",
    [
        {"do_sample": False},
        {"num_beams": 3, "do_sample": False},
        {"num_beams": 3, "do_sample": True},
        {"do_sample": True, "temperature": 5.0, "top_k": 0},
    ],
    ids=["greedy", "beams", "beam sampling", "sampling"],
)
@pytest.mark.parametrize("forced", [True, False])
def test_whatever_is_generated_has_whole_pictures_only(language_model, words, vocabulary, how, embeddings, forced):
    from transformers import LogitsProcessorList

    prompt = torch.randint(4, 40, (3, 6), generator=torch.Generator().manual_seed(0))
    given = {"inputs_embeds": language_model.get_input_embeddings()(prompt)} if embeddings else {"input_ids": prompt}
    start = 0 if embeddings else prompt.shape[1]
    whole = WholePictures(vocabulary, vocabulary.largest + 1, forced=forced, prompt_length=start, max_new_tokens=23)
    torch.manual_seed(0)
    ids = language_model.generate(
        **given,
        attention_mask=torch.ones_like(prompt),
        logits_processor=LogitsProcessorList([whole]),
        max_new_tokens=23,
        pad_token_id=0,
        **how,
    )[:, start:]
    for row in ids.tolist():
        written = vocabulary.read(row, words, forced=forced)
        assert written.problems == ()
        if forced:
            assert isinstance(written.parts[0], torch.Tensor)
