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
    matrices: list[Tensor] = []
    for group in groups:
        matrices += [p for p in group["params"] if p.ndim == 2 and chosen(p)]
        group["params"] = [p for p in group["params"] if not (p.ndim == 2 and chosen(p))]
    if not matrices:
        return []
    return [torch.optim.Muon(matrices, lr, weight_decay, adjust_lr_fn="match_rms_adamw")]
