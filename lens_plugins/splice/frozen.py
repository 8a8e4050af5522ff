"""Proof that nothing moved: digests over every parameter and buffer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import InternalError
from .offload import aligned

__all__ = ["digest", "digests", "freeze", "tensor_digest", "unchanged"]

M = TypeVar("M", bound=nn.Module)


def tensor_digest(tensor: Tensor) -> str:
    """The sha256 of a tensor's shape, dtype and bytes."""
    state = hashlib.sha256(f"{tuple(tensor.shape)} {tensor.dtype} ".encode())
    state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def digests(module: nn.Module) -> dict[str, str]:
    """The sha256 of every parameter and buffer (shape, dtype, bytes) by its full name.

    Offloaded weights are brought in one module at a time, so memory stays that of the largest module.

    Raises:
        InternalError: a tensor is on the meta device and nothing knows its values.
    """
    found: dict[str, str] = {}
    for prefix, part in module.named_modules():
        with aligned(part):
            own = chain(part.named_parameters(recurse=False), part.named_buffers(recurse=False))
            for name, tensor in own:
                full = f"{prefix}.{name}" if prefix else name
                if tensor.is_meta:
                    raise InternalError(f"{full} is on the meta device, without values: it cannot be digested.")
                found[full] = tensor_digest(tensor)
    return found


def digest(module: nn.Module) -> str:
    """One sha256 over every parameter and buffer of a module: name, shape, dtype and bytes, in order of name."""
    state = hashlib.sha256()
    for name, value in sorted(digests(module).items()):
        state.update(f"{name} {value}\n".encode())
    return state.hexdigest()


def freeze(module: M) -> M:
    """Put a module in eval mode and stop its parameters from asking for gradients; returns it."""
    return module.eval().requires_grad_(False)


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Raise when the block leaves any parameter or buffer of `module` other than it found it.

    Raises:
        InternalError: names how many tensors changed, and the first of them.
    """
    before = digests(module)
    yield
    after = digests(module)
    moved = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if moved:
        raise InternalError(
            f"{len(moved)} of {len(before)} frozen tensors changed, the first is {moved[0]}; a frozen model must not."
        )
