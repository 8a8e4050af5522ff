"""The small training loop that the stages of the pocket hosts run in: resumable, averaged, logged."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lens_plugins.train.muon import Muon

__all__ = ["Stage", "run"]

SAVE_EVERY = 180  # seconds between checkpoints where no check falls


@dataclass(frozen=True)
class Stage:
    """How long and how fast a stage trains. `steps` fixes the schedule."""

    steps: int
    lr: float
    warmup: int = 300
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.998  # decay of the averaged weights that are kept at the end
    muon_lr: float = 0.0  # peak rate of the blocks' matrices under Muon; 0: AdamW moves them too
    blocks: str = ".encoder."  # what the names of parameters in transformer blocks hold
    check_every: int = 1000
    seed: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)  # of the rate, for parameters whose names begin so

    def rate(self, step: int) -> float:
        """Share of the peak learning rate: linear warm-up, then half a cosine to zero."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _optimizers(model: nn.Module, stage: Stage) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices of transformer blocks where the stage asks for it: from nothing it needs about
    half as many pictures here (class loss 3.0 against 3.4 after 25,600)."""
    groups = _groups(model, stage)
    inside = {id(p) for n, p in model.named_parameters() if stage.muon_lr and stage.blocks in n}
    matrices = []
    for group in groups:
        chosen = [p for p in group["params"] if p.ndim == 2 and id(p) in inside]
        group["params"] = [p for p in group["params"] if not (p.ndim == 2 and id(p) in inside)]
        if chosen:
            matrices.append({**group, "params": chosen, "weight_decay": stage.weight_decay})
    muon = [Muon(matrices, stage.muon_lr)] if matrices else []
    return [torch.optim.AdamW(groups, lr=stage.lr, betas=(0.9, 0.98)), *muon]


def _groups(model: nn.Module, stage: Stage) -> list[dict]:
    """Weight matrices decay; norms, biases, tokens and positions do not. Every share of the rate has its own two."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, p in model.named_parameters():
        if p.requires_grad:
            share = next((share for begin, share in stage.shares.items() if name.startswith(begin)), 1.0)
            decays = p.ndim >= 2 and "embedding" not in name and "token" not in name
            groups.setdefault((share, stage.weight_decay if decays else 0.0), []).append(p)
    order = sorted(groups, key=lambda key: (key[0], -key[1]))
    return [{"params": groups[key], "weight_decay": key[1], "share": key[0]} for key in order]


def run(
    model: nn.Module,
    loss: Callable[[int, torch.Generator], tuple[Tensor, dict[str, float]]],
    check: Callable[[nn.Module], dict[str, float]],
    stage: Stage,
    folder: Path,
) -> dict[str, float]:
    """Train `model` in place and leave the averaged weights in it.

    `loss(step, generator)` gives a scalar to minimise and numbers to log; `check(model)` measures on held-out data.
    A checkpoint is written at every check, every few minutes and on SIGTERM, and a run that finds one goes on from it.
    Returns the last check.

    Raises:
        SystemExit: SIGTERM came; the checkpoint is written.
    """
    going = _Going(model, stage, folder / "checkpoint.pt")
    logged: dict[str, float] = {}
    began, measured = time.time(), {}
    saved = began
    with _stop_asked() as asked:
        for step in range(going.start, stage.steps):
            for name, number in going.move(loss, step).items():
                logged[name] = 0.98 * logged.get(name, number) + 0.02 * number
            checked = (step + 1) % stage.check_every == 0 or step + 1 == stage.steps
            if checked:
                measured = _with_weights(model, going.average, check)
                _log(folder, step + 1, time.time() - began, {**logged, **measured})
            if checked or asked.is_set() or time.time() - saved > SAVE_EVERY:
                going.save(step + 1)
                saved = time.time()
            if asked.is_set():
                raise SystemExit(143)
    _take(model, going.average)
    return measured


class _Going:
    """A run under way: optimizers, averaged weights, and the step that it begins with or goes on from."""

    def __init__(self, model: nn.Module, stage: Stage, checkpoint: Path) -> None:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        self.model, self.stage, self.checkpoint = model, stage, checkpoint
        self.optimizers = _optimizers(model, stage)
        self.average = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        self.start = 0
        if checkpoint.is_file():
            state = torch.load(checkpoint, weights_only=True)
            model.load_state_dict(state["model"])
            for optimizer, kept in zip(self.optimizers, state["optimizers"]):
                optimizer.load_state_dict(kept)
            self.start, self.average = state["step"], state["average"]
        peaks = (stage.lr, stage.muon_lr)
        self.groups = [(group, peak) for made, peak in zip(self.optimizers, peaks) for group in made.param_groups]

    def move(self, loss: Callable[[int, torch.Generator], tuple[Tensor, dict[str, float]]], step: int) -> dict:
        """One step; the numbers that `loss` gives to log."""
        for group, peak in self.groups:
            group["lr"] = peak * group.get("share", 1.0) * self.stage.rate(step)
        with sdpa_kernel(SDPBackend.MATH):  # on a CPU the fused one's backward pass takes half of a small ViT's time
            value, numbers = loss(step, torch.Generator().manual_seed(self.stage.seed * 1_000_003 + step))
            value.backward()
        nn.utils.clip_grad_norm_([p for group, _ in self.groups for p in group["params"]], self.stage.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay = min(self.stage.average, (1 + step) / (10 + step))
        for n, p in self.model.named_parameters():
            if n in self.average:
                self.average[n].lerp_(p.detach(), 1 - decay)
        return numbers

    def save(self, step: int) -> None:
        """Write the checkpoint of `step` steps done."""
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        state = {"model": self.model.state_dict(), "optimizers": states, "step": step, "average": self.average}
        torch.save(state, self.checkpoint.with_suffix(".new"))
        os.replace(self.checkpoint.with_suffix(".new"), self.checkpoint)


@contextmanager
def _stop_asked() -> Iterator[threading.Event]:
    """Set once SIGTERM came; never in other threads than the first, where no handler can be set."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


@torch.no_grad()
def _take(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into the parameters of their names."""
    for n, p in model.named_parameters():
        if n in weights:
            p.copy_(weights[n])


@torch.no_grad()
def _with_weights(model: nn.Module, average: dict[str, Tensor], check: Callable) -> dict[str, float]:
    kept = {n: p.detach().clone() for n, p in model.named_parameters() if n in average}
    _take(model, average)
    model.eval()
    numbers = check(model)
    model.train()
    _take(model, kept)
    return numbers


def _log(folder: Path, step: int, seconds: float, numbers: dict[str, float]) -> None:
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "seconds": round(seconds, 1)} | _rounded(numbers)) + "\n")


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {k: round(v, 4) for k, v in numbers.items()}
