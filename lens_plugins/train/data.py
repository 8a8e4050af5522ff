"""Pairs as batches: decoded inputs kept in memory up to a limit, anchors as rows of one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from .._config import trait
from ..errors import LensPluginsError
from ..inputs import read
from ..inputs.settings import InputSettings
from .augment import Augmentation, Draws
from .config import TrainConfig
from .interrupts import ignore_interrupts
from .loss import Batch
from .manifest import Pair

__all__ = ["Anchors", "InputStore", "PairBatches", "Schedule", "loader"]

_SPARE = 2  # points given to the augmentation for each that it returns, so that cuts leave enough


class InputStore:
    """Decoded inputs of pairs, read once and kept until the memory limit; what is over it is read again when asked.

    Nothing is evicted: training passes over everything in turn, and a cache that forgets the oldest would then never
    hold what comes next.

    Args:
        pairs: whose `path` is read.
        settings: of the modality.
        limit: bytes to keep.
    """

    def __init__(self, pairs: Sequence[Pair], settings: Any, limit: float) -> None:
        self._pairs, self._settings, self._room = pairs, settings, limit
        self._kept: dict[str, Tensor] = {}

    def __getitem__(self, index: int) -> Tensor:
        """The tensor of one pair, without a batch dimension.

        Raises:
            InputError: the file cannot be read.
        """
        pair = self._pairs[index]
        name = str(pair.path)
        if name in self._kept:
            return self._kept[name]
        tensor = read(pair.path, modality=pair.modality, settings=self._settings).tensor
        # What does not fit is read again; nothing that is kept makes room for it.
        if (size := tensor.nbytes) <= self._room:
            self._room -= size
            self._kept[name] = tensor
        return tensor

    @property
    def size(self) -> int:
        """Bytes kept."""
        return sum(tensor.nbytes for tensor in self._kept.values())

    def load_all(self, advance: Callable[[int], None] | None = None) -> list[tuple[int, str]]:
        """Read everything once; (index of the pair, sentence) of each file that can't be."""
        problems = []
        for index in range(len(self._pairs)):
            try:
                self[index]
            except LensPluginsError as error:
                problems.append((index, str(error)))
            if advance:
                advance(1)
        return problems


class Anchors:
    """What each pair is pulled towards: rows of a table of pictures and of a table of texts.

    Args:
        images: (M, A, D) features of all pictures, float16 or float32.
        texts: (U, E) embeddings of all texts; E is 0 without a text tower.
        image_rows: for each pair, which pictures show it; none is allowed.
        text_rows: for each pair, which texts name it; none is allowed.
    """

    def __init__(
        self,
        images: Tensor,
        texts: Tensor,
        image_rows: Sequence[tuple[int, ...]],
        text_rows: Sequence[tuple[int, ...]],
    ) -> None:
        self.images, self.texts = images, texts
        self.image_rows, self.text_rows = image_rows, text_rows
        sets: dict[tuple[int, ...], int] = {}
        self.image_keys = [sets.setdefault(tuple(sorted(rows)), len(sets)) if rows else -1 for rows in image_rows]

    def image(self, index: int, view: int | None) -> Tensor:
        """(A, D) float32: one picture of a pair, or the mean of all of them; zeros where it has none."""
        rows = list(self.image_rows[index])
        if not rows:
            return torch.zeros(self.images.shape[1:])
        return self.images[rows[view]].float() if view is not None else self.images[rows].float().mean(dim=0)

    def center(self, pairs: Sequence[int]) -> Tensor:
        """(D,) the mean CLS row of the pairs' pictures."""
        rows = sorted({row for index in pairs for row in self.image_rows[index]})
        if not rows:
            return torch.zeros(self.images.shape[-1])
        return self.images[rows, 0].float().mean(dim=0)


class PairBatches(Dataset[Batch]):
    """Batches by (epoch, indices): the same two always give the same batch.

    Args:
        store: decoded inputs of the training pairs.
        anchors: of the same pairs.
        config: of the run.
        settings: of the modality, which make one tensor of a batch's inputs.
        augmentation: applied to whole batches; None for none.
    """

    def __init__(
        self,
        store: InputStore,
        anchors: Anchors,
        config: TrainConfig,
        settings: Any,
        augmentation: Augmentation | None,
    ) -> None:
        self._store, self._anchors, self._config = store, anchors, config
        self._batch, self._augmentation = trait(settings, "batch", InputSettings), augmentation

    def __getitem__(self, which: tuple[int, Sequence[int]]) -> Batch:
        epoch, indices = which
        # The order of these draws is part of a run: pictures, texts, inputs.
        draws = Draws(self._config.seed, epoch, indices)
        images = self._images(indices, draws)
        texts, text_keys = self._texts(indices, draws)
        inputs = self._inputs(indices, draws)
        keys = [self._anchors.image_keys[index] for index in indices]
        return Batch(inputs, images, torch.tensor(keys), texts, torch.tensor(text_keys))

    def _inputs(self, indices: Sequence[int], draws: Draws) -> Tensor:
        tensors = [self._store[index] for index in indices]
        if self._augmentation is None:
            return self._batch(tensors, draws)
        return self._augmentation(self._batch(tensors, draws, spare=_SPARE), draws)

    def _images(self, indices: Sequence[int], draws: Draws) -> Tensor:
        if self._config.views == "mean":
            return torch.stack([self._anchors.image(index, None) for index in indices])
        views = draws.choice([max(len(self._anchors.image_rows[index]), 1) for index in indices])
        return torch.stack([self._anchors.image(index, view) for index, view in zip(indices, views)])

    def _texts(self, indices: Sequence[int], draws: Draws) -> tuple[Tensor, list[int]]:
        if not len(self._anchors.texts):
            return torch.zeros(len(indices), 0), [-1] * len(indices)
        rows = [self._anchors.text_rows[index] for index in indices]
        picked = draws.choice([max(len(r), 1) for r in rows])
        keys = [r[i] if r else -1 for r, i in zip(rows, picked)]
        table = self._anchors.texts
        return torch.where((torch.tensor(keys) >= 0)[:, None], table[[max(k, 0) for k in keys]], 0.0), keys


class Schedule(Sampler[tuple[int, list[int]]]):
    """Which pairs each step sees: (epoch, indices), a new order every epoch, whole batches only.

    Args:
        pairs: number of training pairs.
        batch_size: over all processes.
        seed: of the run.
        start, stop: steps to give, so that a resumed run sees what the first one would have.
        process, processes: this one's share of each batch.
    """

    def __init__(
        self, pairs: int, batch_size: int, seed: int, *, start: int, stop: int, process: int = 0, processes: int = 1
    ) -> None:
        self._pairs, self._batch_size, self._seed = pairs, batch_size, seed
        self._steps = range(start, stop)
        self._own = slice(process, None, processes)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        known, order = -1, []
        for step in self._steps:
            epoch, place = divmod(step, self._pairs // self._batch_size)
            if epoch != known:
                # A large prime keeps the epochs of neighbouring seeds apart.
                generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
                known, order = epoch, torch.randperm(self._pairs, generator=generator).tolist()
            yield epoch, order[place * self._batch_size :][: self._batch_size][self._own]


def loader(batches: PairBatches, schedule: Schedule, workers: int) -> DataLoader[Batch]:
    """Batches in the order of the schedule; the global random state is left alone."""
    return DataLoader(
        batches,
        sampler=schedule,
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),
        worker_init_fn=ignore_interrupts,
    )
