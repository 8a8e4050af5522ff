"""Key tables of open_clip's files, and of the one-stop vitlensL.pt, against transformers' CLIP."""

from __future__ import annotations

from ...keymap import TRANSPOSE, Convert, KeyMap, Row, split

__all__ = ["OPEN_CLIP", "PICTURES", "TEXTS", "VITLENS"]


def _blocks(tower: str) -> list[Row | tuple[str, str | None]]:
    block, layer = "transformer.resblocks.{i}", f"{tower}.encoder.layers.{{i}}"
    fused: list[Row | tuple[str, str | None]] = [
        Convert(
            (f"{block}.attn.in_proj_{leaf}",),
            tuple(f"{layer}.self_attn.{name}_proj.{leaf}" for name in "qkv"),
            split(3),
        )
        for leaf in ("weight", "bias")
    ]
    return [
        *fused,
        (f"{block}.ln_1.{{leaf}}", f"{layer}.layer_norm1.{{leaf}}"),
        (f"{block}.ln_2.{{leaf}}", f"{layer}.layer_norm2.{{leaf}}"),
        (f"{block}.attn.out_proj.{{leaf}}", f"{layer}.self_attn.out_proj.{{leaf}}"),
        (f"{block}.mlp.c_fc.{{leaf}}", f"{layer}.mlp.fc1.{{leaf}}"),
        (f"{block}.mlp.c_proj.{{leaf}}", f"{layer}.mlp.fc2.{{leaf}}"),
    ]


PICTURES = KeyMap(
    [
        ("class_embedding", "vision_model.embeddings.class_embedding"),
        ("positional_embedding", "vision_model.embeddings.position_embedding.weight"),
        ("conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
        ("ln_pre.{leaf}", "vision_model.pre_layrnorm.{leaf}"),  # so spelt in transformers
        ("ln_post.{leaf}", "vision_model.post_layernorm.{leaf}"),
        Convert(("proj",), ("visual_projection.weight",), TRANSPOSE),
        *_blocks("vision_model"),
    ]
)
"""Keys below ``visual.``, or below ``vitlens.image.``."""

TEXTS = KeyMap(
    [
        ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
        ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
        ("ln_final.{leaf}", "text_model.final_layer_norm.{leaf}"),
        Convert(("text_projection",), ("text_projection.weight",), TRANSPOSE),
        *_blocks("text_model"),
    ]
)
"""Keys at the top, or below ``vitlens.text.``."""

OPEN_CLIP = (
    PICTURES.under("visual.")
    + TEXTS
    + KeyMap(
        [
            ("logit_scale", "logit_scale"),
            ("attn_mask", None),  # a buffer that early versions saved
            ("input_resolution", None),  # three numbers of OpenAI's own files
            ("context_length", None),
            ("vocab_size", None),
        ]
    )
)
"""`open_clip_pytorch_model.bin`, `open_clip_model.safetensors`, OpenAI's state dicts."""

VITLENS = (
    PICTURES.under("vitlens.image.")
    + TEXTS.under("vitlens.text.")
    + KeyMap([("vitlens.image.attn_mask", None), ("vitlens.text.attn_mask", None), ("vitlens.text.logit_scale", None)])
)
"""The pictures and texts of `vitlensL.pt`; its lenses have tables of their own (`lens.layouts`)."""
