from collections import Counter

import numpy as np
import pytest
from pocket.dialogue import USES, Exchange, all_texts, colour_of
from pocket.heldout import names_class

ROW = {"class": "table", "name": "office table", "caption": "a brown wooden office table", "pack": "sweethome"}
NAMES = ("a table", "an office table")
CAPTIONS = ("a brown table", "a brown wooden office table")
FLAMINGO = {"class": None, "name": "flamingo", "caption": "a flamingo", "pack": "stamps"}


@pytest.mark.parametrize(
    ("caption", "colour"), [("a brown wooden office table", "brown"), ("a flamingo", None), ("red shoes", "red")]
)
def test_colour_is_read_off_the_caption(caption, colour):
    assert colour_of(caption) == colour


def test_answers_are_true():
    exchange, rng = Exchange(["office table", "flamingo", "table", "chair"]), np.random.default_rng(0)
    kinds = Counter()
    for _ in range(600):
        prompt, answer = exchange.draw(ROW, rng)
        if answer in ("yes", "no"):
            assert (answer == "yes") == ("table" in prompt)
        else:
            assert answer in ("brown", USES["table"], *NAMES, *CAPTIONS)
        kinds[answer] += 1
    assert min(kinds.values()) > 10
    assert len(kinds) == 8
    assert kinds["a brown table"] > kinds[ROW["caption"]]  # the class's plain name is what counts


def test_nothing_is_made_up_about_what_has_no_facts():
    exchange, rng = Exchange(["flamingo"]), np.random.default_rng(0)
    assert {exchange.draw(FLAMINGO, rng)[1] for _ in range(200)} <= {"a flamingo", "yes"}


@pytest.mark.parametrize("pack", ["emoji", "sweethome"])
def test_an_animal_is_called_by_its_own_name(pack):
    row = {"class": "animal", "name": "dog", "caption": "a brown dog", "pack": pack}
    exchange, rng = Exchange(["dog", "flamingo"]), np.random.default_rng(2)
    answers = {exchange.draw(row, rng)[1] for _ in range(300)}
    assert answers == {"a dog", "a brown dog", "brown", USES["animal"], "yes", "no"}
    assert exchange.draw_pair(row, FLAMINGO, rng)[1] == "a dog and a flamingo"


def test_the_vocabulary_covers_every_draw():
    corpus = set(all_texts([ROW, FLAMINGO]))
    exchange, rng = Exchange(["office table", "table", "flamingo"]), np.random.default_rng(1)
    for row in (ROW, FLAMINGO):
        for _ in range(300):
            assert set(exchange.draw(row, rng)) <= corpus | {"an office table", "a table", "a flamingo"}


@pytest.mark.parametrize(
    ("text", "label", "named"),
    [
        ("a white wooden bookcase", "bookshelf", True),
        ("two chairs", "chair", True),
        ("an armchair", "chair", False),
        ("a dog", "animal", True),
        ("a table lamp", "chair", False),
        ("", "chair", False),
    ],
)
def test_what_counts_as_naming_a_class(text, label, named):
    assert names_class(text, label) is named
