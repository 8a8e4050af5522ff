"""Vectors of many inputs: read by threads beside the computing, kept on disk, misses counted by reason. E width."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError, Interrupted
from ..hosts.base import Host
from ..hosts.messages import Text
from ..hosts.vectors import (
    FeatureCache,
    HostDigests,
    Prepared,
    complete,
    read_ahead,
    settings_of,
    text_digest,
    vector_key,
)
from ..inputs.base import ModalityInput, read_as
from ..inputs.settings import InputSettings
from .benchmark import Row

__all__ = [
    "Features",
    "Miss",
    "Note",
    "Reading",
    "embed_rows",
    "embed_texts",
]

Note = Callable[[str, int, int], Any]
"""Called with what goes on, how many are done and how many there are."""
Reading = Callable[[InputSettings, Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Miss:
    """A row that could not be used."""

    name: str
    kind: str  # "missing", "unreadable"
    reason: str


@dataclass(frozen=True)
class Features:
    """Vectors of the rows that could be used.

    Attributes:
        vectors: (N, E) float32 of unit length.
        kept: number of the row that each vector is of.
        misses: the other rows.
        cached: how many vectors came from the disk.
        seconds: of reading and computing.
    """

    vectors: Tensor
    kept: list[int]
    misses: list[Miss] = field(default_factory=list)
    cached: int = 0
    seconds: float = 0.0


def embed_texts(
    host: Host,
    names: Sequence[str],
    templates: Sequence[str],
    *,
    batch_size: int = 256,
    cache: FeatureCache | None = None,
    note: Note | None = None,
) -> Tensor:
    """(L, E): for each name the mean over templates of unit vectors, of unit length again.

    A template may be given several times and then weighs so much; its text is embedded once.

    Raises:
        Unsupported: the host has no text tower.
    """
    weights = Counter(templates)
    weight = torch.tensor(list(weights.values()), dtype=torch.float32)[:, None]  # (templates, 1)
    texts_of = [[template.replace("{c}", name) for template in weights] for name in names]
    tower = text_digest(host) if cache else None
    found, step = [], max(1, batch_size // len(weights))
    for start in range(0, len(names), step):
        texts = [text for some in texts_of[start : start + step] for text in some]
        each = _texts(host, texts, cache, tower).unflatten(0, (-1, len(weights)))  # (names, templates, E)
        found.append(functional.normalize((each * weight).sum(dim=1), dim=-1))
        if note:
            note("texts", min(start + step, len(names)), len(names))
    return torch.cat(found)


def _texts(host: Host, texts: Sequence[str], cache: FeatureCache | None, tower: str | None) -> Tensor:  # (T, E)
    keys = [hashlib.sha256(f"text {tower} {text}".encode()).hexdigest() for text in texts]
    known = {text: cache.get(key) if cache and tower else None for text, key in zip(texts, keys)}
    new = [text for text, vector in known.items() if vector is None]
    if new:
        known.update(zip(new, host.embed([Text(text) for text in new])))
    vectors = {text: vector for text, vector in known.items() if vector is not None}
    if new and cache and tower:
        cache.put({key: vectors[text] for text, key in zip(texts, keys) if text in new})
    return torch.stack([vectors[text] for text in texts])


def embed_rows(
    host: Host,
    rows: Sequence[Row],
    modality: str,
    reading: Reading,
    *,
    space: str | None = None,
    batch_size: int = 32,
    cache: FeatureCache | None = None,
    note: Note | None = None,
) -> Features:
    """Vectors of all rows that can be read, in their order.

    Args:
        host: what embeds.
        rows: of the benchmark.
        modality: of rows that name none.
        reading: settings in place of the lens's own, given those and a row's facts.
        space: as in `Host.embed`.
        batch_size: inputs that go through the host together.
        cache: where vectors are kept; None: nowhere.
        note: is told of the progress.

    Raises:
        Unsupported: the host has no lens for a modality.
        Interrupted: by Ctrl-C; says how far it came.
    """
    began = time.monotonic()
    run = _Run(host, {row.modality or modality for row in rows}, reading, space, cache)
    try:
        prepare = partial(run.prepare, modality=modality)
        with closing(read_ahead(rows, prepare, batch_size)) as batches:  # ends the threads whatever happens
            for prepared in batches:
                run.add(prepared)
                if note:
                    note("inputs", run.done, len(rows))
    except KeyboardInterrupt as stop:
        told = f"their vectors are in {cache.path}" if cache else "give --cache DIR to go on from there next time"
        raise Interrupted(f"Stopped after {run.done} of {len(rows)} inputs; {told}.") from stop
    kept = sorted(run.vectors)
    vectors = torch.stack([run.vectors[number] for number in kept]) if kept else torch.empty(0, 0)
    return Features(vectors, kept, run.misses, run.cached, time.monotonic() - began)


class _Run:
    """What one call of `embed_rows` knows: which weights, what is done, what was missed."""

    def __init__(
        self, host: Host, modalities: Iterable[str], reading: Reading, space: str | None, cache: FeatureCache | None
    ) -> None:
        self.host, self.reading, self.space, self.cache = host, reading, space, cache
        self.vectors: dict[int, Tensor] = {}
        self.misses: list[Miss] = []
        self.cached = self.done = 0
        self._own = {modality: settings_of(host, modality) for modality in modalities}
        digests = HostDigests(host)
        self._digests = {modality: digests.of(modality) if cache else "" for modality in self._own}

    def prepare(self, row: Row, modality: str) -> Prepared:
        """Read a row, or find that its vector is known; runs in other threads."""
        modality = row.modality or modality
        try:
            source = row.source() if callable(row.source) else row.source
            own = self._own[modality]
            changed = self.reading(own, row.facts)
            settings = own.from_dict({**own.to_dict(), **changed}) if changed else own
            key = vector_key(self._digests[modality], source, modality, settings, self.space) if self.cache else ""
            known = self.cache.get(key) if self.cache else None
            return Prepared(key, None if known is not None else _read(source, modality, settings), known)
        except InputError as error:
            return Prepared(known=Miss(row.name, "missing" if _is_missing(error) else "unreadable", str(error)))

    def add(self, batch: Sequence[Prepared]) -> None:
        """Embed a batch and remember its vectors by row."""
        for number, (one, vector) in enumerate(
            zip(batch, complete(self.host, batch, self.space, self.cache)), self.done
        ):
            if isinstance(vector, Miss):
                self.misses.append(vector)
            else:
                self.vectors[number] = vector
                self.cached += one.known is not None
        self.done += len(batch)


def _read(source: Any, modality: str, settings: InputSettings) -> ModalityInput:
    # Without its settings, which may differ from the lens's on purpose: the benchmark says how it is read.
    return replace(read_as(source, modality, lambda _: settings), settings=None)


def _is_missing(error: BaseException) -> bool:
    """Whether an error stands for a file that is not there."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (FileNotFoundError, NotADirectoryError)):
            return True
        cause = cause.__cause__
    return False
