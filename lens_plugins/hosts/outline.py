"""What a host is made of, told by its configuration alone: parts without values, and where their weights are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from ..errors import CheckpointError
from ..files.opening import reason_of
from .quiet import quiet
from .source import from_pretrained_options

__all__ = ["Outline", "OutlinedHost", "Weights", "check_described", "read_config"]

_MOST_LAYERS = 1000  # of any part; the deepest published model has 126
_WEIGHT_FILES = ("*.safetensors", "*.bin", "*.gguf")
_SPARE = 2**24  # numbers that no file need hold: positions, rotary tables


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


def check_described(source: str | Path, model_class: Any, config: Any, *folders: Path) -> None:
    """Refuse a configuration that describes far more than its folder holds, before memory is taken for it.

    Args:
        source: whose configuration it is; what is on the hub is not checked.
        model_class: transformers' class that builds it.
        config: transformers' configuration.
        folders: others that hold a part of the weights.

    Raises:
        CheckpointError: more layers than any model has, or more numbers than the files have bytes for.
    """
    if not isinstance(source, Path) or not source.is_dir():
        return
    for name, layers in _layers(config.to_dict()):
        if layers > _MOST_LAYERS:
            raise CheckpointError(f"The config.json of {source} says {name} = {layers}; at most {_MOST_LAYERS} can be.")
    files = [file for place in (source, *folders) for pattern in _WEIGHT_FILES for file in place.glob(pattern)]
    held = 2 * sum(file.stat().st_size for file in files)  # 4 bit keeps two numbers in a byte
    with torch.device("meta"):
        build = model_class.from_config if hasattr(model_class, "from_config") else model_class._from_config
        model = build(config)  # Auto classes have the one, models the other
    described = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if described > held + _SPARE:
        raise CheckpointError(
            f"The config.json of {source} describes {described:,} numbers; its weight files have room for {held:,}."
        )


def _layers(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _layers(value)
        elif isinstance(value, int) and name.endswith(("layers", "depth")):
            yield name, value
