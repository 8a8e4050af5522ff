"""`python -m lens_plugins.pocket.seed STAGE`: build the pocket SEED-LLaMA on the frozen ViT of the pocket host.

    python -m lens_plugins.pocket.seed all --work pocket-build --target weights
    python -m lens_plugins.pocket.seed unclip --work pocket-build --target weights   # one stage

A stage goes on where it stopped. The work folder holds the packs (`python -m lens_plugins.pocket data`), the target the
finished `instructblip`; `seed-llama` is written beside it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ...errors import LensPluginsError
from . import stages
from .sizes import Places

__all__ = ["main"]


def main() -> int:
    """Exit code 0, or that of the error, which is printed."""
    made = argparse.ArgumentParser("python -m lens_plugins.pocket.seed", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("stage", choices=("all", *stages.STAGES))
    made.add_argument("--work", type=Path, required=True, help="packs, checkpoints and logs")
    made.add_argument("--target", type=Path, default=Path(__file__).parents[1] / "weights", help="where weights go")
    given = made.parse_args()
    try:
        for name in stages.STAGES if given.stage == "all" else (given.stage,):
            stages.STAGES[name](Places(given.work, given.target))
    except LensPluginsError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
