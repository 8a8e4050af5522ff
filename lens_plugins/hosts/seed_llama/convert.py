"""The released tokenizer file -> `SeedTokenizer`."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from ...errors import CheckpointError, ConfigError
from ...files.tensors import read_state
from ...splice import FrozenViT
from ..layouts.seed import SEED
from .config import SeedConfig
from .tokenizer import SeedTokenizer

__all__ = ["from_seed", "infer"]

_LAYER = "Qformer.bert.encoder.layer"


def from_seed(
    path: str | os.PathLike[str],
    vit_heads: int = 16,
    qformer_heads: int = 12,
    decoder_heads: int = 12,
    *,
    vit: FrozenViT | None = None,
    attention: str = "sdpa",
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> SeedTokenizer:
    """Load `seed_quantizer.pt` (repository AILab-CVC/seed-tokenizer-2), frozen and in eval mode.

    Every dimension but the numbers of heads is read off the weights.

    Args:
        path: the released file.
        vit_heads: attention heads of the ViT.
        qformer_heads: attention heads of the causal Q-Former.
        decoder_heads: attention heads of the blocks between codes and image embedding.
        vit: the ViT of another host, to hold one copy in memory; the file's own is compared with it and left out.
        attention: "sdpa" or "eager".
        dtype: of the ViT's weights; the rest stays float32, for the sake of the codes.
        device: where the weights go.

    Raises:
        CheckpointError: the file cannot be read, or a tensor is missing, unexpected or misshapen; all are named.
        ConfigError: heads that do not divide their width.
        DoesNotFit: `vit` is not the file's own.
    """
    state = read_state(path)
    config = infer(
        state, vit_heads=vit_heads, qformer_heads=qformer_heads, decoder_heads=decoder_heads, source=str(path)
    )
    # on the meta device: only names and shapes are compared
    expected = SeedTokenizer.from_config(config, device="meta").state_dict()
    tensors = SEED.convert(state, expected, source=str(path))
    return SeedTokenizer.from_state(
        config, tensors, str(path), vit=vit, attention=attention, dtype=dtype, device=device
    )


def infer(
    state: Mapping[str, Tensor], *, vit_heads: int, qformer_heads: int, decoder_heads: int, source: str
) -> SeedConfig:
    """Read every dimension off the shapes; heads are the only thing they cannot tell.

    Args:
        state: the released file's tensors.
        vit_heads: 16 in the released file, as `qformer_heads` and `decoder_heads` are 12.
        source: names the file in errors.

    Raises:
        CheckpointError: a tensor that gives a dimension is absent or has another number of axes.
        ConfigError: heads that do not divide their width.
    """

    def shape(key: str, axes: int) -> tuple[int, ...]:
        if key not in state:
            raise CheckpointError(f"{source} is no SEED tokenizer: it has no {key}.")
        found = tuple(state[key].shape)
        if len(found) != axes:
            raise CheckpointError(f"{source}: {key} has the shape {found}; a SEED tokenizer's has {axes} axes.")
        return found

    vit_width, _, patch, _ = shape("visual_encoder.patch_embed.proj.weight", 4)
    _, rows, _ = shape("visual_encoder.pos_embed", 3)
    side = math.isqrt(max(rows - 1, 0))
    if side * side + 1 != rows:
        raise CheckpointError(f"{source}: visual_encoder.pos_embed has {rows} rows, which is not a square and one.")
    _, queries, qformer_width = shape("query_tokens", 3)
    codes, code_width = shape("quantize.embedding.weight", 2)
    down = _numbers(state, "image_down", "weight")
    embedding_width, _ = shape("distill_image_proj.weight", 2)
    try:
        return SeedConfig(
            image_size=side * patch,
            patch_size=patch,
            vit_width=vit_width,
            vit_mlp=shape("visual_encoder.blocks.0.mlp.fc1.weight", 2)[0],
            vit_layers=len(_numbers(state, "visual_encoder.blocks", "norm1.weight")),
            vit_heads=vit_heads,
            qformer_width=qformer_width,
            qformer_mlp=shape(f"{_LAYER}.0.intermediate_query.dense.weight", 2)[0],
            qformer_layers=len(_numbers(state, _LAYER, "output_query.dense.weight")),
            qformer_heads=qformer_heads,
            queries=queries,
            codes=codes,
            code_width=code_width,
            decoder_width=shape("pos_embed_image", 3)[2],
            decoder_mlp=shape("blocks_image.0.mlp.fc1.weight", 2)[0],
            decoder_layers=len(_numbers(state, "blocks_image", "norm1.weight")),
            decoder_heads=decoder_heads,
            down=tuple(shape(f"image_down.{i}.weight", 2)[0] for i in down),
            embedding_width=embedding_width,
            cross_attention_every=_period(state),
        )
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def _numbers(state: Mapping[str, Tensor], before: str, after: str) -> list[int]:
    """The running numbers between two parts of a key, in order."""
    middles = (
        key[len(before) + 1 : -len(after) - 1]
        for key in state
        if key.startswith(f"{before}.") and key.endswith(f".{after}")
    )
    return sorted(int(middle) for middle in middles if middle.isdigit())


def _period(state: Mapping[str, Tensor]) -> int:
    """Every how many layers the Q-Former attends to the ViT; its number of layers where only the first does."""
    read = _numbers(state, _LAYER, "crossattention.self.query.weight")
    return read[1] - read[0] if len(read) > 1 else len(_numbers(state, _LAYER, "output_query.dense.weight"))
