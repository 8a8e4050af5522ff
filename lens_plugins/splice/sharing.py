"""One ViT in memory for two hosts, once it is certain that both have the same."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import DoesNotFit, Unsupported
from .vit import FrozenViT, vit_from_tower

__all__ = ["check_same_features", "share_tower"]

_ALLOWED, _ALLOWED_HALF = 1e-4, 0.1  # largest difference of features, in float32 and where a side is half precision


def share_tower(tower: Any, vit: FrozenViT) -> None:
    """Let a freshly loaded tower of transformers use another host's patch embedding, positions and blocks.

    Its own final norm stays: it differs between hosts even where the ViT is the same.

    Args:
        tower: an `InstructBlipVisionModel` or the like, with `embeddings` and `encoder`.
        vit: of the other host.

    Raises:
        Unsupported: `vit` is not a tower of transformers.
        DoesNotFit: the two ViTs give different features.
    """
    if not (isinstance(vit.blocks, type(tower.encoder)) and isinstance(vit.class_token.owner, type(tower.embeddings))):
        raise Unsupported(
            f"{vit.name} is a {type(vit.blocks).__name__}, this host needs a {type(tower.encoder).__name__}. Load this "
            "host first, and give its ViT to the other one."
        )
    check_same_features(vit_from_tower(tower), vit)
    tower.embeddings, tower.encoder = vit.class_token.owner, vit.blocks


@torch.no_grad()
def check_same_features(own: FrozenViT, other: FrozenViT) -> None:
    """Compare two ViTs by what they make of one picture, whatever their layouts; final norms are left out.

    Raises:
        DoesNotFit: another width, another number of patches, or other features.
    """
    shapes = (own.width, own.num_patches), (other.width, other.num_patches)
    if shapes[0] != shapes[1]:
        raise DoesNotFit(f"The host's own ViT has (width, patches) {shapes[0]}, {other.name} has {shapes[1]}.")
    side = own.image_size
    picture = torch.linspace(-1, 1, 3 * side * side).view(1, 3, side, side)
    made = [vit.encode(vit.embed_image(picture)).float().cpu() for vit in (own, other.with_norm(own.norm))]
    difference = (made[0] - made[1]).abs().max().item()
    allowed = _ALLOWED if own.dtype == other.dtype == torch.float32 else _ALLOWED_HALF
    if not difference <= allowed:  # also where it is NaN
        raise DoesNotFit(
            f"{other.name} is not the host's own ViT: their features differ by {difference:.3g}, {allowed} is allowed."
        )
