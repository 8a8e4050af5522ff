"""`PYTHONPATH=demos python -m pocket STEP`: build the host that ships, from packages to weights.

    PYTHONPATH=demos python -m pocket all --work pocket-build
    PYTHONPATH=demos python -m pocket vit --work pocket-build     # one stage; goes on where it stopped

Stages, in the order of the paper: data, teacher, probe (the alternative, to compare with), vit, words, language (the
host is then frozen for good), lens (point clouds), senses (the other lenses), expected (what tests compare with).
"""

from __future__ import annotations

import sys

from .command import run_stages
from .stages import STAGES, Places

__all__ = ["main"]


def main() -> int:
    """Exit code 0, or that of the error, which is printed."""
    return run_stages("python -m pocket", __doc__, STAGES, Places)


if __name__ == "__main__":
    sys.exit(main())
