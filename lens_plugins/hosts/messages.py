"""What a user asks and what a host answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, InputError
from ..inputs.base import several
from ..splice.fusion import check_place
from .reply import Reply

if TYPE_CHECKING:
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

    def __repr__(self) -> str:
        shapes = ", ".join(str(tuple(one.shape)) for one in self.features)
        return f"Seen(features of shape {shapes})"


@dataclass(frozen=True)
class Request:
    """One question about one or several inputs.

    Args:
        inputs: what `lens_plugins.read` takes (a file, an array, a `ModalityInput`, ...), or a list of such, which are
            fused to one answer; or what `Host.look` returned.
        prompt: None: the host's default.
        fuse: where several inputs meet, "vit", "qformer" or "llm"; None: where this kind of host fuses by itself.
        clips: how many clips to take of a recording; None: as the lens was trained. 1 is the cheap choice.
        generation: options of transformers' `generate`, over those of the call.
        modality: what the inputs are, where they do not say it themselves: one name for all, or a list with one name
            or None for each.

    Raises:
        InputError: there is no input, or the prompt is no text.
        ConfigError: there is no such place to fuse, or another number of modalities than of inputs.
    """

    inputs: Source | Sequence[Source] | Seen
    prompt: str | None = None
    fuse: str | None = None
    clips: int | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    modality: str | Sequence[str | None] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.inputs, (list, tuple)) and not self.inputs:
            raise InputError("A request has 0 inputs; it needs at least 1.")
        if self.prompt is not None:
            _check_prompt(self.prompt)
        if self.fuse is not None:
            check_place(self.fuse)
        if not (self.modality is None or isinstance(self.modality, str)) and len(self.modality) != len(self.sources):
            raise ConfigError(
                f"A request has {len(self.modality)} modalities for {len(self.sources)} inputs; give one for each, or "
                "one for all."
            )

    @classmethod
    def of(
        cls,
        given: Request | Source | Sequence[Source] | Seen,
        prompt: str | None = None,
        fuse: str | None = None,
        clips: int | None = None,
        modality: str | Sequence[str | None] | None = None,
    ) -> Request:
        """A request as it is, with these in place of what it leaves open; anything else is the inputs of one."""
        if not isinstance(given, Request):
            return cls(given, prompt, fuse, clips, modality=modality)
        return replace(
            given,
            prompt=prompt if given.prompt is None else given.prompt,
            fuse=fuse if given.fuse is None else given.fuse,
            clips=clips if given.clips is None else given.clips,
            modality=modality if given.modality is None else given.modality,
        )

    @property
    def sources(self) -> list[Source]:
        """The inputs as a list, also where one was given alone; empty where they have been looked at."""
        return [source for source, _ in self.named_sources]

    @property
    def named_sources(self) -> list[tuple[Source, str | None]]:
        """`sources`, each with what the request says that it is."""
        if isinstance(self.inputs, Seen):
            return []
        names = [self.modality] if self.modality is None or isinstance(self.modality, str) else self.modality
        return list(zip(several(self.inputs), cycle(names)))


def _check_prompt(prompt: object) -> None:
    if isinstance(prompt, (list, tuple)):
        raise InputError(
            f"prompt has {len(prompt)} texts; a request has one prompt, and generate_batch takes several requests."
        )
    if not isinstance(prompt, str):
        raise InputError(f"prompt is {prompt!r}, a {type(prompt).__name__}; it must be a text.")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"prompt has {prompt[error.start]!r} at place {error.start}, which is no character."
        ) from error


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
