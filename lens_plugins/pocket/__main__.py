"""`python -m lens_plugins.pocket STEP`: build the host that ships, from packages to weights.

    python -m lens_plugins.pocket all --work pocket-build
    python -m lens_plugins.pocket vit --work pocket-build     # one stage; goes on where it stopped

Stages, in the order of the paper: data, teacher, probe (the alternative, to compare with), vit, words, language (the
host is then frozen for good), lens.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import LensPluginsError
from . import stages

__all__ = ["main"]


def main() -> int:
    """Exit code 0, or that of the error, which is printed."""
    made = argparse.ArgumentParser("python -m lens_plugins.pocket", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("stage", choices=("all", *stages.STAGES))
    made.add_argument("--work", type=Path, required=True, help="packs, checkpoints and logs")
    made.add_argument("--target", type=Path, default=Path(__file__).parent / "weights", help="where weights go")
    given = made.parse_args()
    try:
        for name in stages.STAGES if given.stage == "all" else (given.stage,):
            stages.STAGES[name](stages.Places(given.work, given.target))
    except LensPluginsError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
