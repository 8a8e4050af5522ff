"""How each sense of the pocket host is taught: its pairs for training, its held-out cases, its small lens."""

from .base import Run, Sense, close, lens_folder, senses

__all__ = ["Run", "Sense", "close", "lens_folder", "senses"]
