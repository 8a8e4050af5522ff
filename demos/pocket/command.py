"""The command line of a recipe of stages."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lens_plugins.errors import LensPluginsError
from lens_plugins.pocket.shipped import WEIGHTS

__all__ = ["run_stages"]


def run_stages(
    program: str, about: str | None, stages: Mapping[str, Callable[[Any], None]], places: Callable[[Path, Path], Any]
) -> int:
    """Run the stage that the command line asks for, or all; returns 0, or the exit code of the error, which is printed.

    Args:
        program: what the user typed.
        about: the help text.
        stages: by name, in order; each is called with the places.
        places: of a work folder and a target folder.
    """
    made = argparse.ArgumentParser(program, description=about)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("stage", choices=("all", *stages))
    made.add_argument("--work", type=Path, required=True, help="packs, checkpoints and logs")
    made.add_argument("--target", type=Path, default=WEIGHTS, help="where weights go")
    given = made.parse_args()
    try:
        for name in stages if given.stage == "all" else (given.stage,):
            stages[name](places(given.work, given.target))
    except LensPluginsError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0
