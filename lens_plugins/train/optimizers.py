"""How the weights are moved: which optimizer has which of them, and how fast."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .config import TrainConfig
from .muon import Muon

__all__ = ["lr_at", "muon_beside", "optimizers_for", "weight_groups"]


def lr_at(step: int, config: TrainConfig, peak: float) -> float:
    """The learning rate of a step, counted from 0: a line up over the warm-up, then half a cosine down to 0."""
    if step < config.warmup:
        return peak * (step + 1) / config.warmup
    part = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return peak * (1 + math.cos(math.pi * part)) / 2


def weight_groups(module: nn.Module, weight_decay: float, embedding_share: float = 1.0) -> list[dict[str, Any]]:
    """Optimizer groups: matrices and kernels decay; vectors, latents and position tables don't.

    Where the lens's embedding learns at a share of the rate, two more groups hold its weights; `share` is a group's
    factor on the learning rate.
    """
    groups: list[dict[str, Any]] = [
        {"params": [], "weight_decay": decay, "share": 1.0} for decay in (weight_decay, 0.0)
    ]
    slow = groups if embedding_share == 1.0 else [{**group, "params": [], "share": embedding_share} for group in groups]
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            # Decay pulls towards 0, which is no better place for a position or a latent.
            table = name.rpartition(".")[2] in ("latents", "positions")
            into = slow if name.startswith("lens.embedding.") else groups
            into[parameter.ndim < 2 or table]["params"].append(parameter)
    return groups if slow is groups else [*groups, *slow]


def optimizers_for(module: nn.Module, config: TrainConfig, peak: float) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices of the part called `lens` and AdamW for the rest."""
    groups = weight_groups(module, config.weight_decay, config.embedding_share)
    muon: list[torch.optim.Optimizer] = []
    if config.optimizer == "muon":
        inside = {id(p) for name, p in module.named_parameters() if name.startswith("lens.")}
        muon = muon_beside(groups[::2], lambda p: id(p) in inside, peak, config.weight_decay)
    return [torch.optim.AdamW(groups, lr=peak, betas=config.betas, eps=config.eps), *muon]


def muon_beside(
    groups: list[dict[str, Any]], chosen: Callable[[Tensor], bool], lr: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Take the chosen matrices out of AdamW's groups and give them to Muon; nothing where there are none.

    It steps at AdamW's size, so that learning rates of one size serve both. Kernels and vectors stay where they are.
    """
    taken: list[dict[str, Any]] = []
    for group in groups:
        matrices = [p for p in group["params"] if p.ndim == 2 and chosen(p)]
        group["params"] = [p for p in group["params"] if not (p.ndim == 2 and chosen(p))]
        if matrices:
            taken.append({**group, "params": matrices, "weight_decay": weight_decay})
    if not taken:
        return []
    return [Muon(taken, lr, weight_decay)]
