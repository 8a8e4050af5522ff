"""Vectors of many inputs: read by threads beside the computing, in order, what cannot be read beside what can."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..errors import InputError, Unsupported
from ..splice.frozen import digest
from .messages import Text

if TYPE_CHECKING:
    from ..inputs import ModalityInput
    from ..inputs.base import Source
    from .base import Host

__all__ = ["embed_each", "host_digest"]

_THREADS = min(4, os.cpu_count() or 1)
_AHEAD = 4  # batches that are read before they are needed


def host_digest(host: Host, modality: str | None = None) -> str:
    """One sha256 of all weights that a vector depends on: the ViT, the text head, and the lens of a modality.

    Settings are left out: they belong to how an input was read.
    """
    state = hashlib.sha256(type(host).__name__.encode())
    lens = host.lenses.get(modality or "")
    whole = lens is not None and lens.tower is not None  # such a lens needs no ViT of the host
    for part in (lens, None if whole else host.vit.module, getattr(host.text_tower, "head", None)):
        state.update(digest(part).encode() if isinstance(part, nn.Module) else b"-")
    return state.hexdigest()


def embed_each(
    host: Host, sources: Iterable[Source | Text], *, space: str | None = None, batch_size: int = 16
) -> Iterator[Tensor | InputError | Unsupported]:
    """`Host.embed` for long runs: the vector (E,) of each input, or why there is none, in their order.

    Inputs are read by other threads while the host computes, a few batches ahead and no further.

    Args:
        host: what embeds.
        sources: as in `Host.embed`; may be a generator.
        space: as in `Host.embed`.
        batch_size: inputs that go through the host together.
    """
    coming = iter(sources)
    waiting: deque[Future[ModalityInput | Text | InputError | Unsupported]] = deque()
    pool = ThreadPoolExecutor(_THREADS, "lens-plugins-read")
    try:
        while True:
            while len(waiting) < _AHEAD * batch_size and (source := next(coming, None)) is not None:
                waiting.append(pool.submit(_read, host, source))
            if not waiting:
                return
            batch = [waiting.popleft().result() for _ in range(min(batch_size, len(waiting)))]
            good = [one for one in batch if not isinstance(one, Exception)]
            vectors = iter(host.embed(good, space) if good else ())  # (B, E)
            yield from (one if isinstance(one, (InputError, Unsupported)) else next(vectors) for one in batch)
    finally:
        pool.shutdown(cancel_futures=True)


def _read(host: Host, source: Source | Text) -> ModalityInput | Text | InputError | Unsupported:
    if isinstance(source, Text):
        return source
    try:
        return host.read(source)
    except (InputError, Unsupported) as error:
        return error
