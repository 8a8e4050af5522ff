"""How each sense of the pocket host is taught and tried: its pairs for training, its held-out cases, its small lens."""

from .base import Case, Sense, find_sense, senses

__all__ = ["Case", "Sense", "find_sense", "senses"]
