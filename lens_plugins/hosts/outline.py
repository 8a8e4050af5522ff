"""What a host is made of, told by its configuration alone: parts without values, and where their weights are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from ..errors import CheckpointError
from ..files.opening import reason_of
from .quiet import quiet
from .source import from_pretrained_options

__all__ = ["Outline", "OutlinedHost", "Weights", "read_config"]


@dataclass(frozen=True)
class Weights:
    """Files of weights in one place."""

    source: str | Path  # a folder, a file or a hub id
    names: tuple[str, ...] | None = None  # of files in it; None: those that transformers reads
    label: str = ""  # what stands before their names in a report


@dataclass(frozen=True)
class Outline:
    """A host before it is loaded.

    Args:
        config: transformers' configuration, of the whole or of the language model.
        parts: modules on the meta device by name; `language_model` is what 4 and 8 bit make smaller.
        weights: where they would be read from.
        full_precision: names of parts that stay float32 whatever is asked for.
        warnings: what the parts leave out, and why.
    """

    config: Any
    parts: Mapping[str, nn.Module]
    weights: tuple[Weights, ...]
    full_precision: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@runtime_checkable
class OutlinedHost(Protocol):
    """A kind of host that tells its parts before it is loaded."""

    @classmethod
    def outline(cls, source: str | Path) -> Outline:
        """By the configuration of a folder or hub id alone.

        Raises:
            CheckpointError: it cannot be read.
        """
        ...


@quiet()
def read_config(source: str | Path) -> Any:
    """transformers' configuration of a folder or hub id.

    Raises:
        CheckpointError: it cannot be read.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source, **from_pretrained_options(source))
    except Exception as error:  # whatever transformers makes of a damaged file
        raise CheckpointError(f"The configuration of {source} cannot be read: {reason_of(error)}") from error
