"""Retrieval with a lens: does an input find its own picture and its own text among all those of the held-out pairs?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..splice.vit import FrozenViT
from .data import Anchors, InputStore
from .loss import AlignmentLoss

__all__ = ["lens_cls", "lens_features", "retrieval", "top_k"]


def lens_features(lens: nn.Module, vit: FrozenViT, inputs: Tensor) -> Tensor:
    """Inputs (B, ...) through the lens and the frozen ViT: (B, 1 + N, D) float32; clips (B, C, ...) are averaged."""
    latents = lens(inputs)
    if latents.ndim == 3:
        return vit.encode(latents).float()
    clips = vit.encode(latents.flatten(0, 1)).float()  # (B·C, 1 + N, D)
    return clips.unflatten(0, latents.shape[:2]).mean(dim=1)


@torch.no_grad()
def lens_cls(lens: nn.Module, vit: FrozenViT, store: InputStore, count: int, *, batch_size: int = 64) -> Tensor:
    """CLS rows (M, D) of the first `count` inputs of a store, read as the lens reads them, without variation."""
    rows = torch.empty(count, vit.width)
    device = next(lens.parameters()).device
    for indices in _of_one_shape(store, count, batch_size):
        batch = torch.stack([store[index] for index in indices]).to(device)
        rows[indices] = lens_features(lens, vit, batch)[:, 0].cpu()
    return rows


def _of_one_shape(store: InputStore, count: int, batch_size: int) -> Iterator[list[int]]:
    """All indices below `count`, in groups whose tensors stack."""
    waiting: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index in range(count):
        # Clouds differ in size, and only tensors of one shape stack.
        group = waiting[tuple(store[index].shape)]
        group.append(index)
        if len(group) == batch_size:
            yield group.copy()
            group.clear()
    yield from (group for group in waiting.values() if group)


@torch.no_grad()
def retrieval(loss: AlignmentLoss, cls: Tensor, anchors: Anchors) -> dict[str, float]:
    """Top-1 and top-5 accuracies, and among how many candidates.

    Args:
        loss: says how rows are compared.
        cls: (M, D) of the pairs, as `lens_cls` gives them.
        anchors: of the same pairs. A picture candidate is the mean of a pair's pictures; a pair with several texts is
            right with any of them.
    """
    measured: dict[str, float] = {}
    device = loss.center.device
    # Pairs with the same pictures are one candidate: any other would be a wrong answer that is right.
    firsts = {key: index for index, key in reversed(list(enumerate(anchors.image_keys))) if key >= 0}
    if firsts:
        candidates = torch.stack([anchors.image(index, None)[0] for index in firsts.values()]).to(device)
        place = {key: i for i, key in enumerate(firsts)}
        right = [{place[key]} if key >= 0 else set() for key in anchors.image_keys]
        scores = loss.compare(cls.to(device)) @ loss.compare(candidates).T
        measured |= _accuracies("val_image", scores, right)
    texts = sorted({row for rows in anchors.text_rows for row in rows})
    if texts and loss.text_head is not None:
        place = {row: i for i, row in enumerate(texts)}
        right = [{place[row] for row in rows} for rows in anchors.text_rows]
        scores = loss.to_text(cls.to(device)) @ F.normalize(anchors.texts[texts], dim=-1).to(device).T
        measured |= _accuracies("val_text", scores, right)
    return measured


def _accuracies(name: str, scores: Tensor, right: Sequence[set[int]]) -> dict[str, float]:
    asked = [i for i, answers in enumerate(right) if answers]
    measured = {f"{name}_top{k}": top_k(scores[asked], [right[i] for i in asked], k) for k in (1, 5)}
    return {**measured, f"{name}_candidates": scores.shape[1]}


def top_k(scores: Tensor, right: Sequence[set[int]], k: int) -> float:
    """The share of rows of (M, candidates) whose k best hold one of that row's right answers."""
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices.tolist()
    return sum(bool(answers & set(row)) for row, answers in zip(best, right)) / len(right)
