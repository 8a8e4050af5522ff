"""Where several inputs meet, and what meeting before the ViT means.

The three places of ViT-Lens's InstructBLIP integration: before the ViT (one pass over all tokens), before the Q-Former
(features side by side), before the language model (prefixes side by side).
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import torch
from torch import Tensor

from ..errors import ConfigError

__all__ = ["PLACES", "check_place", "join_tokens"]

PLACES = ("vit", "qformer", "llm")


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
