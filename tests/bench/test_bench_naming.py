"""The tables and the chart of `bench pocket --all`, on a host that answers by rote."""

import types

import pytest
import torch

from lens_plugins.bench import naming, pocket
from lens_plugins.bench.heldout import Case, HeldOut, Sense


class Parrot:
    """Says what it is told to of each input; knows a lens by its modality."""

    def __init__(self, said):
        self.said, self.lenses, self.log = said, {}, []

    def plug(self, lens):
        self.lenses["touch"] = lens

    def unplug(self, modality):
        del self.lenses[modality]

    def generate_batch(self, requests, **_):
        return [self.said(request) for request in requests]

    def classify(self, inputs, labels):
        return [[{"label": labels[0], "score": 1.0}] for _ in inputs]


@pytest.fixture
def sense(monkeypatch):
    lens = types.SimpleNamespace(config=types.SimpleNamespace(input=None))
    monkeypatch.setattr(naming, "load_lens", lambda name: lens)
    monkeypatch.setattr(naming, "shuffled", lambda lens: lens)
    monkeypatch.setattr(naming, "read", lambda source, modality, settings: source)
    cases = [Case("brick", 0), Case("brick", 1), Case("wood", 2, ("timber",))]
    monkeypatch.setattr(Sense, "cases", lambda self: cases)
    monkeypatch.setattr(Sense, "pictures", lambda self: [])
    return Sense("touch", simulated=True)


def test_a_sense_is_scored_by_name_by_nearest_and_by_chance(sense):
    host = Parrot(lambda request: "a red brick wall" if request.inputs[0] == 0 else "timbers")
    score = naming.measure_sense(host, sense, lambda line: None)
    assert (score.cases, score.things) == (3, 2)
    assert score.named == pytest.approx(2 / 3)  # one brick, and the timber by its other word
    assert score.nearest == pytest.approx(2 / 3)  # "brick" is always the first label
    assert score.chance == pytest.approx(2 / 3)
    assert host.lenses == {}
    row = pocket.sense_table([score]).splitlines()[-1]
    assert row.startswith("| touch (simulated) | 3 of 2 things | 67% | - | 67% | 67% | 67% | - | - |")


@pytest.fixture
def two_objects(monkeypatch):
    monkeypatch.setattr(naming, "read", lambda source, modality, settings: source)
    return [HeldOut(str(i), label, ["picture"], torch.zeros(1, 3)) for i, label in enumerate(("chair", "lamp"))]


def parrot_with_a_lens(said):
    host = Parrot(said)
    host.lenses["point_cloud"] = types.SimpleNamespace(config=types.SimpleNamespace(input=None))
    return host


def test_mixed_counts_both_names_of_what_is_named_alone(two_objects):
    clouds_are = {"picture": "a lamp"}  # pictures are all lamps, clouds all chairs

    def said(request):
        if len(request.inputs) == 2:
            return "a chair and a lamp" if request.fuse == "llm" else "a chair"
        return clouds_are.get(str(request.inputs[0]), "a chair")

    alone, *places = naming.measure_mixed(parrot_with_a_lens(said), two_objects, 6, lambda line: None)
    assert (alone.first, alone.second, alone.both) == (0.5, 0.5, 0.25)
    assert {row.place: row.both for row in places} == {"`--fuse vit`": 0, "`--fuse qformer`": 0, "`--fuse llm`": 1}
    assert [row.first for row in places] == [1, 1, 1]
    assert pocket.mixed_table([alone, *places]).count("100%") == 5


def test_mixed_says_nothing_of_a_host_that_names_nothing(two_objects):
    (alone,) = naming.measure_mixed(parrot_with_a_lens(lambda request: ""), two_objects, 6, lambda line: None)
    assert alone.both == 0


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_chart_is_written(tmp_path, ending):
    pytest.importorskip("matplotlib")
    bars = [pocket.Bar("picture", 0.5, 0.5, 0.1), pocket.Bar("EEG (simulated)", 0.4, 0.5, 0.1)]
    pocket.draw(bars, tmp_path / f"chart.{ending}")
    assert (tmp_path / f"chart.{ending}").stat().st_size > 1000
