"""Which lens is trained: one sized for the ViT, or one that is given, checked against the ViT and made trainable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from .._config import trait
from ..errors import ConfigError, DoesNotFit
from ..inputs.settings import ViTShape
from ..lens.config import LensConfig, ViTFingerprint
from ..lens.embeddings import Embedding
from ..lens.lens import Lens
from ..splice.vit import FrozenViT

__all__ = ["lens_config_for", "trainable_lens"]


def fingerprint(vit: FrozenViT) -> ViTFingerprint:
    """What `plug` compares later."""
    return ViTFingerprint(width=vit.width, positions=vit.num_patches, norm_eps=vit.norm_eps)


def lens_config_for(modality: str, vit: FrozenViT, values: Mapping[str, Any] | None = None) -> LensConfig:
    """A lens for a ViT; `LensConfig.for_vit` with the ViT's fingerprint.

    Args:
        modality: any that has an embedding, ours or one of another package.
        vit: whose width, patches and picture size the lens follows.
        values: fields of the lens's parts by name (`num_groups=64`), as `LensConfig.override` takes them.

    Raises:
        ConfigError: the modality has no embedding, or a value is refused.
    """
    shape = ViTShape(vit.width, vit.num_patches, vit.image_size)
    return replace(LensConfig.for_vit(modality, shape, values), vit=fingerprint(vit))


def trainable_lens(lens: Lens | LensConfig, vit: FrozenViT, seed: int) -> tuple[Lens, bool]:
    """A lens that fits the ViT, in float32, with gradients on; and whether its weights are new.

    Raises:
        DoesNotFit: it writes tokens of another width or number than the ViT reads.
        ConfigError: it brings a tower of its own, so no other ViT can train it.
    """
    config = lens.config if isinstance(lens, Lens) else lens
    if config.tower is not None:
        raise ConfigError(
            f"A lens of the family {config.family} has a tower of its own; "
            "only lenses without one are aligned to a ViT."
        )
    for what, found, wanted in (
        ("tokens of width", config.width, vit.width),
        ("tokens in the number of", config.num_tokens, vit.num_patches),
    ):
        if found != wanted:
            raise DoesNotFit(
                f"The lens writes {what} {found}; {vit.name} reads {what} {wanted}. "
                "Give a LensConfig of those numbers, or leave the lens out to have one made for the ViT."
            )
    new = not isinstance(lens, Lens)
    lens = lens if isinstance(lens, Lens) else _new_lens(config, vit, seed)
    lens.config = replace(config, vit=fingerprint(vit))
    return lens.float().requires_grad_(True), new


def _new_lens(config: LensConfig, vit: FrozenViT, seed: int) -> Lens:
    """Random weights, but what the ViT's own patch embedding can give."""
    # The caller's random state is left alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lens = Lens(config)
    kernel = next((m.weight for m in vit.patch_embedding.modules() if isinstance(m, torch.nn.Conv2d)), None)
    if kernel is not None:
        trait(lens.embedding, "start_from_patches", Embedding)(kernel)
    return lens
