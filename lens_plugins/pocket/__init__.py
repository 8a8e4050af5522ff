"""Recipes of the small hosts and lenses that ship with the package, and the language model that they share."""

from pathlib import Path

__all__ = ["HELD_OUT", "WEIGHTS"]

WEIGHTS = Path(__file__).parent / "weights"  # what ships
HELD_OUT = WEIGHTS / "heldout"  # a folder for each kind of case
