import json

import pytest
import torch
from torch import nn

from lens_plugins.pocket.loop import Stage, run

STAGE = Stage(steps=20, lr=0.1, warmup=4, check_every=10)


def train(folder, stop_after=None):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(step, g):
        if step == stop_after:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=g)
        error = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
        return error, {"error": error.item()}

    checked = run(model, loss, lambda trained: {"weight": trained.weight.mean().item()}, STAGE, folder)
    return model, checked


def test_it_learns_and_logs(tmp_path):
    model, checked = train(tmp_path)
    assert checked["weight"] == pytest.approx(1, abs=0.35)
    assert model.weight.mean().item() == pytest.approx(checked["weight"])  # the averaged weights are what stays
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20]


def test_a_run_that_was_cut_off_goes_on_bit_for_bit(tmp_path):
    whole, _ = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", stop_after=15)
    resumed, _ = train(tmp_path / "cut")
    assert torch.equal(whole.weight, resumed.weight)


def test_the_rate_rises_then_falls_to_zero():
    rates = [STAGE.rate(step) for step in (0, 3, 4, 12, 20)]
    assert rates == pytest.approx([0.025, 0.1, 0.1, 0.05, 0.0])
