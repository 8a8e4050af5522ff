"""Muon in float32, the weights' own: torch's multiplies in bfloat16, 27 times slower on a processor without it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon"]

_STEPS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315  # of the quintic iteration


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonalised Nesterov momentum of matrices (Jordan et al. 2024), at AdamW's size of step.

    Args:
        params: matrices, or groups of them.
        lr: rate.
        weight_decay: decoupled, as AdamW's.
        momentum: of the gradient.
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure is ever given
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                kept = state["momentum_buffer"]
                kept.lerp_(p.grad, 1 - group["momentum"])
                direction = _orthogonal(p.grad.lerp(kept, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(direction, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def _orthogonal(gradient: Tensor) -> Tensor:
    """Nearly the closest matrix with singular values of 1."""
    x = gradient / gradient.norm().clamp(min=1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(_STEPS):
        square = x @ x.T
        x = _A * x + (_B * square + _C * square @ square) @ x
    return x.T if tall else x
