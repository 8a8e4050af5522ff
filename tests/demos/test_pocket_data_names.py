"""Classes, names and captions told from catalogue rows."""

from __future__ import annotations

import numpy as np
import pytest
from pocket.data import captions, classes


@pytest.mark.parametrize(
    ("name", "category", "tags", "label", "noun"),
    [
        ("Clear sofa", "Living room", ("Couch",), "sofa", "sofa"),
        ("Toilets unit", "Bathroom", (), "toilet", "toilet"),
        ("Wooden desk", "Office", ("Table",), "desk", "desk"),
        ("Desk lamp", "Lights", (), "lamp", "desk lamp"),
        ("Bar chair", "Kitchen", ("Seat",), "stool", "bar stool"),
        ("Bookcase", "Living room", ("Shelves",), "bookshelf", "bookshelf"),
        ("Female", "Characters", ("Human", "Woman"), "person", "woman"),
        ("Siamese cat", "Characters", ("Animal",), "animal", "cat"),
        ("Seat Leon", "Vehicles", ("Car",), "car", "Seat Leon car"),
        ("Fork lift", "Vehicles", (), "truck", "forklift"),
        ("Rounded type A plug", "Miscellaneous", ("Outlet",), "socket", "wall socket"),
        ("Biplane", "Bedroom", ("Toy",), None, "biplane"),
        ("Bedside table", "Bedroom", ("Nightstand",), None, "bedside table"),
        ("Toilet brush", "Bathroom", (), None, "toilet brush"),
        ("Wheelchair", "Miscellaneous", (), None, "wheelchair"),
    ],
)
def test_a_row_has_its_class_and_noun(name, category, tags, label, noun):
    assert classes.classify(name, category, tags) == label
    assert classes.clean_name(name, category, tags) == noun


@pytest.mark.parametrize(
    ("phrase", "label"),
    [
        ("red office chair", "chair"),
        ("couch", "sofa"),
        ("wine glass", "cup"),
        ("chairs", "chair"),
        ("chairman", None),
        ("street lamp", "lamp"),
    ],
)
def test_a_phrase_belongs_to_the_class_of_its_last_word(phrase, label):
    assert classes.class_of_noun(phrase, classes.CLASSES) == label


def test_the_longest_word_wins():
    assert classes.class_of_noun("leather arm chair", ["chair", "armchair"]) == "armchair"


def test_there_are_at_least_thirty_classes_and_words_name_only_classes():
    assert len(classes.CLASSES) >= 30
    assert set(classes.WORDS) <= set(classes.CLASSES)


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("armchair", "an armchair"),
        ("sports car", "a sports car"),
        ("trousers", "trousers"),
        ("bowl with fruits", "a bowl with fruits"),
        ("bunch of keys", "a bunch of keys"),
        ("bus", "a bus"),
        ("drinking glass", "a drinking glass"),
    ],
)
def test_articles(phrase, said):
    assert classes.with_article(phrase) == said


def _views(*colours):
    stripes = [np.full((2, 20, 20, 4), (*colour, 255), np.uint8) for colour in colours]
    return np.concatenate(stripes, axis=1)


@pytest.mark.parametrize(
    ("colours", "word"),
    [
        ([(200, 20, 20)], "red"),
        ([(120, 70, 30)], "brown"),
        ([(240, 240, 240)], "white"),
        ([(10, 10, 10), (240, 240, 240)], "black and white"),
    ],
)
def test_the_dominant_colour(colours, word):
    found = captions.dominant_colour(_views(*colours))
    assert found is not None
    assert set(found.split(" and ")) == set(word.split(" and "))


def test_a_motley_thing_and_an_empty_view_have_no_colour():
    motley = _views((200, 20, 20), (20, 200, 20), (20, 20, 200), (240, 240, 240))
    assert captions.dominant_colour(motley) is None
    assert captions.dominant_colour(np.zeros((2, 8, 8, 4), np.uint8)) is None


def test_captions_say_nothing_twice():
    assert captions.caption("bookshelf", "bookshelf", "white", "wooden") == "a white wooden bookshelf"
    assert captions.caption("oak table", "table", "brown", "wooden") == "a brown oak table"
    assert captions.caption("glass table", "table", None, "glass") == "a glass table"
    assert captions.caption("cat", "animal", "black", "fabric") == "a black cat"
    assert captions.caption("sitting man", "person", "blue", "fabric") == "a sitting man"
