"""What a SEED-LLaMA host answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import Self

from ..messages import Reply

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SeedReply"]


class SeedReply(Reply):
    """A reply that also carries the codes of its pictures.

    Attributes:
        codes: (pictures, Q) int64, in the order of `images`; `host.decode_codes` draws them again.
        problems: one sentence for each picture that the language model wrote wrongly; such a picture is left out.
        seed: which the reply was sampled and drawn with; asking with it again gives the same reply.
    """

    codes: Tensor
    problems: tuple[str, ...]
    seed: int

    @classmethod
    def of(
        cls,
        parts: Iterable[str | Image],
        text: str,
        codes: list[Tensor],
        problems: Iterable[str],
        seed: int,
        score: float | None = None,
    ) -> Self:
        """Text and pictures in order, with what belongs to them."""
        reply = cls(text, parts, score=score)
        reply.codes = torch.stack(codes) if codes else torch.empty(0, 0, dtype=torch.long)
        reply.problems = tuple(problems)
        reply.seed = seed
        return reply
