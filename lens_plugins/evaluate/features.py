"""Vectors of many inputs: read by threads beside the computing, kept on disk, misses counted by reason. E width."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..catalog import find_modality
from ..errors import CheckpointError, InputError, Interrupted, Unsupported
from ..files.digests import sha256_of
from ..hosts.base import Host
from ..hosts.messages import Text
from ..inputs.base import ModalityInput, parse_source, read_as
from ..inputs.settings import InputSettings
from ..splice.frozen import digest, tensor_digest
from .benchmark import Row

__all__ = [
    "FeatureCache",
    "Features",
    "Miss",
    "Note",
    "Reading",
    "embed_rows",
    "embed_texts",
    "host_digest",
    "settings_of",
]

Note = Callable[[str, int, int], Any]
"""Called with what goes on, how many are done and how many there are."""
Reading = Callable[[InputSettings, Mapping[str, Any]], Mapping[str, Any]]

_THREADS = min(4, os.cpu_count() or 1)
_AHEAD = 4  # batches that are read before they are needed


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


class FeatureCache:
    """Vectors on disk, by content of the input, how it was read, and which weights made them.

    One SQLite file: a killed run leaves what was written, and several runs and threads may share it.

    Raises:
        CheckpointError: the folder cannot be written, or its file is no such cache.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder) / "features.sqlite"
        self._lock = Lock()
        with self._told():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self.path, timeout=60, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB NOT NULL)")

    def get(self, key: str) -> Tensor | None:
        """The vector (E,) of a key, or None."""
        with self._told(), self._lock:
            row = self._base.execute("SELECT vector FROM vectors WHERE key = ?", (key,)).fetchone()
        return None if row is None else torch.from_numpy(np.frombuffer(row[0], np.float32).copy())

    def put(self, vectors: Mapping[str, Tensor]) -> None:
        """Keep vectors by key; all of them or, if the process ends meanwhile, none."""
        rows = [(key, vector.contiguous().numpy().tobytes()) for key, vector in vectors.items()]
        with self._told(), self._lock, self._base:
            self._base.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def close(self) -> None:
        """Give the file back; nothing can be asked afterwards."""
        self._base.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, ValueError) as error:  # ValueError: bytes that are no float32 numbers
            raise CheckpointError(f"The cache {self.path} cannot be used: {error}. Give another.") from error


def host_digest(host: Host, modality: str) -> str:
    """One sha256 of all weights that a vector of this modality depends on: lens, ViT and text head, or a whole CLIP.

    Settings are left out: they belong to how an input was read.
    """
    state = hashlib.sha256(type(host).__name__.encode())
    lens = host.lenses.get(modality)
    head = getattr(host.text_tower, "head", None)
    own: nn.Module = host.vit.module if isinstance(head, nn.Module) else host.model
    # A lens with a tower of its own needs nothing of the host.
    for part in (lens, None if lens is not None and lens.tower is not None else own, head):
        state.update(digest(part).encode() if isinstance(part, nn.Module) else b"-")
    return state.hexdigest()


def _text_digest(host: Host) -> str | None:
    """The same for texts; None where the text tower shows no weights."""
    tower = getattr(host.text_tower, "tower", host.text_tower)
    modules = [part for part in (tower, *getattr(tower, "__dict__", {}).values()) if isinstance(part, nn.Module)]
    return " ".join(map(digest, modules)) if modules else None


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
    tower = _text_digest(host) if cache else None
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


@dataclass(frozen=True)
class _Prepared:
    """A row as another thread leaves it: its vector from the cache, its input, or why there is neither."""

    key: str = ""
    vector: Tensor | None = None
    given: ModalityInput | None = None
    miss: Miss | None = None


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
        with closing(_batches(run, rows, modality, batch_size)) as batches:  # ends the threads whatever happens
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


def _batches(run: _Run, rows: Sequence[Row], modality: str, batch_size: int) -> Generator[list[_Prepared]]:
    """Prepared rows, a batch at a time; the next ones are read by other threads meanwhile."""
    coming = iter(rows)
    waiting: deque[Future[_Prepared]] = deque()
    pool = ThreadPoolExecutor(_THREADS)
    try:
        while True:
            while len(waiting) < _AHEAD * batch_size and (row := next(coming, None)) is not None:
                waiting.append(pool.submit(run.prepare, row, modality))
            if not waiting:
                return
            yield [waiting.popleft().result() for _ in range(min(batch_size, len(waiting)))]
    finally:
        pool.shutdown(cancel_futures=True)


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
        self._digests = {modality: host_digest(host, modality) if cache else "" for modality in self._own}

    def prepare(self, row: Row, modality: str) -> _Prepared:
        """Read a row, or find that its vector is known; runs in other threads."""
        modality = row.modality or modality
        try:
            source = row.source() if callable(row.source) else row.source
            own = self._own[modality]
            changed = self.reading(own, row.facts)
            settings = own.from_dict({**own.to_dict(), **changed}) if changed else own
            key = self._key(modality, source, settings) if self.cache else ""
            known = self.cache.get(key) if self.cache else None
            return _Prepared(key, known, None if known is not None else _read(source, modality, settings))
        except InputError as error:
            return _Prepared(miss=Miss(row.name, "missing" if _is_missing(error) else "unreadable", str(error)))

    def add(self, batch: Sequence[_Prepared]) -> None:
        """Embed a batch and remember its vectors by row."""
        new: dict[int, _Prepared] = {}
        for number, one in enumerate(batch, self.done):
            if one.miss is not None:
                self.misses.append(one.miss)
            elif one.vector is not None:
                self.vectors[number], self.cached = one.vector, self.cached + 1
            else:
                new[number] = one
        if new:
            made = self.host.embed([one.given for one in new.values() if one.given is not None], self.space)
            self.vectors.update(zip(new, made))
            if self.cache:
                self.cache.put({one.key: vector for one, vector in zip(new.values(), made)})
        self.done += len(batch)

    def _key(self, modality: str, source: Any, settings: InputSettings) -> str:
        how = json.dumps([modality, self.space, settings.to_dict()], sort_keys=True)
        return hashlib.sha256("\n".join((self._digests[modality], _content(source), how)).encode()).hexdigest()


def settings_of(host: Host, modality: str) -> InputSettings:
    """How a host reads a modality: as its lens was trained, or as it sees pictures.

    Raises:
        Unsupported: there is no lens for it.
    """
    if modality in host.lenses:
        settings: InputSettings = host.lenses[modality].config.input
        return settings
    if find_modality(modality).embedding is None:
        return host.image_settings
    raise Unsupported(
        f"{host.name} has no lens for {find_modality(modality).noun}, which this benchmark reads; "
        f"give one with --lens {modality}=PATH."
    )


def _read(source: Any, modality: str, settings: InputSettings) -> ModalityInput:
    # Without its settings, which may differ from the lens's on purpose: the benchmark says how it is read.
    return replace(read_as(source, modality, lambda _: settings), settings=None)


def _content(source: Any) -> str:
    """A digest of what an input is: of a file's bytes, or of an array's values."""
    if isinstance(source, str):
        return sha256_of(parse_source(source)[1])
    if isinstance(source, os.PathLike):
        return sha256_of(source)
    return tensor_digest(torch.from_numpy(np.ascontiguousarray(np.asarray(source))))


def _is_missing(error: BaseException) -> bool:
    """Whether an error stands for a file that is not there."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (FileNotFoundError, NotADirectoryError)):
            return True
        cause = cause.__cause__
    return False
