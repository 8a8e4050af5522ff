"""Key table of `seed_quantizer.pt` (repository AILab-CVC/seed-tokenizer-2)."""

from __future__ import annotations

from ...keymap import KeyMap
from .lavis import BLIP2_QFORMER, EVA_VIT

__all__ = ["SEED"]

SEED = (
    EVA_VIT.under("visual_encoder.")
    + BLIP2_QFORMER
    + KeyMap(
        [
            ("encode_task_layer.{i}.{leaf}", "to_code.{i}.{leaf}"),
            ("quantize.embedding.weight", "codebook.weight"),
            ("decode_task_layer.{i}.{leaf}", "from_code.{i}.{leaf}"),
            ("pos_embed_image", "positions"),
            ("blocks_image.{i}.norm1.{leaf}", "decoder.layers.{i}.layer_norm1.{leaf}"),
            ("blocks_image.{i}.attn.qkv.{leaf}", "decoder.layers.{i}.self_attn.qkv.{leaf}"),
            ("blocks_image.{i}.attn.proj.{leaf}", "decoder.layers.{i}.self_attn.projection.{leaf}"),
            ("blocks_image.{i}.norm2.{leaf}", "decoder.layers.{i}.layer_norm2.{leaf}"),
            ("blocks_image.{i}.mlp.{part}.{leaf}", "decoder.layers.{i}.mlp.{part}.{leaf}"),
            ("image_down.{i}.weight", "down.{i}.weight"),
            ("distill_image_proj.{leaf}", "projection.{leaf}"),
            ("blocks.**", None),  # of the training run, which also rebuilt text
            ("pos_embed", None),
        ]
    )
)
"""Keys of `seed_quantizer.pt` -> those of `SeedTokenizer`."""
