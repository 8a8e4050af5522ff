"""The recipe is no package of the installation: demos/ goes on the path, as `PYTHONPATH=demos` puts it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "demos"))
