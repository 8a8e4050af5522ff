"""What pulls a lens's features onto the anchors: contrast both ways, and regression.

(lens ↔ picture + lens ↔ text) / 2 on unit vectors with a learned factor, as ViT-Lens trains it, plus the distance to
the paired picture's own features. B batch, D width of the ViT, E width of the text space, A rows of an anchor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InternalError
from .config import TrainConfig

__all__ = ["AlignmentLoss", "Batch", "anchor_rows", "soft_targets", "symmetric_contrast"]

LARGEST_SCALE = 100.0  # CLIP's bound on the learned factor


@dataclass(frozen=True)
class Batch:
    """A batch of pairs. A key names what a row shows: rows of one key are positives of each other; -1 means none."""

    inputs: Tensor  # (B, ...) of the modality
    images: Tensor  # (B, A, D): CLS, then what is regressed; zeros where there is no picture
    image_keys: Tensor  # (B,) int64
    texts: Tensor  # (B, E); E is 0 without a text tower
    text_keys: Tensor  # (B,) int64

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def anchor_rows(features: Tensor, regression: str) -> Tensor:
    """What an anchor holds of features (B, 1 + N, D), by the kind of regression.

    "tokens": all of them; "pooled": CLS and the mean patch (B, 2, D); "cls" and "none": CLS alone (B, 1, D).
    """
    if regression == "tokens":
        return features
    if regression == "pooled":
        return torch.stack([features[:, 0], features[:, 1:].mean(dim=1)], dim=1)
    return features[:, :1]


def soft_targets(keys: Tensor) -> Tensor:  # (B,) -> (B, B)
    """Rows that sum to one, spread evenly over the entries of the same key."""
    same = (keys[:, None] == keys[None, :]).float()
    return same / same.sum(dim=1, keepdim=True)


def symmetric_contrast(left: Tensor, right: Tensor, keys: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of each side against the other; 0 (with a gradient of 0) where fewer than two keys are present.

    Args:
        left, right: (B, D) unit vectors; row i of both shows the same thing.
        keys: (B,) int64; rows with key -1 take no part, rows of equal keys are all right answers.
        scale: factor on the cosines.
    """
    part = keys >= 0
    left, right, keys = left[part], right[part], keys[part]
    # A gradient of 0, not none: with several processes all must take part in the backward pass.
    if keys.unique().numel() < 2:
        return (left.sum() + right.sum() + scale) * 0.0
    logits = scale * left @ right.T  # (B, B)
    targets = soft_targets(keys)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


class AlignmentLoss(nn.Module):
    """The loss and what is learned with it: the two factors and, unless it is given, the text head.

    Args:
        config: weights and kinds of the terms.
        center: (D,) subtracted from CLS rows before they are compared; zeros for none.
        text_head: maps CLS rows (B, D) into the text tower's space (B, E); None without a text tower.
    """

    center: Tensor

    def __init__(self, config: TrainConfig, center: Tensor, text_head: nn.Linear | None) -> None:
        super().__init__()
        self.config = config
        self.text_head = text_head
        # Learned as logarithms, as in CLIP, so that a step is a factor and the scale stays positive.
        self.log_scales = nn.Parameter(torch.full((2,), math.log(config.logit_scale)))  # picture, text
        self.register_buffer("center", center)

    def forward(self, features: Tensor, batch: Batch, accelerator: Accelerator | None = None) -> dict[str, Tensor]:
        """Loss parts and their weighted sum `loss`, each a scalar.

        Args:
            features: (B, 1 + N, D) of the lens through the frozen ViT, CLS first.
            batch: the anchors of the same rows.
            accelerator: with several processes, negatives come from all of them.
        """
        scales = self.log_scales.exp().clamp(max=LARGEST_SCALE)
        parts = {"image": self._image(features[:, 0], batch, scales[0], accelerator)}
        if self.text_head is not None:
            parts["text"] = self._text(features[:, 0], batch, scales[1], accelerator)
        if self.config.regression != "none":
            parts["regression"] = self._regression(features, batch)
        weights = {name: getattr(self.config, f"{name}_weight") for name in parts}
        return {"loss": sum(weights[name] * part for name, part in parts.items()), **parts}

    def compare(self, cls: Tensor) -> Tensor:
        """CLS rows (B, D) as they are compared with pictures: centred, of unit length."""
        return F.normalize(cls - self.center, dim=-1)

    def to_text(self, cls: Tensor) -> Tensor:
        """CLS rows (B, D) in the text tower's space (B, E), of unit length."""
        if self.text_head is None:
            raise InternalError("This loss has no text head to lead into the space of texts.")
        return F.normalize(self.text_head(cls), dim=-1)

    def _image(self, cls: Tensor, batch: Batch, scale: Tensor, accelerator: Accelerator | None) -> Tensor:
        rows = (self.compare(cls), self.compare(batch.images[:, 0]), batch.image_keys)
        left, right, keys = _from_all(rows, accelerator)
        return symmetric_contrast(left, right, keys, scale)

    def _text(self, cls: Tensor, batch: Batch, scale: Tensor, accelerator: Accelerator | None) -> Tensor:
        rows = (self.to_text(cls), F.normalize(batch.texts, dim=-1), batch.text_keys)
        left, right, keys = _from_all(rows, accelerator)
        return symmetric_contrast(left, right, keys, scale)

    def _regression(self, features: Tensor, batch: Batch) -> Tensor:
        """Mean distance over the rows that have a picture, between unit vectors."""
        has = (batch.image_keys >= 0).float()  # (B,)
        found = F.normalize(anchor_rows(features, self.config.regression), dim=-1)  # (B, A, D)
        wanted = F.normalize(batch.images, dim=-1)
        if self.config.regression_loss == "cosine":
            distance = 1 - (found * wanted).sum(dim=-1)  # (B, A)
        else:
            distance = F.smooth_l1_loss(found, wanted, reduction="none").sum(dim=-1)
        by_pair = distance[:, 0]
        if distance.shape[1] > 1:  # all patch rows together weigh as much as CLS
            by_pair = (by_pair + distance[:, 1:].mean(dim=1)) / 2
        return (by_pair * has).sum() / has.sum().clamp(min=1)


class _Gather(torch.autograd.Function):
    """Rows of all processes; the gradient of a row is summed over the processes and comes back to its own."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, accelerator: Accelerator) -> Tensor:
        ctx.accelerator, ctx.count = accelerator, len(rows)
        gathered: Tensor = accelerator.gather(rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # Each process's loss pulled on these rows, so their gradients add up.
        total = ctx.accelerator.reduce(gradient.contiguous(), reduction="sum")
        start = ctx.accelerator.process_index * ctx.count
        return total[start : start + ctx.count], None


def _from_all(rows: Sequence[Tensor], accelerator: Accelerator | None) -> Sequence[Tensor]:
    if accelerator is None or accelerator.num_processes == 1:
        return rows
    return [_Gather.apply(r, accelerator) if r.requires_grad else accelerator.gather(r.contiguous()) for r in rows]
