"""Muon beside AdamW: for matrices, from random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["muon_beside"]


def muon_beside(
    groups: list[dict[str, Any]], chosen: Callable[[Tensor], bool], lr: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Take the chosen matrices out of AdamW's groups and give them to Muon; nothing where there are none.

    Muon (Jordan et al. 2024) steps along the orthogonalised momentum, here at AdamW's size of step, so that learning
    rates of one size serve both. Kernels and vectors stay where they are.
    """
    taken: list[dict[str, Any]] = []
    for group in groups:
        matrices = [p for p in group["params"] if p.ndim == 2 and chosen(p)]
        group["params"] = [p for p in group["params"] if not (p.ndim == 2 and chosen(p))]
        if matrices:
            taken.append({**group, "params": matrices, "weight_decay": weight_decay})
    if not taken:
        return []
    return [torch.optim.Muon(taken, lr, weight_decay, adjust_lr_fn="match_rms_adamw")]
