"""Vectors of many inputs: read by threads beside the computing, kept on disk by what they are of. E width."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from ..catalog import find_modality
from ..errors import CheckpointError, InputError, Unsupported
from ..files.digests import sha256_of
from ..files.opening import read_bytes
from ..inputs.names import modality_of, parse_source
from ..lens.lens import Lens
from ..splice.frozen import digest, tensor_digest

if TYPE_CHECKING:
    from ..inputs.base import ModalityInput
    from ..inputs.settings import InputSettings
    from .base import Host

__all__ = [
    "FeatureCache",
    "HostDigests",
    "Prepared",
    "complete",
    "content_digest",
    "embed_each",
    "host_digest",
    "read_ahead",
    "settings_of",
    "text_digest",
    "vector_key",
]

_THREADS = min(4, os.cpu_count() or 1)
_AHEAD = 4  # batches that are read before they are needed
_NO_ARITHMETIC = ("input", "library_version", "source_sha256")  # of a lens's configuration
_ARITHMETIC = ("_act", "heads", "eps", "rope", "scale")  # in names of transformers' fields
_URI = re.compile(rb'"uri"\s*:\s*"([^"]+)"')  # of a .gltf
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class FeatureCache:
    """Vectors on disk, by content of the input, how it was read, and which weights made them.

    One SQLite file: a killed run leaves what was written, and several runs and threads may share it.

    Args:
        folder: where the file is.
        most: vectors that are kept; the oldest go first. None: all.

    Raises:
        CheckpointError: the folder cannot be written, or its file is no such cache.
    """

    def __init__(self, folder: str | os.PathLike[str], most: int | None = None) -> None:
        self._most = most
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
            if self._most is not None:
                newest = "SELECT rowid FROM vectors ORDER BY rowid DESC LIMIT 1 OFFSET ?"
                self._base.execute(f"DELETE FROM vectors WHERE rowid <= ({newest})", (self._most,))

    def close(self) -> None:
        """Give the file back; nothing can be asked afterwards."""
        self._base.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, ValueError) as error:  # ValueError: bytes that are no float32 numbers
            raise CheckpointError(f"The cache {self.path} cannot be used: {error}. Give another.") from error


class HostDigests:
    """What the vectors of a host depend on, by modality; each part is digested once, whichever thread asks first.

    Args:
        host: frozen; its lenses may be plugged and unplugged meanwhile.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
        self._looking = Lock()

    def of(self, modality: str | None = None) -> str:
        """One sha256 of all weights: ViT and text head, or a whole CLIP, and a modality's lens.

        Settings are left out: they belong to how an input was read.
        """
        host, state = self._host, hashlib.sha256(type(self._host).__name__.encode())
        lens = host.lenses.get(modality or "")
        head = getattr(host.text_tower, "head", None)
        own: nn.Module = host.vit.module if isinstance(head, nn.Module) else host.model
        # A lens with a tower of its own needs nothing of the host.
        whole = lens is not None and lens.tower is not None
        for part in (lens, None if whole else own, head):
            state.update(self._digest(part).encode())
        for part in (lens, None if whole else host.model):
            state.update(_arithmetic(part).encode())
        return state.hexdigest()

    def _digest(self, part: Any) -> str:
        if not isinstance(part, nn.Module):
            return "-"
        with self._looking:
            if part not in self._known:
                self._known[part] = digest(part)
            return self._known[part]


def host_digest(host: Host, modality: str | None = None) -> str:
    """`HostDigests.of`, for one look."""
    return HostDigests(host).of(modality)


def _arithmetic(part: Any) -> str:
    """What a part's configuration says of how it computes: heads and activations are in no weight."""
    config: Any = getattr(part, "config", None)
    told = config.to_dict() if hasattr(config, "to_dict") else {}
    if isinstance(part, Lens):
        told = {name: value for name, value in told.items() if name not in _NO_ARITHMETIC}
    return json.dumps(told if isinstance(part, Lens) else _computing(told), sort_keys=True, default=str)


def _computing(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of transformers' configuration, which also says where it came from, what its ids are and much else."""
    parts = {str(name): _computing(value) for name, value in config.items() if isinstance(value, Mapping)}
    return parts | {
        str(name): value for name, value in config.items() if any(word in str(name) for word in _ARITHMETIC)
    }


def text_digest(host: Host) -> str | None:
    """The same for texts, with the tokenizer; None where the text tower shows no weights."""
    if host.text_tower is None:
        return None
    if hasattr(host.text_tower, "encode"):
        host.text_tower.encode(["a"])  # loads what is loaded with the first text
    tower = getattr(host.text_tower, "tower", host.text_tower)
    parts = [tower, *getattr(tower, "__dict__", {}).values()]
    modules = [part for part in parts if isinstance(part, nn.Module)]
    if not modules:
        return None
    words = [part for part in parts if hasattr(part, "get_vocab")]
    state = hashlib.sha256(" ".join([*map(digest, modules), *map(_arithmetic, modules)]).encode())
    for tokenizer in words:
        backend = getattr(tokenizer, "backend_tokenizer", None)  # with how it normalises and merges
        text = json.dumps(tokenizer.get_vocab(), sort_keys=True) if backend is None else backend.to_str()
        state.update(text.encode())
    return state.hexdigest()


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
        f"{host.name} has no lens for {find_modality(modality).noun}, which is to be read; "
        f"give one with --lens {modality}=PATH."
    )


def content_digest(source: Any) -> str:
    """A sha256 of what an input is: of a file's bytes and of the files it keeps its data in, or of an array's values.

    Raises:
        InputError: a file that cannot be opened.
    """
    if not isinstance(source, (str, os.PathLike)):
        return tensor_digest(torch.from_numpy(np.ascontiguousarray(np.asarray(source))))
    path = parse_source(source)[1] if isinstance(source, str) else Path(source)
    found = [sha256_of(path), *(sha256_of(part) for part in _parts(path) if part.is_file())]
    return found[0] if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest()


def _parts(path: Path) -> list[Path]:
    """Files that another one keeps its data in: the buffers of a .gltf, the samples of a .set."""
    suffix = path.suffix.lower()
    if suffix == ".set":
        return [path.with_suffix(".fdt"), path.with_suffix(".dat")]
    if suffix != ".gltf":
        return []
    names = [unquote(uri.decode("utf-8", "replace")) for uri in _URI.findall(read_bytes(path))]
    return [path.parent / name for name in dict.fromkeys(names) if not name.startswith("data:")]


def vector_key(weights: str, source: Any, modality: str, settings: InputSettings, space: str | None) -> str:
    """Under which a vector is kept.

    Args:
        weights: digest of the host that makes it, as `HostDigests` gives it.
        source: of the input: a file or an array.
        modality: as which it is read.
        settings: with which it is read.
        space: in which the vector is.
    """
    how = json.dumps([modality, space, settings.to_dict()], sort_keys=True)
    return hashlib.sha256("\n".join((weights, content_digest(source), how)).encode()).hexdigest()


def read_ahead(
    items: Iterable[_In], prepare: Callable[[_In], _Out], batch_size: int
) -> Generator[list[_Out], None, None]:
    """Prepared items in their order, a batch at a time; the next ones are prepared by other threads meanwhile.

    Some batches ahead and no further, so that memory is bounded. Close it to end the threads.
    """
    coming = iter(items)
    waiting: deque[Future[_Out]] = deque()
    pool = ThreadPoolExecutor(_THREADS, "lens-plugins-read")
    try:
        while True:
            while len(waiting) < _AHEAD * batch_size:
                try:
                    waiting.append(pool.submit(prepare, next(coming)))
                except StopIteration:
                    break
            if not waiting:
                return
            yield [waiting.popleft().result() for _ in range(min(batch_size, len(waiting)))]
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Prepared:
    """An input as another thread leaves it: read, or its vector from the disk, or why there is neither."""

    key: str = ""  # under which its vector is kept
    given: ModalityInput | None = None
    known: Any = None


def complete(host: Host, batch: Sequence[Prepared], space: str | None, cache: FeatureCache | None) -> list[Any]:
    """A vector (E,) for each, or why there is none: those that are not known are embedded together, and kept."""
    new = [one for one in batch if one.known is None]
    made = host.embed([one.given for one in new if one.given is not None], space) if new else ()
    if cache and new:
        cache.put({one.key: vector for one, vector in zip(new, made)})
    vectors = iter(made)
    return [next(vectors) if one.known is None else one.known for one in batch]


def embed_each(
    host: Host,
    files: Iterable[str],
    *,
    space: str | None = None,
    batch_size: int = 16,
    cache: FeatureCache | None = None,
) -> Iterator[Tensor | InputError | Unsupported]:
    """`Host.embed` for long runs: the vector (E,) of each file, or why there is none, in their order.

    Files are read by other threads while the host computes, a few batches ahead and no further.

    Args:
        host: what embeds.
        files: paths; "depth:room.png" names the modality in front. May be a generator.
        space: as in `Host.embed`.
        batch_size: inputs that go through the host together.
        cache: where vectors are kept by content, settings and weights; None: nowhere.
    """
    prepare = partial(_prepare, host=host, space=space, cache=cache, digests=HostDigests(host))
    with closing(read_ahead(files, prepare, batch_size)) as batches:
        for batch in batches:
            yield from complete(host, batch, space, cache)


def _prepare(file: str, host: Host, space: str | None, cache: FeatureCache | None, digests: HostDigests) -> Prepared:
    try:
        if cache is None:
            return Prepared(given=host.read(file))
        modality = modality_of(file) or ""
        key = vector_key(digests.of(modality), file, modality, settings_of(host, modality), space)
        known = cache.get(key)
        return Prepared(key, host.read(file) if known is None else None, known)
    except (InputError, Unsupported) as error:
        return Prepared(known=error)
