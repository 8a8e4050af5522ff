"""Where several inputs meet, and what meeting before the ViT means.

The three places of ViT-Lens's InstructBLIP integration: before the ViT (one pass over all tokens), before the Q-Former
(features side by side), before the language model (prefixes side by side).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ..errors import ConfigError, DoesNotFit

__all__ = ["PLACES", "Frame", "arrange", "check_place", "join_tokens"]

PLACES = ("vit", "qformer", "llm")
_NAMES = {"vit": "ViT", "qformer": "Q-Former", "llm": "language model"}

T = TypeVar("T")


@dataclass(frozen=True)
class Frame(Generic[T]):
    """What a host reads as it reads one picture.

    Args:
        sequences: each holds the clips whose tokens go through the ViT together; after the ViT the features of all
            sequences stand side by side.
    """

    sequences: tuple[tuple[T, ...], ...]


def check_place(place: str) -> str:
    """Return `place` if it is one of `PLACES`.

    Raises:
        ConfigError: it is not.
    """
    if place not in PLACES:
        near = get_close_matches(str(place), PLACES, n=1)
        raise ConfigError(
            f"There is no place {place!r} to fuse inputs"
            + (f"; did you mean {near[0]!r}?" if near else ".")
            + f" The places are: {', '.join(PLACES)}."
        )
    return place


def join_tokens(tokens: Sequence[Tensor], class_token: Tensor, positions: Tensor) -> Tensor:
    """The class token with its position once, then every input's tokens, each with the patch positions.

    Args:
        tokens: k tensors (B, N, D).
        class_token: (1, 1, D).
        positions: (1, 1 + N, D), the class token's row first.

    Returns:
        (B, 1 + k·N, D), inputs in the order given.
    """
    batch = tokens[0].shape[0]
    head = (class_token + positions[:, :1]).expand(batch, -1, -1)  # (B, 1, D)
    patches = positions[:, 1:]  # (1, N, D)
    return torch.cat([head, *(t + patches for t in tokens)], dim=1)  # (B, 1 + k·N, D)


def arrange(inputs: Sequence[Sequence[T]], place: str) -> list[Frame[T]]:
    """Which clips go through the ViT together, and which features are read together.

    An input with several clips is a sequence in time. Fused before the language model, every clip of every input is a
    frame by itself. Fused earlier, there is one frame for each point in time, in which inputs without clips take part
    each time: so one recording of three clips gives three frames, as LAVIS reads those of a video.

    Args:
        inputs: the clips of each input, in order of inputs; one where it has no extent in time.
        place: one of `PLACES`.

    Returns:
        Frames in the order in which the language model reads them.

    Raises:
        DoesNotFit: two inputs with different numbers of clips meet before the language model.
    """
    if place == "llm":
        return [Frame(((clip,),)) for clips in inputs for clip in clips]
    lengths = sorted({len(clips) for clips in inputs if len(clips) > 1})
    if len(lengths) > 1:
        raise DoesNotFit(
            f"Inputs with {lengths[0]} and {lengths[1]} clips cannot be fused before the {_NAMES[place]}: their clips "
            'pair up. Ask for one number of clips, or fuse="llm".'
        )
    moments = [
        tuple(clips[time if len(clips) > 1 else 0] for clips in inputs)
        for time in range(max(map(len, inputs), default=0))
    ]
    if place == "vit":
        return [Frame((moment,)) for moment in moments]  # the tokens of all inputs in one sequence
    return [Frame(tuple((clip,) for clip in moment)) for moment in moments]  # a sequence for each input
