"""The ready alternative that the pocket host is compared with: a linear probe on the frozen ImageNet teacher.

Same training renders, same held-out objects, no language: it picks one of the classes. The host writes free text.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .packs import Pictures
from .teacher import TEACHER_WIDTH, picture_features
from .vit import held_out

__all__ = ["measure_probe", "write_probe"]


def measure_probe(pack: Path, steps: int = 60) -> dict[str, float]:
    """Share of held-out pictures (four views an object), and of objects by the mean over their views, put right.

    `pack` is that of the catalogue objects. The probe is a standardised, L2-regularised logistic regression.
    """
    rows = Pictures.open([pack]).rows
    features = torch.from_numpy(picture_features(pack).astype(np.float32))
    classes = sorted({row["class"] for row in rows if row["class"]})
    kind = torch.tensor([classes.index(row["class"]) if row["class"] else -1 for row in rows])
    train = torch.tensor([i for i, row in enumerate(rows) if row["class"] and row["split"] == "train"])
    test = torch.tensor(held_out(rows))
    mean, spread = features[train].mean(0), features[train].std(0) + 1e-6
    features = (features - mean) / spread
    head = _fit(features[train], kind[train], len(classes), steps)
    scores = head(features[test]).log_softmax(1)
    views = len(scores) // len({rows[i]["object"] for i in test.tolist()})
    merged, label = scores.view(-1, views, len(classes)).mean(1), kind[test].view(-1, views)[:, 0]
    return {
        "one view": (scores.argmax(1) == kind[test]).float().mean().item(),
        f"mean of {views} views": (merged.argmax(1) == label).float().mean().item(),
    }


def _fit(x: Tensor, y: Tensor, classes: int, steps: int) -> nn.Linear:
    head = nn.Linear(TEACHER_WIDTH, classes)
    nn.init.zeros_(head.weight)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(head(x), y) + 1e-3 * head.weight.pow(2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return head.requires_grad_(False)


def write_probe(pack: Path, file: Path) -> None:
    """Measure, and keep the figures beside the other logs."""
    file.write_text(json.dumps(measure_probe(pack)) + "\n", encoding="utf-8")
