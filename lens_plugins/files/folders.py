"""Folders of ours: ``config.json`` beside ``model.safetensors``, each complete before it takes its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import CheckpointError, LensPluginsError
from .jsons import read_json_object, save_json
from .tensors import read_safetensors, save_tensors
from .writing import replacing

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "read_folder", "save_folder"]

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


def save_folder(folder: Path, module: nn.Module, config: Mapping[str, Any], what: str) -> None:
    """Write both files; `what` names the module in the error.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    try:
        with replacing(folder / WEIGHTS_FILE) as weights, replacing(folder / CONFIG_FILE) as text:
            save_tensors(weights, module.state_dict())
            save_json(text, config)
    except LensPluginsError as error:
        raise CheckpointError(f"{what} cannot be saved to {folder}: {error}") from error


def read_folder(folder: Path, what: str, *, finite: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of a folder that `save_folder` wrote, not yet compared with each other.

    Args:
        folder: holds both files.
        what: names its kind in errors: "a lens".
        finite: refuse weights that are NaN or infinite; False where that is checked later.

    Raises:
        CheckpointError: a file is absent or damaged.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).exists():
            raise CheckpointError(f"{folder} is not {what}: it has no {name}.")
    return read_json_object(folder / CONFIG_FILE), read_safetensors(folder / WEIGHTS_FILE, finite=finite)
