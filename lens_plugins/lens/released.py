"""One lens in a file of the original project: its tensors by their own names, and where a tokenizer lies in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..errors import CheckpointError
from ..keymap import KeyMap

__all__ = ["CLIP", "EVA", "Layout", "Released"]

EVA, CLIP = "eva_g14", "clip_l14"
"""The two families of released lenses, named by the ViT that they were trained for."""


@dataclass(frozen=True)
class Layout:
    """Where the files of one family keep a tokenizer."""

    prefix: str  # before its keys, below the root of the lens
    table: KeyMap  # keys below the prefix -> names of the embedding
    resampled: bool = True  # whether a Perceiver may follow it


@dataclass(frozen=True)
class Released:
    """One lens found in a file."""

    path: Path
    family: str
    modality: str
    root: str  # before every key of the lens, in the file's own words
    table: KeyMap  # full keys of the file -> names of a `Lens`
    tensors: dict[str, Tensor]  # the lens's own, full keys
    ignored: tuple[str, ...]  # known and not the lens's
    vit: dict[str, Tensor]  # the file's copy of the EVA ViT, LAVIS names

    def shape(self, key: str, axes: int) -> tuple[int, ...]:
        """Shape of a tensor that the configuration is read from.

        Raises:
            CheckpointError: it is absent, or has another number of axes.
        """
        full = self.root + key
        if full not in self.tensors:
            raise CheckpointError(f"{self.path} looks like a lens for {self.modality}, but it has no {full!r}.")
        shape = tuple(self.tensors[full].shape)
        if len(shape) != axes:
            raise CheckpointError(f"{full!r} of {self.path} has {len(shape)} axes, {shape}; a lens has {axes} there.")
        return shape

    def has(self, prefix: str) -> bool:
        """Whether a key of the lens begins so, below the root."""
        return any(key.startswith(self.root + prefix) for key in self.tensors)

    def count(self, pattern: str) -> int:
        """How many of a running number there are: one more than the largest that `pattern` captures.

        Raises:
            CheckpointError: the largest is beyond what so few tensors can be the parts of.
        """
        expression = re.compile(re.escape(self.root) + pattern)
        count = 1 + max((int(found[1]) for key in self.tensors if (found := expression.match(key))), default=-1)
        if count > len(self.tensors):  # a module is built by this number, so a wrong one would take all memory
            raise CheckpointError(
                f"{self.path} numbers its layers up to {count - 1}, but has {len(self.tensors)} tensors."
            )
        return count
