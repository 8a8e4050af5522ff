"""Measurements also go where accelerate's trackers put them."""

from __future__ import annotations

import pytest
from accelerate.tracking import GeneralTracker

from lens_plugins.errors import ConfigError, MissingDependency
from lens_plugins.train import TrainConfig, trackers, train_lens
from lens_plugins.train.log import read_metrics


class Notebook(GeneralTracker):
    """Keeps what it is told."""

    name = "notebook"
    requires_logging_directory = False

    def __init__(self):
        super().__init__()
        self.config, self.rows, self.finished = None, [], 0

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step, **_):
        self.rows.append({"step": step, **values})

    def finish(self):
        self.finished += 1


CONFIG = TrainConfig(steps=3, batch_size=12, log_every=1)


def test_a_tracker_is_told_what_the_log_is(world, vit, lens_config, tmp_path):
    notebook = Notebook()
    train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=CONFIG, log_with=notebook)
    assert notebook.rows == read_metrics(tmp_path)
    assert notebook.config["steps"] == 3
    assert notebook.config["betas"] == "(0.9, 0.98)"  # trackers take plain values alone
    assert notebook.finished == 1


def test_it_is_finished_when_the_run_is_not(world, vit, lens_config, tmp_path):
    notebook = Notebook()

    def fail(step, row):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=CONFIG, log_with=[notebook], on_step=fail)
    assert (len(notebook.rows), notebook.finished) == (1, 1)


def test_trackers_that_are_not_there(world, vit, lens_config, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "get_available_trackers", list)

    def run(**more):
        train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=CONFIG, **more)

    with pytest.raises(ConfigError, match="log_with is 'tensorbord', which is no tracker; did you mean 'tensorboard'"):
        run(log_with="tensorbord")
    with pytest.raises(MissingDependency, match=r"'tensorboard' needs its package.*lens-plugins\[track\]"):
        run(log_with="tensorboard")
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_tracker_that_cannot_start_is_one_sentence(world, vit, lens_config, tmp_path):
    class Closed(Notebook):
        def store_init_configuration(self, values):
            raise OSError("no account\nlong story")

    with pytest.raises(ConfigError, match=r"The tracker cannot be started: no account\.$"):
        train_lens(world, vit=vit, lens=lens_config, output=tmp_path, config=CONFIG, log_with=Closed())
