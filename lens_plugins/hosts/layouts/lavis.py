"""Key tables of LAVIS's files against transformers' InstructBLIP and BLIP-2."""

from __future__ import annotations

from ...keymap import QV_BIAS, Convert, KeyMap

__all__ = ["BLIP2_QFORMER", "EVA_VIT", "INSTRUCTBLIP_QFORMER", "PROJECTIONS", "projection"]

_BLOCK, _LAYER = "blocks.{i<39}", "vision_model.encoder.layers.{i<39}"

EVA_VIT = KeyMap(
    [
        ("cls_token", "vision_model.embeddings.class_embedding"),
        ("pos_embed", "vision_model.embeddings.position_embedding"),
        ("patch_embed.proj.{leaf}", "vision_model.embeddings.patch_embedding.{leaf}"),
        (f"{_BLOCK}.norm1.{{leaf}}", f"{_LAYER}.layer_norm1.{{leaf}}"),
        (f"{_BLOCK}.attn.qkv.weight", f"{_LAYER}.self_attn.qkv.weight"),
        Convert((f"{_BLOCK}.attn.q_bias", f"{_BLOCK}.attn.v_bias"), (f"{_LAYER}.self_attn.qkv.bias",), QV_BIAS),
        (f"{_BLOCK}.attn.proj.{{leaf}}", f"{_LAYER}.self_attn.projection.{{leaf}}"),
        (f"{_BLOCK}.norm2.{{leaf}}", f"{_LAYER}.layer_norm2.{{leaf}}"),
        (f"{_BLOCK}.mlp.{{part}}.{{leaf}}", f"{_LAYER}.mlp.{{part}}.{{leaf}}"),
        ("blocks.39.**", None),  # the EVA-CLIP file has 40 blocks, a norm and a head; LAVIS uses 39 blocks
        ("norm.**", None),
        ("head.**", None),
    ]
)
"""`eva_vit_g.pth`."""

_BERT = "Qformer.bert.encoder.layer.{i}"
_QFORMER = "qformer.encoder.layer.{i}"
_SHARED = [
    ("query_tokens", "query_tokens"),
    ("ln_vision.{leaf}", "vision_model.post_layernorm.{leaf}"),
    ("Qformer.bert.embeddings.position_ids", None),
    (f"{_BERT}.attention.self.{{part}}.{{leaf}}", f"{_QFORMER}.attention.attention.{{part}}.{{leaf}}"),
    (f"{_BERT}.attention.output.{{part}}.{{leaf}}", f"{_QFORMER}.attention.output.{{part}}.{{leaf}}"),
    (f"{_BERT}.crossattention.self.{{part}}.{{leaf}}", f"{_QFORMER}.crossattention.attention.{{part}}.{{leaf}}"),
    (f"{_BERT}.crossattention.output.{{part}}.{{leaf}}", f"{_QFORMER}.crossattention.output.{{part}}.{{leaf}}"),
    (f"{_BERT}.intermediate_query.dense.{{leaf}}", f"{_QFORMER}.intermediate_query.dense.{{leaf}}"),
    (f"{_BERT}.output_query.{{part}}.{{leaf}}", f"{_QFORMER}.output_query.{{part}}.{{leaf}}"),
]

INSTRUCTBLIP_QFORMER = KeyMap(
    [
        *_SHARED,
        ("Qformer.bert.embeddings.word_embeddings.weight", "qformer.embeddings.word_embeddings.weight"),
        ("Qformer.bert.embeddings.position_embeddings.weight", "qformer.embeddings.position_embeddings.weight"),
        ("Qformer.bert.embeddings.LayerNorm.{leaf}", "qformer.embeddings.layernorm.{leaf}"),
        (f"{_BERT}.intermediate.dense.{{leaf}}", f"{_QFORMER}.intermediate.dense.{{leaf}}"),
        (f"{_BERT}.output.{{part}}.{{leaf}}", f"{_QFORMER}.output.{{part}}.{{leaf}}"),
    ]
)
"""The "model" of InstructBLIP's trimmed file, less the projection."""

BLIP2_QFORMER = KeyMap([*_SHARED, ("Qformer.bert.embeddings.LayerNorm.{leaf}", "qformer.layernorm.{leaf}")])
"""The same of BLIP-2, whose Q-Former reads no text."""

PROJECTIONS = ("llm_proj", "t5_proj", "opt_proj")
"""What LAVIS calls the projection to Vicuna, FLAN-T5 and OPT."""


def projection(name: str) -> KeyMap:
    """The projection's rows, for the one of `PROJECTIONS` that a file holds."""
    return KeyMap([(f"{name}.{{leaf}}", "language_projection.{leaf}")])
