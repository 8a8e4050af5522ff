"""Metrics on unit vectors: top-k, mean average precision, recall both ways. N rows, L classes or captions, E width."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._optional import require

__all__ = ["CaptionRecall", "MeanAveragePrecision", "TopK", "confusion", "recall"]


@dataclass(frozen=True)
class TopK:
    """Share of rows whose class is among the k nearest, and beside it the mean of the classes' own shares.

    Attributes:
        ks: which k.
        merged: for each class the number it counts as; predictions and targets are both replaced by it. Empty: its own.
        by_class: whether the mean over classes is told too.
    """

    ks: tuple[int, ...] = (1, 5)
    merged: tuple[int, ...] = ()
    by_class: bool = False

    def __call__(self, vectors: Tensor, texts: Tensor, targets: Sequence[int]) -> dict[str, float]:
        """(N, E), (L, E), N class numbers -> percents by "top1", "top5", "top1 by class"."""
        order = (vectors @ texts.T).argsort(dim=1, descending=True, stable=True)  # (N, L)
        right = torch.tensor([self._number(target) for target in targets])  # (N,)
        numbers = torch.tensor([self._number(label) for label in range(len(texts))])  # (L,)
        hits = numbers[order] == right[:, None]  # (N, L)
        found = {}
        for k in self.ks:
            hit = hits[:, :k].any(dim=1).float()
            found[f"top{k}"] = 100 * hit.mean().item()
            if self.by_class:
                shares = [hit[right == label].mean() for label in right.unique()]
                found[f"top{k} by class"] = 100 * torch.stack(shares).mean().item()
        return found

    def chance(self, texts: int, targets: Sequence[int]) -> dict[str, float]:
        """Of a ranking in random order."""
        sizes = Counter(self._number(label) for label in range(texts))
        found = {}
        for k in self.ks:
            each = [_one_of(sizes[self._number(target)], texts, k) for target in targets]
            found[f"top{k}"] = 100 * sum(each) / len(each)
            if self.by_class:
                found[f"top{k} by class"] = found[f"top{k}"]
        return found

    def _number(self, label: int) -> int:
        return self.merged[label] if self.merged else label


def _one_of(right: int, among: int, k: int) -> float:
    """The chance that k drawn of `among`, of which some are right, hold a right one."""
    missed = 1.0
    for drawn in range(min(k, among)):
        missed *= max(0, among - right - drawn) / (among - drawn)
    return 1 - missed


@dataclass(frozen=True)
class MeanAveragePrecision:
    """The unweighted mean over classes of scikit-learn's average precision; a row may be of several classes.

    Classes that no row is of have no precision and are left out; "classes" says how many count.
    """

    def __call__(self, vectors: Tensor, texts: Tensor, targets: Sequence[Sequence[int]]) -> dict[str, float]:
        """(N, E), (L, E), N lists of class numbers -> {"mAP": percent, "classes": count}."""
        metrics = require("sklearn.metrics", extra="eval", purpose="mAP")
        # A sigmoid over the cosines, as the original has, changes no rank and so no precision.
        scores = (vectors @ texts.T).numpy()  # (N, L)
        truth = torch.zeros(scores.shape, dtype=torch.bool)
        for number, labels in enumerate(targets):
            truth[number, list(labels)] = True
        known = truth.any(dim=0).nonzero()[:, 0].tolist()
        each = [metrics.average_precision_score(truth[:, label].numpy(), scores[:, label]) for label in known]
        return {"mAP": 100 * sum(each) / len(each), "classes": float(len(known))}

    def chance(self, texts: int, targets: Sequence[Sequence[int]]) -> dict[str, float]:
        """The share of rows that are of a class, averaged over classes."""
        counts = Counter(label for labels in targets for label in set(labels))
        return {"mAP": 100 * sum(counts.values()) / len(targets) / len(counts)}


@dataclass(frozen=True)
class CaptionRecall:
    """Recall both ways between recordings and captions.

    Attributes:
        owners: for each caption the numbers of the rows it tells of, as in the rows' targets.
        what: the noun of a row, for the names of figures.
    """

    owners: tuple[tuple[int, ...], ...]
    what: str = "audio"
    ks: tuple[int, ...] = (1, 5, 10)

    def __call__(self, vectors: Tensor, texts: Tensor, targets: Sequence[int]) -> dict[str, float]:
        """(N, E), (L, E), N row numbers -> percents; captions of rows that could not be read are left out."""
        right, kept = self._answers(targets)  # (captions, N)
        scores = texts[kept] @ vectors.T
        return self._named(recall(scores, right, self.ks), recall(scores.T, right.T, self.ks))

    def chance(self, texts: int, targets: Sequence[int]) -> dict[str, float]:
        """Of a ranking in random order."""
        right, _ = self._answers(targets)
        down, across = right.sum(dim=1).tolist(), right.sum(dim=0).tolist()
        return self._named(
            {k: 100 * sum(_one_of(count, len(across), k) for count in down) / len(down) for k in self.ks},
            {k: 100 * sum(_one_of(count, len(down), k) for count in across) / len(across) for k in self.ks},
        )

    def _answers(self, targets: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Which caption tells of which row, (captions, N) without captions of no row, and the captions' numbers."""
        place = {target: number for number, target in enumerate(targets)}
        kept = [number for number, rows in enumerate(self.owners) if any(row in place for row in rows)]
        right = torch.zeros(len(kept), len(targets), dtype=torch.bool)
        for line, number in enumerate(kept):
            right[line, [place[row] for row in self.owners[number] if row in place]] = True
        return right, kept

    def _named(self, there: dict[int, float], back: dict[int, float]) -> dict[str, float]:
        found = {f"text to {self.what} R@{k}": value for k, value in there.items()}
        return found | {f"{self.what} to text R@{k}": value for k, value in back.items()}


def recall(scores: Tensor, right: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """The percent of queries whose k best hold a right answer: scores (Q, C), right (Q, C) -> by k."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    hits = right.gather(1, order)
    return {k: 100 * hits[:, :k].any(dim=1).float().mean().item() for k in ks}


def confusion(vectors: Tensor, texts: Tensor, targets: Sequence[Any]) -> Tensor:
    """(N, E), (L, E), N class numbers -> (L, L) counts: the right class down, the nearest across."""
    nearest = (vectors @ texts.T).argmax(dim=1)
    table = torch.zeros(len(texts), len(texts), dtype=torch.int64)
    table.index_put_((torch.tensor(list(targets)), nearest), torch.tensor(1), accumulate=True)
    return table
