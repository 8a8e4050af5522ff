"""What a user asks and what a host answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from ..errors import InputError
from ..splice.fusion import check_place

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ..inputs.base import Source

__all__ = ["Reply", "Request", "Seen", "Text"]

_PREFIX = "text:"


@dataclass(frozen=True, eq=False)
class Seen:
    """What a host has looked at: ask about it as often as you like, it is not encoded again.

    Args:
        features: of the ViT after its final norm, (T, D) each; a host reads each as it reads one picture.
    """

    features: tuple[Tensor, ...]

    @property
    def units(self) -> tuple[Tensor, ...]:
        """`features`, by the name that they had."""
        return self.features


@dataclass(frozen=True)
class Request:
    """One question about one or several inputs.

    Args:
        inputs: a file, array or `ModalityInput`, or a list of them; or what `Host.look` returned.
        prompt: None: the host's default.
        fuse: where several inputs meet, "vit", "qformer" or "llm"; None: where this kind of host fuses by itself.
        clips: how many clips to take of a recording; None: as the lens was trained. 1 is the cheap choice.
        generation: options of transformers' `generate`, over those of the call.

    Raises:
        InputError: there is no input.
        ConfigError: there is no such place to fuse.
    """

    inputs: Source | Sequence[Source] | Seen
    prompt: str | None = None
    fuse: str | None = None
    clips: int | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.inputs, (list, tuple)) and not self.inputs:
            raise InputError("A request has 0 inputs; it needs at least 1.")
        if self.fuse is not None:
            check_place(self.fuse)

    @property
    def sources(self) -> list[Source]:
        """The inputs as a list, also where one was given alone."""
        return list(self.inputs) if isinstance(self.inputs, (list, tuple)) else [self.inputs]


@dataclass(frozen=True)
class Text:
    """A text beside inputs of other modalities, for `Host.embed` and what stands on it.

    ``"text:a wooden chair"`` means the same wherever inputs are strings; any other string is a file.

    Raises:
        InputError: there is nothing in it.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise InputError("The text is empty; an example is text:a wooden chair.")

    @classmethod
    def of(cls, source: object) -> Text | None:
        """The text that a source is, or None where it is something else."""
        if isinstance(source, str) and source.startswith(_PREFIX):
            return cls(source.removeprefix(_PREFIX).strip())
        return source if isinstance(source, Text) else None


class Reply(str):
    """An answer: a `str` that also carries pictures, so that code which swaps hosts does not branch.

    Args:
        text: all text of the answer.
        parts: text and pictures in the order in which the host made them; None: the text alone.
    """

    parts: tuple[str | Image, ...]

    def __new__(cls, text: str = "", parts: Iterable[str | Image] | None = None) -> Self:
        reply = super().__new__(cls, text)
        reply.parts = (text,) if parts is None else tuple(parts)
        return reply

    @property
    def text(self) -> str:
        """The text, as a plain `str`."""
        return str.__str__(self)

    @property
    def images(self) -> list[Image]:
        """The pictures, in order; empty for a host that only writes."""
        return [part for part in self.parts if not isinstance(part, str)]
