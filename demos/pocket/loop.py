"""The small training loop that the stages of the pocket hosts run in: resumable, averaged, logged."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .muon import Muon32

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
    muon = [Muon32(matrices, stage.muon_lr)] if matrices else []
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
    folder.mkdir(parents=True, exist_ok=True)
    optimizers = _optimizers(model, stage)
    average = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    start, checkpoint = 0, folder / "checkpoint.pt"
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, kept in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(kept)
        start, average = state["step"], state["average"]
    peaks = [stage.lr, stage.muon_lr]
    groups = [(group, peak) for optimizer, peak in zip(optimizers, peaks) for group in optimizer.param_groups]
    logged: dict[str, float] = {}
    began, measured = time.time(), {}
    saved, asked_to_stop = began, _StopAsked()
    for step in range(start, stage.steps):
        for group, peak in groups:
            group["lr"] = peak * group.get("share", 1.0) * stage.rate(step)
        with sdpa_kernel(SDPBackend.MATH):  # on a CPU the fused one's backward pass takes half of a small ViT's time
            value, numbers = loss(step, torch.Generator().manual_seed(stage.seed * 1_000_003 + step))
            value.backward()
        nn.utils.clip_grad_norm_([p for group, _ in groups for p in group["params"]], stage.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay = min(stage.average, (1 + step) / (10 + step))
        for n, p in model.named_parameters():
            if n in average:
                average[n].lerp_(p.detach(), 1 - decay)
        for name, number in numbers.items():
            logged[name] = 0.98 * logged.get(name, number) + 0.02 * number
        checked = (step + 1) % stage.check_every == 0 or step + 1 == stage.steps
        if checked:
            measured = _with_weights(model, average, check)
            _log(folder, step + 1, time.time() - began, {**logged, **measured})
        if checked or asked_to_stop or time.time() - saved > SAVE_EVERY:
            states = [optimizer.state_dict() for optimizer in optimizers]
            _save(checkpoint, {"model": model.state_dict(), "optimizers": states, "step": step + 1, "average": average})
            saved = time.time()
        if asked_to_stop:
            raise SystemExit(143)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if n in average:
                p.copy_(average[n])
    return measured


class _StopAsked:
    """True once SIGTERM came; in other threads than the first, where no handler can be set, it never does."""

    def __init__(self) -> None:
        self.came = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.came = True

    def __bool__(self) -> bool:
        return self.came


def _with_weights(model: nn.Module, average: dict[str, Tensor], check: Callable) -> dict[str, float]:
    kept = {n: p.detach().clone() for n, p in model.named_parameters() if n in average}
    with torch.no_grad():
        for n, p in model.named_parameters():
            if n in average:
                p.copy_(average[n])
        model.eval()
        numbers = check(model)
        model.train()
        for n, p in model.named_parameters():
            if n in kept:
                p.copy_(kept[n])
    return numbers


def _log(folder: Path, step: int, seconds: float, numbers: dict[str, float]) -> None:
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "seconds": round(seconds, 1)} | _rounded(numbers)) + "\n")


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {k: round(v, 4) for k, v in numbers.items()}


def _save(path: Path, state: dict) -> None:
    torch.save(state, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)
