"""Captions of several systems: what each says, how it scores, the page."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from stub_host import StubHost, vector_of

from lens_plugins import read
from lens_plugins.errors import ConfigError, InputError
from lens_plugins.evaluate import captions as module
from lens_plugins.evaluate.caption_metrics import names_it, score_captions, words_of
from lens_plugins.evaluate.caption_page import write_page
from lens_plugins.evaluate.captions import (
    Setting,
    Thing,
    compare_captions,
    linear_probe,
    nearest_caption,
    read_answers,
    read_things,
)


class WritingHost(StubHost):
    """Says the modality and a number of what it is asked about."""

    def read(self, source, modality=None, *, clips=None):
        own = self.lenses[modality].config.input if modality in self.lenses else self.image_settings
        return read(source, modality, own)

    def generate_iter(self, requests, *, prompt=None, **generation):
        for number, request in enumerate(requests):
            yield SimpleNamespace(text=f"a {request.modality} {number} {prompt or ''} {generation or ''}".strip())


@pytest.fixture
def writing():
    return WritingHost()


def like(encoded):
    """A sentence encoder whose texts are alike as far as they share words."""
    words = sorted({word for text in encoded for word in words_of(text)})
    rows = torch.tensor([[float(word in words_of(text)) for word in words] for text in encoded])
    return torch.nn.functional.normalize(rows, dim=-1)


@pytest.fixture(autouse=True)
def no_download(monkeypatch):
    from lens_plugins.evaluate import caption_metrics

    monkeypatch.setattr(caption_metrics, "_sentences", lambda: SimpleNamespace(encode=like))


@pytest.fixture
def things(rng):
    """Ten clouds of two classes that lie apart."""
    made = []
    for number in range(10):
        stretched = rng.standard_normal((40, 3)) * ((1, 4, 1) if number % 2 else (4, 1, 1))
        label = ("lamp", "bench")[number % 2]
        made.append(
            Thing(f"t{number}", stretched.astype(np.float32), "point_cloud", (f"a {label} of sort {number}",), label)
        )
    return made


def test_scores_by_hand():
    """BLEU-1: matched words over words, with the brevity penalty; ROUGE-L: longest common part; names in plural."""
    things = [
        Thing("0", "x", "image", ("a wooden chair", "a chair"), "chair"),
        Thing("1", "x", "image", ("a red car",), "car", ("automobile",)),
    ]
    found = score_captions(["A chair!", "two automobiles"], things, like)
    # 2 words of "a chair" match, 0 of "two automobiles"; closest references have 2 + 3 words against 4 said.
    assert found.bleu1 == pytest.approx(100 * (2 / 4) * np.exp(1 - 5 / 4), rel=1e-6)
    assert found.rouge_l == pytest.approx(100 * (1 + 0) / 2)
    assert found.named == 100
    assert found.similarity == pytest.approx(100 * (1 + 0) / 2)
    assert found.cider is not None
    assert score_captions(["", ""], things, like).similarity == 0


def test_cider_weighs_words_that_few_references_have():
    """tf-idf vectors of 1- to 4-grams, cosine, mean, ten times; texts of one word have 1-grams alone."""
    things = [Thing(str(n), "x", "image", (word,)) for n, word in enumerate(("chair", "car", "chair"))]
    found = score_captions(["chair", "car", "car"], things, like)
    # cosines of the 1-gram vectors: 1, 1, 0; a quarter of ten for each, since the longer n-grams are empty
    assert found.cider == pytest.approx(10 / 4 * (1 + 1 + 0) / 3)
    assert found.named is None


def test_words_and_names():
    assert words_of("It's A red-brown Chair.") == ["it's", "a", "red", "brown", "chair"]
    thing = Thing("0", "x", "image", (), "box", ("crate",))
    assert [names_it(text, thing) for text in ("two boxes", "a crate", "a boxer", "")] == [True, True, False, False]


def test_nearest_says_what_is_known_of_the_most_alike(writing, things):
    said = nearest_caption(Setting(writing, things[:3], things[3:]))
    vectors = np.stack([vector_of(writing.read(thing.source, "point_cloud")) for thing in things])
    best = (vectors[:3] @ vectors[3:].T).argmax(axis=1)
    assert said == [things[3 + number].references[0] for number in best]


def test_nearest_without_a_list_of_training_leaves_the_thing_itself_out(writing, things):
    said = nearest_caption(Setting(writing, things))
    assert all(text != thing.references[0] for text, thing in zip(said, things))


def test_the_probe_says_the_class_alone(writing, things):
    from sklearn.linear_model import LogisticRegression

    said = linear_probe(Setting(writing, things[:4], things[4:]))
    vectors = np.stack([vector_of(writing.read(thing.source, "point_cloud")) for thing in things])
    probe = LogisticRegression(C=10.0, max_iter=2000).fit(vectors[4:], [thing.label for thing in things[4:]])
    assert said == list(probe.predict(vectors[:4]))


def test_the_probe_never_learns_what_it_is_asked(writing, things, monkeypatch):
    """Each fold's vectors are absent from what is fitted."""
    seen, real = [], module._probe
    monkeypatch.setattr(module, "_probe", lambda x, labels, asked: seen.append((x, asked)) or real(x, labels, asked))
    assert set(linear_probe(Setting(writing, things))) <= {"lamp", "bench"}
    assert sum(len(asked) for _, asked in seen) == len(things)
    for learnt, asked in seen:
        assert len(learnt) + len(asked) == len(things)
        assert not any((row == other).all() for row in learnt for other in asked)


def test_systems_stand_side_by_side(writing, things, tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    picture = Image.new("RGB", (30, 30), "red")
    shown = [Thing(t.id, t.source, t.modality, t.references, t.label, picture=picture) for t in things]
    others = {"PointLLM": [f"a <b>{thing.label}</b>" for thing in things]}
    setting = Setting(writing, shown, prompt="Say", generation={"num_beams": 1})
    result = compare_captions(setting, ["lens", "picture", "nearest", "probe"], others)
    assert list(result.said) == ["lens", "picture", "nearest", "probe", "PointLLM"]
    assert result.said["lens"][2] == "a point_cloud 2 Say {'num_beams': 1}"
    assert result.said["picture"][2].startswith("a image 2")
    assert result.scores["PointLLM"].named == 100
    assert result.scores["lens"].named == 0
    assert "No training list is given" in result.text()
    lines = [line.split() for line in result.text().splitlines()]
    assert ["PointLLM", "10", *result.scores["PointLLM"].shown()[1:]] in lines
    json.dumps(result.to_dict())
    page = tmp_path / "page.html"
    write_page(result, writing, page)
    text = page.read_text()
    assert text.count("<tr>") == 11
    assert text.count('src="data:image/jpeg;base64,') == 20
    assert "<b>lamp" not in text
    assert "&lt;b&gt;lamp" in text
    assert text.count('class="right"') >= 10


def test_things_that_cannot_be_read_are_left_out_of_every_system(writing, things, tmp_path):
    broken = [*things, Thing("gone", tmp_path / "gone.ply", "point_cloud", ("a",), "lamp")]
    result = compare_captions(Setting(writing, broken), ["lens"], {"other": ["word"] * 11})
    assert (len(result.things), len(result.said["other"]), result.misses[0].name) == (10, 10, "gone")
    assert "There is no file" in result.text()


def test_what_systems_need_is_said(writing, things):
    with pytest.raises(InputError, match="t0 has no picture"):
        compare_captions(Setting(writing, things), ["picture"])
    with pytest.raises(ConfigError, match="'lense' is unknown; known: lens, picture, nearest, probe"):
        compare_captions(Setting(writing, things), ["lense"])
    with pytest.raises(ConfigError, match="No system is named"):
        compare_captions(Setting(writing, things), [])
    same = [Thing(t.id, t.source, t.modality, t.references, "lamp") for t in things]
    with pytest.raises(InputError, match="2 classes or more"):
        compare_captions(Setting(writing, same), ["probe"])


def test_things_and_answers_are_read_from_lines(tmp_path):
    lines = [
        {"path": "chair.ply", "references": ["a chair"], "label": "chair", "words": ["seat"], "picture": "chair.png"},
        {"modality": "depth", "path": "room.png", "text": "a room", "split": "val", "id": "r"},
    ]
    file = tmp_path / "things.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    chair, room = read_things(file)
    assert (chair.id, chair.modality, chair.picture) == ("chair.ply", "point_cloud", tmp_path / "chair.png")
    assert (room.id, room.modality, room.references, room.label) == ("r", "depth", ("a room",), None)
    said = tmp_path / "said.jsonl"
    said.write_text('{"id": "r", "text": "a hall"}\n')
    assert read_answers(said, [chair, room]) == ["", "a hall"]
    said.write_text('{"id": "q", "text": "a hall"}\n')
    with pytest.raises(InputError, match="answers 0 of 2 things; its ids are as q"):
        read_answers(said, [chair, room])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"path": "a.ply"}', "needs some, or a label"),
        ('{"path": "a.xyzzy", "label": "a"}', "names no modality"),
        ('{"path": "a.ply", "references": 3}', "references must be texts"),
        ('{"path": "a.ply", "reference": "a"}', "'reference' is unknown"),
        ('{"path": "a.ply", "label": 5}', "line 1: label, words and picture must be texts"),
        ('{"path": "a.ply", "label": ["cat"]}', "line 1: label, words and picture must be texts"),
        ('{"path": "a.ply", "label": "a", "words": {"b": 1}}', "line 1: label, words and picture must be texts"),
        ('{"path": "a.ply", "label": "a", "modality": 3}', "line 1: modality is 3"),
        ('{"path": "a.ply", "label": "a", "modality": "sonar"}', "line 1: .*no modality 'sonar'"),
        ('{"path": "a.ply", "label": "a", "id": {}}', "line 1: id is {}"),
        ('{"path": "a.ply", "label": "a", "id": 1}\n{"path": "b.ply", "label": "a", "id": "1"}', "line 2: the id '1'"),
        ("{", "no JSON object"),
        ("", "holds 0 things"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, reason):
    file = tmp_path / "things.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(InputError, match=reason):
        read_things(file)


def test_things_that_are_only_learnt_from_may_share_an_id(tmp_path):
    file = tmp_path / "known.jsonl"
    file.write_text('{"path": "a.ply", "text": "a"}\n{"path": "a.ply", "text": "one"}\n')
    assert len(read_things(file, known=True)) == 2
    with pytest.raises(InputError, match=r"line 2: the id 'a\.ply' is that of line 1"):
        read_things(file)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('{"id": 1, "text": "a"}\n{"id": "1", "text": "b"}', "line 2: the id '1' is that of line 1"),
        ('{"id": "1", "text": null}', "line 1: text is None"),
        ('{"id": "1", "text": 5}', "line 1: text is 5"),
        ('{"text": "a"}', "line 1: id is None"),
        ('{"id": "1", "text": "caf\udce9"}', "line 1: byte 25 is not UTF-8"),
        ("[]", "line 1: no JSON object"),
    ],
)
def test_bad_answers_are_refused(tmp_path, lines, reason):
    file = tmp_path / "said.jsonl"
    file.write_bytes(lines.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=reason):
        read_answers(file, [Thing("1", "x", "image", ("a",))])
