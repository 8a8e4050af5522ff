import json
import signal

import pytest
import torch
from pocket.loop import Stage, _optimizers, run
from torch import nn

STAGE = Stage(steps=20, lr=0.1, warmup=4, check_every=10)


class Small(nn.Module):
    """One matrix where transformers keeps those of its blocks, and a linear layer after it."""

    def __init__(self):
        super().__init__()
        self.vit = nn.ModuleDict({"encoder": nn.ModuleDict({"first": nn.Linear(3, 3)}), "last": nn.Linear(3, 1)})

    def forward(self, x):
        return self.vit["last"](x + self.vit["encoder"]["first"](x))


def train_muon(folder, stop_after=None):
    torch.manual_seed(0)
    model = Small()
    stage = Stage(steps=40, lr=0.05, muon_lr=0.05, warmup=4, check_every=10, weight_decay=0.0)

    def loss(step, g):
        if step == stop_after:
            raise KeyboardInterrupt
        x = torch.randn(8, 3, generator=g)
        error = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
        return error, {"error": error.item()}

    return model, run(model, loss, lambda trained: {"error": _error(trained)}, stage, folder)


def _error(model):
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(9))
    return (model(x) - x.sum(1, keepdim=True)).pow(2).mean().item()


def test_muon_moves_the_blocks_and_goes_on_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    before = _error(Small())
    whole, checked = train_muon(tmp_path / "whole")
    assert checked["error"] < before / 4
    with pytest.raises(KeyboardInterrupt):
        train_muon(tmp_path / "cut", stop_after=25)
    resumed, _ = train_muon(tmp_path / "cut")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters()))


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
    assert rates == pytest.approx([0.25, 1.0, 1.0, 0.5, 0.0])  # of the peak


def test_parameters_may_have_a_share_of_the_rate():
    model = nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 2)})
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    stage = Stage(steps=1, lr=0.1, warmup=1, weight_decay=0.0, shares={"second.": 0.25}, average=0.0)
    (optimizer,) = _optimizers(model, stage)
    for group in optimizer.param_groups:
        group["lr"] = 0.1 * group["share"]
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    for name, p in model.named_parameters():
        wanted = 0.1 if name.startswith("first") else 0.025
        torch.testing.assert_close(before[name] - p, torch.full_like(p, wanted), atol=1e-4, rtol=0)


def test_sigterm_leaves_a_checkpoint_and_the_run_goes_on_bit_for_bit(tmp_path):
    whole, _ = train(tmp_path / "whole")

    def stopped(folder):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)

        def loss(step, g):
            if step == 7:
                signal.raise_signal(signal.SIGTERM)
            x = torch.randn(8, 3, generator=g)
            error = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
            return error, {"error": error.item()}

        run(model, loss, lambda _: {}, STAGE, folder)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        stopped(tmp_path / "cut")
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)["step"] == 8
    resumed, _ = train(tmp_path / "cut")
    assert torch.equal(whole.weight, resumed.weight)
