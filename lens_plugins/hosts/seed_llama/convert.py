"""The released tokenizer file -> `SeedTokenizer`."""

from __future__ import annotations

import os

import torch

from ...splice import FrozenViT
from ..layouts.seed import SEED, infer
from ..source import read_state
from .tokenizer import SeedTokenizer

__all__ = ["from_seed"]


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
    expected = SeedTokenizer.from_config(config, device="meta").state_dict()
    tensors = SEED.convert(state, expected, source=str(path))
    return SeedTokenizer.from_state(
        config, tensors, str(path), vit=vit, attention=attention, dtype=dtype, device=device
    )
