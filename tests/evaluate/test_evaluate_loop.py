"""The loop of all benchmarks: progress, cache, interruption, limits, what is told."""

import json
import sqlite3
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from stub_host import StubHost, top_k, vector_of

from lens_plugins.errors import CheckpointError, ConfigError, InputError, Interrupted, Unsupported
from lens_plugins.evaluate import (
    BENCHMARKS,
    Benchmark,
    FeatureCache,
    Folders,
    Published,
    Row,
    evaluate,
    find_benchmark,
    lay_out,
)
from lens_plugins.evaluate.benchmark import Task
from lens_plugins.evaluate.checks import whole
from lens_plugins.evaluate.loop import spread
from lens_plugins.evaluate.metrics import CaptionRecall, MeanAveragePrecision, TopK
from lens_plugins.hosts.messages import Text
from lens_plugins.testing.small import small_host, small_lens

NAMES = ("lamp", "chair", "piano")


def own(clouds, **changes):
    """A benchmark of arrays, class by class in turn."""
    rows = [Row(f"cloud {n}", cloud, n % 3) for n, cloud in enumerate(clouds)]
    made = Benchmark(
        "own", "Own", "point_cloud", lambda folders: rows, lambda f, r: [Task(NAMES, ("{c}",), TopK((1,)))]
    )
    return replace(made, **changes)


@pytest.fixture
def clouds(rng):
    return [rng.standard_normal((40, 3)).astype(np.float32) for _ in range(10)]


def test_every_name_leads_to_a_benchmark_of_that_name():
    for name in BENCHMARKS:
        assert find_benchmark(name).name == name
    with pytest.raises(ConfigError, match="did you mean 'esc50'"):
        find_benchmark("esc-50")


def test_progress_is_told_and_order_kept(host, clouds, tmp_path):
    told = []
    result = evaluate(host, own(clouds), tmp_path, batch_size=4, note=lambda *words: told.append(words))
    assert told == [("texts", 3, 3), ("inputs", 4, 10), ("inputs", 8, 10), ("inputs", 10, 10)]
    classes = np.stack([vector_of(Text(name)) for name in NAMES])
    right = [number % 3 for number in range(10)]
    assert result.figures["top1"] == pytest.approx(top_k([vector_of(x) for x in host.seen], classes, right, 1))
    assert result.confusion.counts.sum() == 10
    assert result.confusion.counts.diagonal().sum() == round(result.figures["top1"] / 10)


def test_cached_vectors_are_not_computed_again(host, clouds, tmp_path):
    first = evaluate(host, own(clouds), tmp_path, cache=tmp_path / "cache")
    assert (first.cached, len(host.seen)) == (0, 10)
    again = StubHost()
    second = evaluate(again, own(clouds), tmp_path, cache=tmp_path / "cache")
    assert (second.cached, again.seen) == (10, [])
    assert second.figures == first.figures


@pytest.mark.parametrize("change", ["settings", "weights", "content"])
def test_other_weights_settings_or_content_are_other_vectors(host, clouds, tmp_path, change):
    evaluate(host, own(clouds), tmp_path, cache=tmp_path / "cache")
    other, settings = StubHost(), None
    if change == "weights":
        other.model = torch.nn.Linear(2, 2)
    elif change == "settings":
        settings = {"up": "z"}
    else:
        clouds = [cloud + 1 for cloud in clouds]
    assert evaluate(other, own(clouds), tmp_path, cache=tmp_path / "cache", settings=settings).cached == 0


def test_a_stopped_run_goes_on_from_the_cache(host, clouds, tmp_path):
    """Ctrl-C in the third batch: two are kept, and the next run computes the rest alone."""
    embed, calls = host.embed, []

    def stopped(inputs, space=None):
        calls.append(len(inputs))
        if len(calls) == 4:  # texts, two batches, then
            raise KeyboardInterrupt
        return embed(inputs, space)

    host.embed = stopped
    with pytest.raises(Interrupted, match="Stopped after 6 of 10 inputs; their vectors are in") as told:
        evaluate(host, own(clouds), tmp_path, cache=tmp_path / "cache", batch_size=3)
    assert told.value.exit_code == 130
    again = StubHost()
    result = evaluate(again, own(clouds), tmp_path, cache=tmp_path / "cache", batch_size=3)
    assert (result.cached, len(again.seen), result.used) == (6, 4, 10)
    whole = evaluate(StubHost(), own(clouds), tmp_path)
    assert result.figures == whole.figures
    assert result.confusion.counts.equal(whole.confusion.counts)


def test_a_stopped_run_without_a_cache_says_so(host, clouds, tmp_path):
    def stopped(inputs, space=None):
        if not isinstance(inputs[0], Text):
            raise KeyboardInterrupt
        return StubHost.embed(host, inputs, space)

    host.embed = stopped
    with pytest.raises(Interrupted, match="give --cache DIR"):
        evaluate(host, own(clouds), tmp_path)


def test_a_file_that_is_no_cache_is_one_sentence(tmp_path):
    (tmp_path / "features.sqlite").write_bytes(b"something else that is long enough" * 100)
    with pytest.raises(CheckpointError, match="cannot be used"):
        FeatureCache(tmp_path)


def test_the_cache_keeps_vectors_bit_for_bit(tmp_path):
    cache = FeatureCache(tmp_path / "deep" / "folder")
    vector = torch.randn(768)
    cache.put({"a": vector})
    assert torch.equal(FeatureCache(tmp_path / "deep" / "folder").get("a"), vector)
    assert cache.get("b") is None
    with sqlite3.connect(cache.path) as base:
        assert base.execute("SELECT count(*) FROM vectors").fetchone() == (1,)


def test_texts_are_cached_where_the_tower_shows_its_weights(host, clouds, tmp_path):
    host.text_tower = SimpleNamespace(tower=torch.nn.Linear(2, 2), head=None)
    evaluate(host, own(clouds), tmp_path, cache=tmp_path / "cache")
    calls = host.calls
    evaluate(host, own(clouds), tmp_path, cache=tmp_path / "cache")
    assert host.calls == calls


def test_limit_takes_rows_at_even_distances(host, clouds, tmp_path):
    rows = list(range(10))
    assert spread(rows, 4) == [0, 2, 5, 7]
    assert spread(rows, 10) == spread(rows, 99) == spread(rows, None) == rows
    result = evaluate(host, own(clouds, expected=10), tmp_path, limit=4)
    assert (result.used, result.expected, result.rows) == (4, 10, 10)
    assert "4 used of 10 expected" in result.text()
    assert "(--limit 4)" in result.text()


def test_all_missed_is_an_error(host, tmp_path):
    rows = [Row("a.ply", tmp_path / "a.ply", 0), Row("b.ply", tmp_path / "b.ply", 1)]
    with pytest.raises(InputError, match=r"0 of 2 inputs of Own can be used; the first: There is no file .*a\.ply"):
        evaluate(host, own([], rows=lambda folders: rows), tmp_path)


@pytest.mark.parametrize(("given", "reason"), [({"limit": 0}, "limit is 0"), ({"batch_size": 0}, "batch_size is 0")])
def test_wrong_numbers_are_refused(host, clouds, tmp_path, given, reason):
    with pytest.raises(ConfigError, match=reason):
        evaluate(host, own(clouds), tmp_path, **given)


def test_a_host_without_the_lens_or_a_text_tower_is_refused(clouds, tmp_path):
    from lens_plugins import load_host

    plain = load_host(small_host("instructblip-llama"))
    plain.plug(small_lens("point_cloud"))
    with pytest.raises(Unsupported, match="has no text tower"):
        evaluate(plain, own(clouds), tmp_path)
    stub = StubHost()
    del stub.lenses["point_cloud"]
    with pytest.raises(Unsupported, match=r"stub has no lens for a point cloud.*--lens point_cloud=PATH"):
        evaluate(stub, own(clouds), tmp_path)


def test_lay_out_needs_no_host(clouds, tmp_path):
    work = lay_out(own(clouds), tmp_path, limit=5)
    assert (len(work.rows), work.listed, work.modalities) == (5, 10, {"point_cloud"})


PUBLISHED = (Published("L", {"top1": 50.0}, "vitlensL_x.pt"), Published("L2", {"top1": 40.0}, "other.pt"))


def test_ours_published_and_difference_stand_side_by_side(host, clouds, tmp_path):
    host.lenses["point_cloud"].source = "/models/OTHER.pt"
    ours = evaluate(host, own(clouds), tmp_path).figures["top1"]
    near = (PUBLISHED[0], Published("L2", {"top1": ours - 0.6}, "other.pt"))
    result = evaluate(host, own(clouds, published=near, expected=10), tmp_path)
    line = next(line for line in result.text().splitlines() if line.startswith("top1"))
    assert line.split() == ["top1", f"{ours:.1f}", f"{ours - 0.6:.1f}", "+0.6", "33.3"]
    assert result.reproduces
    assert "Published: L2, other.pt." in result.text()
    assert "Others: L top1 50.0." in result.text()


@pytest.mark.parametrize(
    ("lens", "changes", "given", "reason"),
    [
        ("mine.pt", {}, {}, "The lens is not by name the published one"),
        ("x.pt", {"expected": None}, {}, "counts is not stated"),
        ("x.pt", {"expected": 11}, {}, "is of 11 inputs, this one of 10"),
        ("x.pt", {"departs": "Prompts are others."}, {}, "Prompts are others."),
        ("x.pt", {}, {"templates": ["a {c}"]}, "templates of its own"),
        ("x.pt", {}, {"settings": {"up": "y"}}, "settings of its own"),
    ],
)
def test_another_run_reproduces_nothing_and_that_is_said(host, clouds, tmp_path, lens, changes, given, reason):
    host.lenses["point_cloud"].source = lens
    made = own(clouds, **{"published": (Published("L", {"top1": 50.0}, "x.pt"),), "expected": 10, **changes})
    result = evaluate(host, made, tmp_path, **given)
    assert not result.reproduces
    assert reason in result.text()
    assert "the difference reproduces nothing" in result.text()


def test_a_figure_far_from_the_published_one_reproduces_nothing_whatever_the_file_is_called(host, clouds, tmp_path):
    host.lenses["point_cloud"].source = "x.pt"
    result = evaluate(host, own(clouds, published=(Published("L", {"top1": 150.0}, "x.pt"),), expected=10), tmp_path)
    assert (result.obstacles, result.reproduces) == ([], False)
    assert "top1 not within 1 point of it; the lens is known by its file's name alone" in result.text()


@pytest.mark.parametrize("templates", [["hello {}"], ["a {c}", "a"], [], "a {c}", [3]])
def test_templates_without_a_class_are_refused(clouds, tmp_path, templates):
    with pytest.raises(ConfigError, match=r"\{c\}, where a class stands"):
        lay_out(own(clouds), tmp_path, templates=templates)


@pytest.mark.parametrize("target", [-1, 3, 2.7, "1", True, None, (1,)])
def test_a_target_that_is_no_class_is_refused_by_row(clouds, tmp_path, target):
    rows = [Row("good", clouds[0], 0), Row("bad", clouds[1], target)]
    made = own([], rows=lambda folders: rows)
    with pytest.raises(InputError, match=r"the class of bad is .*whole numbers 0 to 2"):
        lay_out(made, tmp_path)


@pytest.mark.parametrize(
    ("metric", "names", "target", "reason"),
    [
        (MeanAveragePrecision(), NAMES, (0, -1), "the class of bad is"),
        (MeanAveragePrecision(), NAMES, (), "the class of bad is"),
        (MeanAveragePrecision(), NAMES, 1.5, "the class of bad is"),
        (TopK((1,), merged=(0, 1)), NAMES, 0, "2 classes are merged, 3 are named"),
        (TopK((1,)), ("lamp", " "), 0, "class or caption 1 is ' '"),
        (TopK((1,)), ("lamp", 5), 0, "class or caption 1 is 5"),
        (CaptionRecall(((0,), (1,))), ("a", "b"), 2, "bad has no caption"),
    ],
)
def test_every_task_is_checked(clouds, tmp_path, metric, names, target, reason):
    made = own([], rows=lambda f: [Row("bad", clouds[0], target)], tasks=lambda f, r: [Task(names, ("{c}",), metric)])
    with pytest.raises(InputError, match=reason):
        lay_out(made, tmp_path)


def test_numbers_are_whole_or_stay_as_they_are():
    assert [whole(each) for each in (3, 3.0, "3", np.int64(3), torch.tensor(3))] == [3] * 5
    assert [type(whole(each)) for each in (True, 2.7, "2.7", None)] == [bool, float, str, type(None)]


def test_json_holds_everything(host, clouds, tmp_path):
    rows = [Row("gone", tmp_path / "gone.ply", 0), Row("there", clouds[0], 1)]
    made = evaluate(host, own([], rows=lambda folders: rows, published=PUBLISHED), tmp_path).to_dict()
    assert json.loads(json.dumps(made)) == made
    assert made["missed"][0]["kind"] == "missing"
    assert made["published"][0]["difference"]["top1"] == pytest.approx(made["figures"]["top1"] - 50)
    assert (made["used"], made["expected"], made["rows"]) == (1, 2, 2)


def test_own_templates_take_the_place_of_the_benchmarks(host, clouds, tmp_path):
    result = evaluate(host, own(clouds), tmp_path, templates=["a photo of {c}."])
    classes = np.stack([vector_of(Text(f"a photo of {name}.")) for name in NAMES])
    right = [number % 3 for number in range(10)]
    assert result.figures["top1"] == pytest.approx(top_k([vector_of(x) for x in host.seen], classes, right, 1))


def test_a_file_is_found_or_its_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"There is no a\.json or b\.json in .* --meta"):
        Folders(tmp_path).find("a.json", "b.json", below="modal_audio/data")
    (tmp_path / "b.json").write_text("{}")
    assert Folders(tmp_path).find("a.json", "b.json") == tmp_path / "b.json"


def test_importing_names_needs_no_torch():
    import subprocess
    import sys

    code = "import sys, lens_plugins.evaluate.names; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
