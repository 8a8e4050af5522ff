"""The command parses, calls `train_lens`, prints one line of JSON."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import typer
from typer.testing import CliRunner

from lens_plugins.cli.train import _settings, train
from lens_plugins.errors import ConfigError, Interrupted
from lens_plugins.inputs import ImageSettings
from lens_plugins.lens.lens import Lens

app = typer.Typer()
app.command()(train)


def test_help_has_an_example():
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert "lens-plugins train pairs.jsonl --modality point_cloud" in result.output


def test_a_run_from_the_shell(world, vit, tmp_path, monkeypatch):
    monkeypatch.setattr("lens_plugins.train.load_vit", lambda spec, norm: (vit, ImageSettings(size=28)))
    words = [
        str(world), "--modality", "point_cloud", "--output", str(tmp_path / "lens"), "--steps", "2",
        "--batch-size", "6",
        "--config", "lens.num_groups=8", "--config", "lens.max_points=64", "--config", "views=mean",
        "--plot", str(tmp_path / "curves.png"),
    ]  # fmt: skip
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert (printed["steps"], printed["stopped"]) == (2, "steps")
    assert printed["val_image_candidates"] == 12
    assert Lens.from_pretrained(printed["lens"]).config.embedding.num_groups == 8
    assert (tmp_path / "curves.png").stat().st_size > 1000
    asked = json.loads((tmp_path / "lens" / "train.json").read_text())["config"]
    assert (asked["steps"], asked["batch_size"], asked["views"]) == (2, 6, "mean")


def words_for(world, output, *more) -> list[str]:
    return [str(world), "--modality", "point_cloud", "--output", str(output), "--steps", "2", *more]


def test_what_can_be_refused_is_refused_before_a_host_is_loaded(world, tmp_path, monkeypatch):
    monkeypatch.setattr("lens_plugins.train.load_vit", lambda spec, norm: pytest.fail("loaded"))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ConfigError, match="already holds a lens"):
        CliRunner().invoke(app, words_for(world, tmp_path), catch_exceptions=False)
    with pytest.raises(ConfigError, match="did you mean 'point_cloud'"):
        CliRunner().invoke(app, [*words_for(world, tmp_path / "x"), "--modality", "point_clod"], catch_exceptions=False)


def test_a_signal_while_the_host_is_loaded(world, tmp_path, monkeypatch):
    def load(spec, norm):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    monkeypatch.setattr("lens_plugins.train.load_vit", load)
    with pytest.raises(Interrupted, match="by SIGINT before the first step"):
        CliRunner().invoke(app, words_for(world, tmp_path), catch_exceptions=False)


def test_words_of_config():
    run, lens = _settings(["views=mean", "ema=0.9", "betas=[0.8, 0.9]", "lens.num_groups=4"])
    assert run == {"views": "mean", "ema": 0.9, "betas": [0.8, 0.9]}
    assert lens == {"num_groups": 4}
    assert _settings(None) == ({}, {})
    for wrong in ("views", "views=", "=mean"):
        with pytest.raises(ConfigError, match=f"--config '{wrong}' is not of the form NAME=VALUE"):
            _settings([wrong])
    with pytest.raises(ConfigError, match=r"--config gives 'lens\.width' twice: '8' and '9'"):
        _settings(["lens.width=8", "lens.width=9"])
