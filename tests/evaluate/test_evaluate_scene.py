import json
import math
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lens_plugins.errors import InputError
from lens_plugins.evaluate.scene import Outcome, Query, SceneResult, embed_scenes, evaluate_scenes, read_queries

sys.path.append(str(Path(__file__).parents[1] / "scene"))
from scans_made import Colours, box, write_ply, xyz

SHADES = {"red": (255, 0, 0), "orange": (255, 160, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def line(**values) -> str:
    return json.dumps({"scene": "shelf", "query": "text:red", "modality": "text", "answers": [1], **values}) + "\n"


@pytest.fixture
def data(tmp_path):
    """A shelf of four crops (blue 1, green 2, orange 3, red 4), a room of three clouds in a row, and queries."""
    (tmp_path / "shelf").mkdir()
    for name in SHADES:
        Image.new("RGB", (8, 8), SHADES[name]).save(tmp_path / "shelf" / f"{name}.png")
    points = np.concatenate([box((x, 0, 0)) * (1, wide, 1) for x, wide in ((0, 1), (0.8, 3), (5, 9))])
    write_ply(tmp_path / "room.ply", {**xyz(points), "instance": ("int", np.repeat([1, 2, 3], 200))})
    Image.new("RGB", (8, 8), (200, 60, 0)).save(tmp_path / "rust.png")
    (tmp_path / "bark.wav").write_text("no sound")
    (tmp_path / "queries.jsonl").write_text(
        line(answers=[4])
        + line(answers=[3], query="text:red")  # second: orange is next to red
        + line(answers=[1, 2], query="rust.png", modality="image")
        + line(scene="room.ply", query="text:wide", answers=[3])  # z up: what is wide in y is wide in z, turned
        + line(scene="room.ply", query="text:wide", answers=[2])
        + line(scene="room.ply", query="text:narrow", answers=[2])
        + line(query="bark.wav", modality="audio")
        + line(query="absent.png", modality="image")
    )
    return tmp_path


HOST = Colours({"text:red": [1, 0, 0], "text:wide": [0, 0, 1], "text:narrow": [1, 1, 1]})


def test_ranks_are_those_by_hand(data):
    result = evaluate_scenes(HOST, data)
    # shelf: cosines with red are 1 (red), 0.85 (orange), 0, 0; rust is red, orange, green, blue
    assert [outcome.rank for outcome in result.outcomes] == [1, 2, 3, 1, 2, 2]
    assert [outcome.near for outcome in result.outcomes] == [None, None, None, True, False, True]
    assert [outcome.among for outcome in result.outcomes] == [4, 4, 4, 3, 3, 3]
    figures = result.figures("text")
    assert figures["queries"] == 5
    assert figures["R@1"] == pytest.approx(100 * 2 / 5)
    assert figures["R@5"] == 100
    assert figures["median rank"] == 2
    assert figures["within 1 m"] == pytest.approx(100 * 2 / 3)
    # by chance: 1 of 4 twice, 1 of 3 three times; instances 1 and 2 stand within a metre, 3 stands alone
    assert figures["R@1 chance"] == pytest.approx(100 * (2 / 4 + 3 / 3) / 5)
    assert figures["within 1 m chance"] == pytest.approx(100 * (1 / 3 + 2 / 3 + 2 / 3) / 3)
    assert result.figures("image")["R@1 chance"] == pytest.approx(100 * 2 / 4)
    assert (result.expected, len(result.outcomes), result.scenes) == (8, 6, 2)
    assert [text.partition(":")[0] for text in result.missed] == ["bark.wav", "absent.png"]
    assert "no lens for an audio clip" in result.missed[0]


def test_the_table_and_the_json(data):
    result = evaluate_scenes(HOST, data)
    text = result.text()
    assert "Finding things, colours: 6 of 8 queries in 2 scenes, scores by mean" in text
    assert "| text | 5 | 40.0 (30.0) | 100.0 (100.0) | 2.0 (2.0) | 66.7 (55.6) |" in text
    assert "| image | 1 | 0.0 (50.0) | 100.0 (100.0) | 3.0 (1.0) | – |" in text
    assert "2 queries were left out; the first: bark.wav" in text
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["figures"]["image"]["within 1 m"] is None
    assert told["figures"]["text"]["R@1"] == 40.0
    assert (told["used"], told["expected"], len(told["missed"])) == (6, 8, 2)


def test_vectors_are_scored_in_several_ways(data):
    work = embed_scenes(HOST, data)
    assert work.score("max").combine == "max"
    points = work.score("points")
    assert [outcome.query.scene for outcome in points.outcomes] == ["room.ply"] * 3
    assert "text:red in shelf: none of its answers has points to compare" in points.missed[2]


@pytest.mark.parametrize(("among", "right"), [(4, 1), (7, 2), (12, 5), (3, 3)])
def test_chance_is_that_of_all_orders(among, right):
    outcome = Outcome(Query("s", "q", "text", (1,)), 1, among, right)
    figures = SceneResult("h", "mean", [outcome], 1, 1).figures()
    for k in (1, 5):
        drawn = list(combinations(range(among), min(k, among)))
        assert figures[f"R@{k} chance"] == pytest.approx(100 * np.mean([min(each) < right for each in drawn]))
    best = sorted(min(places) for places in combinations(range(1, among + 1), right))
    assert figures["median rank chance"] == best[math.ceil(len(best) / 2) - 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n\n", "holds 0 queries; each line is one JSON object"),
        ("{", "line 1 cannot be read as JSON"),
        ("3", "line 1 has no scene; a query has scene, query, modality, answers"),
        (json.dumps({"scene": "a", "query": "b", "modality": "text"}), "line 1 has no answers"),
        (line() + line(modality="smell"), "line 2: scene and query must be texts and modality one of text, image"),
        (line(scene=3), "scene and query must be texts"),
        (line(answers=[]), r"answers is \[\]; it must be a list of instance ids, at least one"),
        (line(answers=["a"]), "answers is \\['a'\\]"),
        (line(query="red"), "the text 'red' must begin with text:"),
    ],
)
def test_lists_of_queries_that_are_none(tmp_path, text, said):
    (tmp_path / "queries.jsonl").write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        read_queries(tmp_path)
    assert "queries.jsonl" in str(caught.value)


def test_no_query_can_be_asked(data):
    (data / "queries.jsonl").write_text(line(query="bark.wav", modality="audio"))
    with pytest.raises(InputError, match="has 1 queries, 0 of them can be asked; the first: bark"):
        evaluate_scenes(HOST, data)
