"""Which lens is trained: one sized for the ViT, or one that is given, checked against the ViT and made trainable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .._config import FrozenConfig
from ..catalog import find_modality, resolve
from ..errors import ConfigError, DoesNotFit
from ..lens.config import LensConfig, ViTFingerprint
from ..lens.embeddings import (
    DepthConfig,
    DepthEmbedding,
    EegConfig,
    PatchConfig,
    PatchEmbedding,
    PointConfig,
    PointEmbedding,
    SpectrogramConfig,
)
from ..lens.lens import Lens
from ..lens.perceiver import PerceiverConfig
from ..splice.vit import FrozenViT

__all__ = ["fit_norms", "lens_config_for", "trainable_lens"]

LARGE = 1024  # width of a ViT from which on its lens has the sizes of the released ones
SMALL_TOKEN = 128  # width of the tokens of a smaller lens
SMALL_CLOUD = 1024  # points that it reads


def fingerprint(vit: FrozenViT) -> ViTFingerprint:
    """What `plug` compares later."""
    return ViTFingerprint(width=vit.width, positions=vit.num_patches, norm_eps=vit.norm_eps)


def lens_config_for(modality: str, vit: FrozenViT, values: Mapping[str, Any] | None = None) -> LensConfig:
    """A lens for a ViT: the sizes of the released lenses for a large one, a small lens for a small one.

    Args:
        modality: one with an embedding of ours.
        vit: whose width, patches and picture size the lens follows.
        values: fields of the lens's parts by name (`num_groups=64`), as `LensConfig.override` takes them.

    Raises:
        ConfigError: no recipe for that modality, or a value refused.
    """
    if modality not in _RECIPES:
        raise ConfigError(
            f"There is no recipe for a lens for {modality}; give a LensConfig. Recipes: {', '.join(_RECIPES)}."
        )
    embedding, depth, self_per_cross = _RECIPES[modality](vit)
    resampler = _resampler(vit, embedding.width, depth, self_per_cross) if depth else None
    config = LensConfig(modality, vit.width, embedding, resampler, _settings(modality, vit), fingerprint(vit))
    return config.override(values) if values else config


Recipe: TypeAlias = tuple[FrozenConfig, int, int]  # embedding, depth of the resampler (0: none), self_per_cross


def _point_cloud(vit: FrozenViT) -> Recipe:
    if vit.width >= LARGE:
        return PointConfig(), 6, 1
    return PointConfig(trans_dim=SMALL_TOKEN, num_groups=128, group_size=32, encoder_dim=128, hidden=64), 2, 1


def _audio(vit: FrozenViT) -> Recipe:
    return SpectrogramConfig(vit.width if vit.width >= LARGE else SMALL_TOKEN), 2, 3 if vit.width >= LARGE else 1


def _eeg(vit: FrozenViT) -> Recipe:
    return EegConfig(vit.width if vit.width >= LARGE else SMALL_TOKEN), 1, 1


def _depth(vit: FrozenViT) -> Recipe:
    if vit.width >= LARGE:
        return DepthConfig(vit.width, _patch(vit), vit.image_size), 0, 0
    return DepthConfig(SMALL_TOKEN, _patch(vit), vit.image_size), 2, 1


def _tactile(vit: FrozenViT) -> Recipe:
    if vit.width >= LARGE:
        return PatchConfig(vit.width, _patch(vit), vit.image_size), 0, 0
    # A small ViT sees no materials in lit relief by another kernel alone: 35 % of 26 names, 45 % with a resampler.
    return PatchConfig(SMALL_TOKEN, _patch(vit), vit.image_size), 2, 1


_RECIPES: dict[str, Callable[[FrozenViT], Recipe]] = {
    "point_cloud": _point_cloud,
    "audio": _audio,
    "eeg": _eeg,
    "depth": _depth,
    "tactile": _tactile,
}


def _patch(vit: FrozenViT) -> int:
    return vit.image_size // math.isqrt(vit.num_patches)


def _settings(modality: str, vit: FrozenViT) -> FrozenConfig:
    """The modality's own preprocessing, at the picture size of the ViT."""
    settings = resolve(find_modality(modality).settings)
    if modality == "depth":
        return settings(size=vit.image_size)
    if modality == "tactile":
        return settings(size=vit.image_size, resize=vit.image_size * 256 // 224)  # the frame shown stays the same
    if modality == "point_cloud" and vit.width < LARGE:
        return settings(max_points=SMALL_CLOUD)
    return settings()


def _resampler(vit: FrozenViT, context_width: int, depth: int, self_per_cross: int) -> PerceiverConfig:
    """As many latents as the ViT has patches; 16 heads at most, each 32 wide or more."""
    heads = next(n for n in (16, 8, 4, 2, 1) if n == 1 or (vit.width % n == 0 and vit.width // n >= 32))
    head = vit.width // heads
    return PerceiverConfig(vit.width, vit.num_patches, context_width, depth, self_per_cross, 1, head, heads, head)


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
    if new:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            lens = Lens(config)
        _copy_patches(lens, vit)
    lens.config = replace(config, vit=fingerprint(vit))
    return lens.float().requires_grad_(True), new


@torch.no_grad()
def _copy_patches(lens: Lens, vit: FrozenViT) -> None:
    """Let a new lens that cuts patches start from the ViT's own kernel, summed over the colours for one channel.

    ViT-Lens reads touch by a trained copy of that kernel. One of another shape is left as it was drawn.
    """
    own = next((m.weight for m in vit.patch_embedding.modules() if isinstance(m, torch.nn.Conv2d)), None)
    kernel = lens.embedding.proj.weight if isinstance(lens.embedding, (PatchEmbedding, DepthEmbedding)) else None
    if own is None or kernel is None:
        return
    own = own.float() if kernel.shape[1] == own.shape[1] else own.float().sum(1, keepdim=True)
    if own.shape == kernel.shape:
        kernel.copy_(own)


@torch.no_grad()
def fit_norms(lens: Lens, batches: Sequence[Tensor]) -> None:
    """Give a new point lens the batch-normalisation statistics of some clouds, (B, P, 3) each.

    Its norms only ever use stored statistics (the released lenses were trained elsewhere with moving ones). Left at 0
    and 1 they would let the biases drown the points, whose offsets from a centre are of the order of 0.1. Lenses
    without such norms are left alone.
    """
    if not isinstance(lens.embedding, PointEmbedding):
        return
    encoder = lens.embedding.encoder
    groups = torch.cat([lens.embedding.group(clouds)[1] for clouds in batches])  # (B, G, K, 3)
    lifted = encoder.lift(groups)
    _store(encoder.lift_norm, lifted)
    weight, bias = encoder.lift_norm.fold(encoder.lift)
    points = encoder.expand(torch.nn.functional.linear(groups, weight, bias).relu())  # (B, G, K, 2h)
    widest = points.amax(dim=2, keepdim=True).expand_as(points)
    _store(encoder.mix_norm, encoder.mix(torch.cat([widest, points], dim=-1)))


def _store(norm: torch.nn.Module, values: Tensor) -> None:
    rows = values.flatten(0, -2)
    norm.mean.copy_(rows.mean(dim=0))
    norm.var.copy_(rows.var(dim=0))
