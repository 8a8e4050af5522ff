"""`python -m lens_plugins.pocket.seed STAGE`: build the pocket SEED-LLaMA on the frozen ViT of the pocket host.

    python -m lens_plugins.pocket.seed all --work pocket-build --target weights
    python -m lens_plugins.pocket.seed unclip --work pocket-build --target weights   # one stage

A stage goes on where it stopped. The work folder holds the packs (`python -m lens_plugins.pocket data`), the target the
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
    return run_stages("python -m lens_plugins.pocket.seed", __doc__, STAGES, Places)


if __name__ == "__main__":
    sys.exit(main())
