"""`PYTHONPATH=demos python -m pocket.seed STAGE`: build the pocket SEED-LLaMA on the frozen ViT of the pocket host.

    PYTHONPATH=demos python -m pocket.seed all --work pocket-build --target weights
    PYTHONPATH=demos python -m pocket.seed unclip --work pocket-build --target weights   # one stage

A stage goes on where it stopped. The work folder holds the packs (`python -m pocket data`), the target the
finished `instructblip`; `seed-llama` is written beside it.
"""

from __future__ import annotations

import sys

from ..command import run_stages
from .sizes import Places
from .stages import STAGES

__all__ = ["main"]


def main() -> int:
    """Exit code 0, or that of the error, which is printed."""
    return run_stages("python -m pocket.seed", __doc__, STAGES, Places)


if __name__ == "__main__":
    sys.exit(main())
