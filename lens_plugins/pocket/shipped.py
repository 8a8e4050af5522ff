"""Where what ships lies."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import CheckpointError

__all__ = ["ELSEWHERE", "WEIGHTS", "shipped"]

WEIGHTS = Path(__file__).parent / "weights"
ELSEWHERE = "LENS_PLUGINS_POCKET"  # environment variable: a folder of the same layout, for what the wheel leaves out


def shipped(name: str) -> Path:
    """A folder of the shipped weights ("instructblip", "heldout"), here or below ``$LENS_PLUGINS_POCKET``.

    Raises:
        CheckpointError: it is in neither place.
    """
    named = os.environ.get(ELSEWHERE)
    for root in (WEIGHTS, *([Path(named)] if named else [])):
        if (root / name).is_dir():
            return root / name
    raise CheckpointError(
        f"{name} is not in {named or 'this installation'}; it is kept in the repository alone: set {ELSEWHERE} to the "
        "folder lens_plugins/pocket/weights of a checkout."
    )
