"""What a run leaves behind can be read and drawn."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from lens_plugins.errors import CheckpointError, InputError, MissingDependency
from lens_plugins.train import log as log_module
from lens_plugins.train import plot_metrics
from lens_plugins.train.log import MetricsLog, progress_bars, read_metrics

ROWS = [
    {"step": 1, "loss": 3.0, "image": 2.0},
    {"step": 2, "loss": 2.0},
    {"step": 3, "loss": 1.0, "val_text_top1": 0.5},
]


@pytest.fixture
def metrics(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for row in ROWS:
        log.write(row)
    return tmp_path


def test_rows_there_and_back(metrics):
    assert read_metrics(metrics) == read_metrics(metrics / "metrics.jsonl") == ROWS


def test_a_new_run_starts_a_new_log_and_a_resumed_one_goes_on(metrics):
    MetricsLog(metrics / "metrics.jsonl", start=2).write({"step": 3, "loss": 9.0})
    assert read_metrics(metrics) == [*ROWS[:2], {"step": 3, "loss": 9.0}]
    MetricsLog(metrics / "metrics.jsonl")
    assert read_metrics(metrics) == []


@pytest.mark.parametrize("torn", ['{"step": 4, "lo', '{"step": 4, "text": "\\', "\x00" * 9, "{"])
def test_a_torn_last_line_is_dropped(metrics, torn):
    file = metrics / "metrics.jsonl"
    file.write_text(file.read_text() + torn)
    assert read_metrics(metrics) == ROWS
    MetricsLog(file, start=3).write({"step": 4, "loss": 0.5})
    assert read_metrics(metrics) == [*ROWS, {"step": 4, "loss": 0.5}]


def test_a_last_line_without_its_end_counts_where_it_is_whole(metrics):
    file = metrics / "metrics.jsonl"
    file.write_text(file.read_text().rstrip("\n"))
    assert read_metrics(metrics) == ROWS


def test_a_broken_line_before_the_last_is_not_passed_over(metrics):
    file = metrics / "metrics.jsonl"
    file.write_text("{\n" + file.read_text())
    with pytest.raises(InputError, match="cannot be read as a log"):
        read_metrics(metrics)


def test_a_full_disk_is_one_sentence(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl cannot be written: No space left on device"):
        log.write({"step": 1})


def test_a_silent_process_writes_nothing():
    MetricsLog(None).write({"step": 1})


def test_a_plot_is_drawn(metrics):
    path = plot_metrics(metrics, metrics / "curves.png")
    with Image.open(path) as picture:
        assert picture.width > 2 * picture.height
        colours = picture.convert("RGB").getcolors(1 << 20)
    assert len(colours) > 20


def test_what_cannot_be_drawn(metrics, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="cannot be read as a log"):
        plot_metrics(tmp_path / "absent", tmp_path / "x.png")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="has 0 measurements"):
        plot_metrics(tmp_path / "empty.jsonl", tmp_path / "x.png")
    (tmp_path / "other.jsonl").write_text(json.dumps({"loss": 1}))
    with pytest.raises(InputError, match="a line without a step"):
        plot_metrics(tmp_path / "other.jsonl", tmp_path / "x.png")

    def absent(module, *, extra, purpose):
        raise MissingDependency(f"{purpose} needs lens-plugins[{extra}]")

    monkeypatch.setattr(log_module, "require", absent)
    with pytest.raises(MissingDependency, match=r"lens-plugins\[train\]"):
        plot_metrics(metrics, tmp_path / "x.png")


def test_bars_are_on_stderr_and_only_when_wanted(capsys):
    for shown in (False, True):
        with progress_bars(shown) as bars:
            bar = bars.add("counting", 3)
            bar.advance(2)
            bar.note("nearly")
        out, err = capsys.readouterr()
        assert out == ""
        assert ("counting" in err) == shown
