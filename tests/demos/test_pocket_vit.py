"""How often each picture is drawn: by pack, by kind, and more often where a sound needs a name."""

import types
from collections import Counter

import numpy as np
import pytest
import torch
from pocket import vit
from pocket.qformer import QUERIES, _word_loss


def row(pack, name, label=None, split="train"):
    return {"pack": pack, "object": f"{pack}-{name}", "name": name, "class": label, "split": split}


ROWS = [
    row("sweethome", "deck chair", "chair"),
    row("sweethome", "lamp", "lamp", "test"),
    *(row(pack, "chair", "chair") for pack in ("generated", "clipart", "materials")),
    row("emoji", "smile"),
    row("stamps", "dog", "animal"),
    row("stamps", "flamingo"),
]


def test_packs_are_drawn_by_their_shares_and_held_out_pictures_never():
    labels = vit.Labels.of(ROWS)
    assert 1 not in labels.train
    found = {
        pack: sum(w for i, w in zip(labels.train, labels.weight) if ROWS[i]["pack"] == pack) for pack in vit.SHARES
    }
    assert found == pytest.approx(vit.SHARES)


def test_views_show_things_that_have_a_sound_more_often(monkeypatch):
    monkeypatch.setattr(vit.Views, "make", lambda pictures, draw, folder, count, size: draw)
    draw = vit.make_views(types.SimpleNamespace(rows=ROWS), None)
    seen = Counter(draw(0, 20_000).tolist())
    assert seen[6] / seen[7] == pytest.approx(vit.HEARD, rel=0.15)  # of one pack, the dog and the flamingo
    assert np.array_equal(draw(3, 8), draw(3, 8))


def test_the_word_loss_asks_for_the_answer_and_one_place_after_it():
    vectors = torch.eye(4)
    rows = torch.full((1, QUERIES), 3)
    rows[0, :2] = torch.tensor([0, 1])
    words = types.SimpleNamespace(vectors=vectors, fill=3, rows=lambda answers: rows)
    pupil = types.SimpleNamespace(word_scale=torch.tensor(4.0))
    right = vectors[rows]
    named, near = _word_loss(pupil, words, right, ["a chair"])
    assert named < 1e-6
    assert near == 0
    for place, costs in ((0, True), (2, True), (3, False)):
        wrong = right.clone()
        wrong[0, place] = vectors[2]
        assert (_word_loss(pupil, words, wrong, ["a chair"])[0] > 0.1) == costs
        assert _word_loss(pupil, words, wrong, ["a chair"])[1] > 0
