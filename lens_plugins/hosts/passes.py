"""Which clips become tokens and what goes through the ViT, told apart by content; nothing here knows a host.

`Host.look_batch` follows such a plan: read, tokens, encode, each once for every distinct clip.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..inputs import ModalityInput
from ..splice.frozen import tensor_digest
from ..splice.fusion import Frame, arrange

__all__ = ["Clip", "Clips", "Memory", "Plan", "ReadKey", "clips_of", "plan_passes", "same_options"]

V = TypeVar("V")

_KEPT = 64  # inputs, and ViT passes, that one call remembers: 93 MB at 257 tokens of width 1408 in float32


@dataclass(frozen=True)
class Clip:
    """One clip of an input, which a lens or the host's patch embedding turns into tokens by itself.

    Args:
        modality: what it is of.
        digest: of its shape, type and values; clips of one modality and one digest are equal.
        tensor: (...), without the batch axis.
    """

    modality: str
    digest: str
    tensor: Tensor = field(compare=False, repr=False)


Clips: TypeAlias = "tuple[Clip, ...]"  # of one input in time, or of one sequence through the ViT
ReadKey: TypeAlias = "tuple[str | int, str | None, int | None]"  # path or id of an object, modality, number of clips


@dataclass(frozen=True)
class Plan:
    """What is to be done to see some requests.

    Args:
        known: sequences that have been encoded before.
        clips: groups of one modality and shape; a lens makes tokens of each group at once.
        sequences: groups of one length; each group goes through the ViT in one pass, its clips side by side.
        frames: what each request shows, in order.
    """

    known: tuple[Clips, ...]
    clips: tuple[Clips, ...]
    sequences: tuple[tuple[Clips, ...], ...]
    frames: tuple[tuple[Frame[Clip], ...], ...]

    def features(self, encoded: Mapping[Clips, Tensor]) -> list[tuple[Tensor, ...]]:
        """Of each request the features (T, D) of its frames; equal frames are one tensor, by which a host knows them.

        Args:
            encoded: what the ViT made of each sequence.
        """
        joined: dict[Frame[Clip], Tensor] = {}
        for frame in (frame for frames in self.frames for frame in frames if frame not in joined):
            parts = [encoded[sequence] for sequence in frame.sequences]
            joined[frame] = torch.cat(parts) if len(parts) > 1 else parts[0]
        return [tuple(joined[frame] for frame in frames) for frames in self.frames]


def plan_passes(inputs: Sequence[Sequence[Clips]], places: Sequence[str], known: Collection[Clips]) -> Plan:
    """Plan what must be encoded for some requests.

    Args:
        inputs: of each request the clips of its inputs.
        places: where the inputs of each request are fused.
        known: sequences that have been encoded before.

    Raises:
        DoesNotFit: see `arrange`.
    """
    frames = tuple(tuple(arrange(*request)) for request in zip(inputs, places))
    sequences = {sequence: None for some in frames for frame in some for sequence in frame.sequences}
    new = [sequence for sequence in sequences if sequence not in known]
    clips = {clip: None for sequence in new for clip in sequence}
    return Plan(
        known=tuple(sequence for sequence in sequences if sequence in known),
        clips=_grouped(clips, lambda clip: (clip.modality, clip.tensor.shape)),
        sequences=_grouped(new, len),
        frames=frames,
    )


def _grouped(values: Iterable[V], key: Callable[[V], Hashable]) -> tuple[tuple[V, ...], ...]:
    """Values of one key together, in order of first occurrence."""
    groups: dict[Hashable, list[V]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return tuple(map(tuple, groups.values()))


def clips_of(given: ModalityInput) -> Clips:
    """The clips of an input, in order of time; one where it has no extent in time."""
    return tuple(Clip(given.modality, tensor_digest(clip), clip) for clip in given.clips)


@dataclass(frozen=True)
class Memory:
    """What one call remembers between its batches, so that what comes again soon is not read or encoded again.

    Args:
        read: clips of paths; an object may have changed by then, so it is read anew.
        features: of the ViT, by the clips of a sequence.
    """

    read: dict[ReadKey, Clips] = field(default_factory=dict)
    features: dict[Clips, Tensor] = field(default_factory=dict)

    def keep(self, encoded: Mapping[Clips, Tensor]) -> None:
        """Put the features just used last, and forget the oldest of too many."""
        for clips in encoded:
            self.features.pop(clips, None)
        self.features.update(encoded)
        for old in list(self.features)[:-_KEPT]:
            del self.features[old]
        for path in list(self.read)[:-_KEPT]:
            del self.read[path]


def same_options(one: Any, other: Any) -> bool:
    """Whether two sets of options, or two values in them, are surely the same; tensors are compared by value."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        alike = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
        return alike and torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same_options(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_options, one, other))
    return (one == other) is True  # an object of another kind may answer with anything
