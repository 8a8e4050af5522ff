"""`PYTHONPATH=demos python -m pocket.hybrid STAGE --work FOLDER`: the second design, a stage at a time.

    PYTHONPATH=demos python -m pocket.hybrid all --work runs/hybrid --objects OBJECTS --models MODELS
    PYTHONPATH=demos python -m pocket.hybrid words --work runs/hybrid       # one stage; goes on where it stopped

Stages in order: packages, pictures, features (--worker 0 --workers 2 for one of two), frame, tower, words, captions,
judge. A stage that is told to stop (SIGTERM) writes its checkpoint and goes on from it when it is called again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lens_plugins.errors import LensPluginsError

from .stages import STAGES, Places

__all__ = ["main"]


def main() -> int:
    """Exit code 0, or that of the error, which is printed."""
    parser = argparse.ArgumentParser("python -m pocket.hybrid", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("stage", choices=("all", *STAGES))
    parser.add_argument("--work", type=Path, required=True, help="packages, packs, caches, checkpoints and logs")
    parser.add_argument("--objects", type=Path, help="generated objects (WORK/objects)")
    parser.add_argument("--models", type=Path, help="models with thumbnails (WORK/models)")
    parser.add_argument(
        "--photographs", type=Path, nargs="*", default=[], help="folders of more photographs to judge by"
    )
    parser.add_argument("--steps", type=int, help="of a training stage, instead of its own number")
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    work = given.work
    places = Places(
        work, given.objects or work / "objects", given.models or work / "models", tuple(given.photographs),
        steps=given.steps, share=(given.worker, given.workers),
    )  # fmt: skip
    try:
        for name in STAGES if given.stage == "all" else (given.stage,):
            STAGES[name](places)
    except LensPluginsError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
