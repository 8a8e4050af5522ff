"""What lenses and a second host add to a process: ``lens-plugins bench memory``.

Each row is measured in a fresh process that has answered once, so that what the libraries set aside for themselves is
not counted. "Grew" is resident memory; "weights" is what the new parameters and buffers hold, each storage once.
"""

from __future__ import annotations

import gc
import multiprocessing
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import nn

from ..catalog import LENSES
from ..hosts.base import Host
from ..hosts.loading import load_host
from ..inputs import ModalityInput
from ..lens.loading import load_lens
from .lens import hardware

__all__ = ["Growth", "lenses_growth", "run", "second_host_growth", "weights_bytes"]


@dataclass(frozen=True)
class Growth:
    """What loading something took, in bytes."""

    name: str
    resident: int
    weights: int


def run(host: str = "pocket-instructblip", second: str | None = "pocket-seed-llama") -> str:
    """Measure and lay out as a table.

    Args:
        host: what stands in the process before; its shipped lenses are plugged.
        second: a host of the same ViT that is loaded beside it, once with a ViT of its own and once sharing; None: none
    """
    jobs: list[tuple[Any, ...]] = [(lenses_growth, host)]
    if second is not None:
        jobs += [(second_host_growth, host, second, shared) for shared in (False, True)]
    rows = [_apart(*job) for job in jobs]
    lines = [f"beside {host}; {hardware()}", f"{'':52}{'grew':>10}{'weights':>10}{'ratio':>8}"]
    return "\n".join(lines + [_line(row) for row in rows])


def lenses_growth(host: str, lenses: Iterable[str] | None = None) -> Growth:
    """Plug lenses into a loaded host, in this process.

    Args:
        lenses: names or folders; None: those that ship.
    """
    loaded = _answered(host)
    chosen = [row.id for row in LENSES if row.family == "pocket"] if lenses is None else list(lenses)
    before = _resident()
    for name in chosen:
        loaded.plug(load_lens(name))
    grown = _resident() - before
    return Growth(f"{len(chosen)} lenses", grown, weights_bytes(list(loaded.lenses.values())))


def second_host_growth(host: str, second: str, shared: bool) -> Growth:
    """Load a second host beside the first one, with a ViT of its own or sharing, in this process."""
    first = _answered(host)
    before = _resident()
    loaded = load_host(second, vit=first.vit if shared else None)
    grown = _resident() - before
    own = weights_bytes([loaded.model])  # a borrowed ViT is not in it
    return Growth(f"{second}, {'sharing the ViT' if shared else 'with a ViT of its own'}", grown, own)


def weights_bytes(modules: Iterable[nn.Module]) -> int:
    """Bytes of all parameters and buffers of modules; what is shared counts once."""
    held = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
    return sum(held.values())


def _answered(name: str) -> Host:
    """A loaded host that has answered once."""
    host = load_host(name)
    side = host.vit.image_size
    host.generate(ModalityInput("image", torch.zeros(3, side, side), None), max_new_tokens=2)
    return host


def _apart(call: Callable[..., Growth], *arguments: object) -> Growth:
    """Call in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def _resident() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


def _line(row: Growth) -> str:
    return f"{row.name:52}{row.resident / 1e6:>7.1f} MB{row.weights / 1e6:>7.1f} MB{row.resident / row.weights:>7.2f}x"


if __name__ == "__main__":
    sys.stdout.write(run() + "\n")
