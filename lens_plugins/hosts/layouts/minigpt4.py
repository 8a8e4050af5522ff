"""Key tables of MiniGPT-4's files (its first version) against transformers' BLIP-2."""

from __future__ import annotations

from ...keymap import KeyMap
from .lavis import BLIP2_QFORMER

__all__ = ["PROJECTION", "QFORMER"]

QFORMER = BLIP2_QFORMER + KeyMap([("t5_proj.**", None)])  # the projection to FLAN-T5, which MiniGPT-4 replaces
"""The "model" of `blip2_pretrained_flant5xxl.pth`."""

PROJECTION = KeyMap([("llama_proj.{leaf}", "language_projection.{leaf}")])
"""The "model" of MiniGPT-4's own checkpoint."""
