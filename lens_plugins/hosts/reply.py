"""What a host answers. Importing this needs no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from typing_extensions import Self

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Reply"]


class Reply(str):
    """An answer: a `str` that also carries pictures, so that code which swaps hosts does not branch.

    Args:
        text: all text of the answer.
        parts: text and pictures in the order in which the host made them; None: the text alone.
        score: how likely the host finds the answer, a logarithm; higher is likelier, None where it was not reckoned.
        alternatives: all answers, this one first, where ``num_return_sequences`` asked for several.
    """

    parts: tuple[str | Image, ...]
    score: float | None
    alternatives: tuple[Reply, ...]

    def __new__(
        cls,
        text: str = "",
        parts: Iterable[str | Image] | None = None,
        *,
        score: float | None = None,
        alternatives: Iterable[Reply] = (),
    ) -> Self:
        reply = super().__new__(cls, text)
        reply.parts = (text,) if parts is None else tuple(parts)
        reply.score = score
        reply.alternatives = tuple(alternatives)
        return reply

    @property
    def text(self) -> str:
        """The text, as a plain `str`."""
        return str.__str__(self)

    @property
    def images(self) -> list[Image]:
        """The pictures, in order; empty for a host that only writes."""
        return [part for part in self.parts if not isinstance(part, str)]

    def __repr__(self) -> str:
        if not self.images:
            return super().__repr__()  # a reply of text alone reads as the text that it is
        sizes = ", ".join(f"{picture.width} × {picture.height}" for picture in self.images)
        return f"{type(self).__name__}({self.text!r}, pictures of {sizes})"
