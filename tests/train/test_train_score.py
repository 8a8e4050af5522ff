"""`train --eval`: pairs are scored while a lens is trained, as the evaluation itself would score it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from typer.testing import CliRunner

from lens_plugins.errors import ConfigError, InputError
from lens_plugins.evaluate.training import score_pairs
from lens_plugins.inputs import ImageSettings, read
from lens_plugins.lens.lens import Lens
from lens_plugins.train import TrainConfig, train_lens
from lens_plugins.train.evaluate import lens_features
from lens_plugins.train.towers import load_text_head

QUICK = TrainConfig(steps=6, batch_size=12, lr=3e-3, views="mean", log_every=2, validate_every=3)


@pytest.fixture
def scored(world, tmp_path):
    """Twelve clouds with labels and texts, one picture, one file that is not there."""
    lines = [json.loads(line) for line in world.read_text().splitlines()][:12]
    made = [
        {
            "modality": "point_cloud",
            "path": str(world.parent / line["path"]),
            "label": line["text"][2:],
            "text": line["text"],
        }
        for line in lines
    ]
    made += [{**made[0], "path": "gone.npy"}, {"modality": "image", "path": "x.png", "label": "ball"}]
    file = tmp_path / "scored.jsonl"
    file.write_text("\n".join(map(json.dumps, made)))
    return file, made[:12]


def test_figures_are_those_of_the_saved_lens(world, vit, lens_config, text_tower, tmp_path, scored):
    file, rows = scored
    score = score_pairs(file, "point_cloud", vit, text_tower)
    output = tmp_path / "lens"
    result = train_lens(
        world, vit=vit, lens=lens_config, output=output, config=QUICK, text_tower=text_tower, score=score
    )
    lens, head = Lens.from_pretrained(output).eval(), load_text_head(output / "text_head.safetensors")
    vectors = []
    for row in rows:
        given = read(row["path"], "point_cloud", lens.config.input)
        with torch.no_grad():
            vectors.append(normalize(head(lens_features(lens, vit, given.tensor[None])[:, 0]), dim=-1)[0].numpy())
    labels = sorted({row["label"] for row in rows})
    encode = getattr(text_tower, "encode", text_tower)
    names = normalize(torch.as_tensor(encode(labels)).float(), dim=-1).numpy()
    nearest = (np.stack(vectors) @ names.T).argmax(axis=1)
    right = [labels[number] == row["label"] for number, row in zip(nearest, rows)]
    assert result.metrics["eval top1"] == pytest.approx(100 * np.mean(right))
    assert result.metrics["eval missed"] == 1
    assert "eval text to input R@1" in result.metrics
    assert "val_text_top1" in result.metrics  # what was measured before stays
    logged = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "eval top1" in line] == [3, 6]


def test_pairs_are_scored_without_held_out_pairs_too(world, vit, lens_config, text_tower, tmp_path, scored):
    lines = [json.loads(line) for line in world.read_text().splitlines()]
    (world.parent / "all.jsonl").write_text("\n".join(json.dumps({**line, "split": "train"}) for line in lines))
    result = train_lens(
        world.parent / "all.jsonl", vit=vit, lens=lens_config, output=tmp_path / "lens", config=QUICK,
        text_tower=text_tower, score=score_pairs(scored[0], "point_cloud", vit, text_tower),
    )  # fmt: skip
    assert "eval top1" in result.metrics
    assert "val_text_top1" not in result.metrics


def test_it_needs_a_text_tower_and_pairs_of_the_modality(world, vit, lens_config, text_tower, tmp_path, scored):
    with pytest.raises(ConfigError, match="give --text-tower"):
        score_pairs(scored[0], "point_cloud", vit, None)
    with pytest.raises(InputError, match="0 inputs"):
        score_pairs(scored[0], "audio", vit, text_tower)
    with pytest.raises(ConfigError, match="needs a text tower"):
        train_lens(
            world, vit=vit, lens=lens_config, output=tmp_path / "x", config=QUICK, score=lambda lens, to_text: {}
        )


def test_by_command(world, vit, text_tower, tmp_path, monkeypatch, scored):
    import typer

    from lens_plugins.cli.train import train

    app = typer.Typer()
    app.command()(train)
    monkeypatch.setattr("lens_plugins.train.load_vit", lambda spec, norm: (vit, ImageSettings(size=28)))
    monkeypatch.setattr("lens_plugins.train.load_text_tower", lambda spec, device: text_tower)
    words = [
        str(world), "--modality", "point_cloud", "--output", str(tmp_path / "lens"), "--steps", "2", "--batch-size",
        "6", "--config", "lens.num_groups=8", "--config", "lens.max_points=64", "--eval", str(scored[0]),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="give --text-tower"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    result = CliRunner().invoke(app, [*words, "--text-tower", "any"], catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["eval missed"] == 1
