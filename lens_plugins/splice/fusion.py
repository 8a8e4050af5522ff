"""Where several inputs meet, and what meeting before the ViT means.

The three places of ViT-Lens's InstructBLIP integration: before the ViT (one pass over all tokens), before the Q-Former
(features side by side), before the language model (prefixes side by side).
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TypeAlias

import torch
from torch import Tensor

from ..errors import ConfigError, DoesNotFit

__all__ = ["PLACES", "Pass", "Seat", "Unit", "arrange", "check_place", "join_tokens"]

PLACES = ("vit", "qformer", "llm")
_NAMES = {"vit": "ViT", "qformer": "Q-Former", "llm": "language model"}

Seat: TypeAlias = "tuple[int, int]"  # an input and one of its clips, both by number
Pass: TypeAlias = "tuple[Seat, ...]"  # what goes through the ViT together
Unit: TypeAlias = "tuple[Pass, ...]"  # whose features are read together, as one picture's are


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


def arrange(clips: Sequence[int], place: str) -> list[Unit]:
    """Which tokens go through the ViT together and which features are read together.

    An input with several clips is a sequence in time. Fused before the language model, every clip of every input is a
    unit by itself. Fused earlier, there is one unit per point in time, in which inputs without clips take part each
    time: so one recording of three clips gives three units, as LAVIS reads the frames of a video.

    Args:
        clips: how many clips each input has, in order of inputs; 1 for everything but audio.
        place: one of `PLACES`.

    Returns:
        Units in the order in which the language model reads them.

    Raises:
        DoesNotFit: two inputs with different numbers of clips meet before the language model.
    """
    if place == "llm":
        return [(((i, c),),) for i, n in enumerate(clips) for c in range(n)]
    lengths = sorted({n for n in clips if n > 1})
    if len(lengths) > 1:
        raise DoesNotFit(
            f"Inputs with {lengths[0]} and {lengths[1]} clips cannot be fused before the {_NAMES[place]}: their clips "
            'pair up. Ask for one number of clips, or fuse="llm".'
        )
    steps = [tuple((i, c if n > 1 else 0) for i, n in enumerate(clips)) for c in range(max(clips))]
    if place == "vit":
        return [(step,) for step in steps]
    return [tuple((seat,) for seat in step) for step in steps]
