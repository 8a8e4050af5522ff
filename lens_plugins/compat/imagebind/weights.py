"""Which host stands behind this interface: where its files are found, and which one was made last."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path

import torch

from ...errors import CheckpointError, ConfigError
from ...hosts.base import LoadOptions
from ...hosts.clip import ClipHost
from ...hosts.source import find_source, kind_of
from ...splice import freeze

__all__ = ["last_host", "open_host", "remember"]

log = logging.getLogger(__name__)

_CHECKPOINTS = Path(".checkpoints", "vitlensL")  # ImageBind keeps its own weights in .checkpoints, too
_made: list[ClipHost] = []  # the last one, for loaders that are called without a model


def open_host(
    place: str | os.PathLike[str] | ClipHost | None = None,
    modalities: Collection[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> ClipHost:
    """A host that embeds, frozen.

    Args:
        place: a folder with the released files, a hub id, or a loaded host; None: ``.checkpoints/vitlensL`` in the
            working directory where it is there, else "vitlensL" of the hub.
        modalities: of the lenses to load; None: all there are.
        dtype: of the weights.

    Raises:
        CheckpointError: the files are absent, damaged or unreachable.
        ConfigError: it is another kind of host.
    """
    if isinstance(place, ClipHost):
        return place
    if place is None and _CHECKPOINTS.is_dir():
        log.warning("The weights are those of %s, not of the hub.", _CHECKPOINTS)
        place = _CHECKPOINTS
    place = "vitlensL" if place is None else place
    if isinstance(place, (str, os.PathLike)) and Path(place).is_dir() and not any(Path(place).iterdir()):
        raise CheckpointError(f"{place} is empty; put vitlensL.pt there, or leave it out to fetch it from the hub.")
    found = find_source(place)
    kind = kind_of(found)
    if kind.name != "clip":
        raise ConfigError(f"{place} is a host of kind {kind.name!r}; this interface needs one that embeds (clip).")
    host = ClipHost.load(found, LoadOptions(dtype), modalities)
    freeze(host.model)
    return host


def remember(host: ClipHost) -> None:
    """Let loaders that are called without a model read as this host reads."""
    _made[:] = [host]


def last_host() -> ClipHost | None:
    """The host that was made last in this process."""
    return _made[0] if _made else None
