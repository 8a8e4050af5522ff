"""Latents in, features of the frozen ViT out."""

from .frozen import digest, freeze, unchanged
from .fusion import PLACES, check_place
from .vit import FrozenViT, Held, vit_from_clip, vit_from_timm, vit_from_tower

__all__ = [
    "FrozenViT",
    "Held",
    "vit_from_clip",
    "vit_from_tower",
    "vit_from_timm",
    "PLACES",
    "check_place",
    "digest",
    "freeze",
    "unchanged",
]
