"""Vectors of files that last, on LanceDB."""

from .table import EXACT_ROWS, Added, Index, Stats

__all__ = ["EXACT_ROWS", "Added", "Index", "Stats"]
