"""How each sense of the pocket host is taught and tried: its pairs for training, its held-out cases, its small lens."""

from .base import Case, Run, Sense, close, find_sense, lens_folder, senses

__all__ = ["Case", "Run", "Sense", "close", "find_sense", "lens_folder", "senses"]
