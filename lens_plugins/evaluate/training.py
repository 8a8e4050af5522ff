"""Scores of a lens while it is trained: your own pairs, through the lens, the frozen ViT and the head learnt so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import ConfigError
from ..hosts.base import Host
from ..hosts.retrieval import Embedding
from ..hosts.text_tower import TextTower, embed_texts
from ..inputs.base import ModalityInput
from ..lens.lens import Lens
from ..splice.vit import FrozenViT
from ..train.evaluate import lens_features
from .benchmark import Folders, Row
from .loop import lay_out, score
from .pairs import BENCHMARK, rows

if TYPE_CHECKING:
    from ..inputs.base import Source

__all__ = ["score_pairs"]

_PREFIX = "eval "  # of the figures' names in the log


def score_pairs(
    manifest: Path, modality: str, vit: FrozenViT, text_tower: TextTower | None
) -> Callable[[Lens, Callable[[Tensor], Tensor]], dict[str, float]]:
    """What `train_lens` calls as `score`: figures of the benchmark `pairs`, named "eval top1" and so on.

    Pairs of other modalities are left out. Files that cannot be read are left out and counted as "eval missed".

    Args:
        manifest: JSON lines, see `pairs`.
        modality: of the lens.
        vit: that the lens stands before.
        text_tower: reads labels and texts.

    Raises:
        ConfigError: there is no text tower.
        InputError: no pair of the modality.
    """
    if text_tower is None:
        raise ConfigError("--eval compares inputs with labels and texts; give --text-tower, too.")
    work = lay_out(replace(BENCHMARK, rows=lambda folders: _of(modality, folders)), manifest)
    known: dict[str, Tensor] = {}

    def figures(lens: Lens, to_text: Callable[[Tensor], Tensor]) -> dict[str, float]:
        # It has what an evaluation asks of a host: a lens, vectors of inputs and of texts.
        host = cast(Host, _TrainedSpace(lens, vit, _Texts(text_tower, known, to_text)))
        result = score(host, work)
        found = {f"{_PREFIX}{name}": value for name, value in result.figures.items()}
        return found | ({f"{_PREFIX}missed": float(len(result.misses))} if result.misses else {})

    return figures


def _of(modality: str, folders: Folders) -> list[Row]:
    return [row for row in rows(folders) if row.modality == modality]


class _Texts:
    """Texts by the frozen tower, each read once in a run, and class rows by the head as it is now; a `TextSpace`."""

    def __init__(self, tower: TextTower, known: dict[str, Tensor], to_text: Callable[[Tensor], Tensor]) -> None:
        self._tower, self._known, self._to_text = tower, known, to_text

    def encode(self, texts: Sequence[str]) -> Tensor:  # (T, E)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, embed_texts(self._tower, new)))
        return torch.stack([self._known[text] for text in texts])

    def project(self, rows: Tensor) -> Tensor:  # (B, D) -> (B, E)
        return functional.normalize(self._to_text(rows).float(), dim=-1).cpu()


class _TrainedSpace(Embedding):
    """A lens in training before its ViT, without a host."""

    name = "the lens in training"

    def __init__(self, lens: Lens, vit: FrozenViT, texts: _Texts) -> None:
        self.lenses: Mapping[str, Lens] = {lens.modality: lens}
        self.text_tower = texts
        self._lens, self._vit = lens, vit

    def class_rows(self, inputs: Sequence[Source], modality: str | Sequence[str | None] | None = None) -> Tensor:
        """(B, D) where the ViT is; inputs are read already, and those of one shape go through together."""
        groups: dict[torch.Size, list[int]] = {}
        read = [one for one in inputs if isinstance(one, ModalityInput)]
        for number, one in enumerate(read):
            groups.setdefault(one.tensor.shape, []).append(number)
        found = torch.empty(len(read), self._vit.width, device=self._vit.device)
        for numbers in groups.values():
            batch = torch.stack([read[number].tensor for number in numbers]).to(self._vit.device)
            found[numbers] = lens_features(self._lens, self._vit, batch)[:, 0]
        return found
