"""Folders of ours: ``config.json`` beside ``model.safetensors``, each complete before it takes its name."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from ..errors import CheckpointError

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "save_folder"]

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"


def save_folder(folder: Path, module: nn.Module, config: Mapping[str, Any], what: str) -> None:
    """Write both files; `what` names the module in the error.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    text = json.dumps(config, indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as beside:
            save_file(tensors, Path(beside, WEIGHTS_FILE), metadata={"format": "pt"})
            Path(beside, CONFIG_FILE).write_text(text, encoding="utf-8")
            for name in (WEIGHTS_FILE, CONFIG_FILE):
                os.replace(Path(beside, name), folder / name)
    except OSError as error:
        raise CheckpointError(f"{what} cannot be saved to {folder}: {error}.") from error
