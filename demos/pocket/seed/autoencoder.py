"""Pixels to latents and back: diffusers' deep-compression autoencoder, started from principal components.

From random weights an autoencoder of this size blurs, after twenty minutes, what a plain projection of patches keeps.
Widths that grow fourfold make its shortcuts lossless (Chen et al. 2024, section 3), so before training it can be that
projection, all but exactly, and training only adds to it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lens_plugins._optional import require

from ..loop import Stage, run
from .embedding import Judge
from .scenes import Look, Scenes, at_size, features_of, resized, turned
from .sizes import Sizes

if TYPE_CHECKING:
    from diffusers import AutoencoderDC

    from lens_plugins.splice import FrozenViT

__all__ = ["FACTOR", "new_autoencoder", "pixels_apart", "start_from_components", "train_autoencoder", "write_latents"]

FACTOR = 8  # pixels of each side of a latent: what `Drawing.size` must be a multiple of
SEEN = 1.0  # weight of what the ViT sees beside what pixels are
NOISE = 0.03  # of the latents' deviation, on what the decoder reads: diffusion is never exact
_COLOURS = 3
_LEVELS = 4
_CONSTANT = 8.0  # one channel of the decoder: next to it, its final norm is all but linear
_SHIFT = 1.25  # keeps colours (-1 to 1) above the final ReLU


def new_autoencoder(sizes: Sizes) -> AutoencoderDC:
    """Pictures of `sizes.pixels` to latents of an eighth, of a few channels."""
    diffusers = require("diffusers", extra="seed", purpose="Training what draws")
    torch.manual_seed(13)
    widths = tuple(sizes.autoencoder_width * 4**level for level in range(_LEVELS))
    vae = diffusers.AutoencoderDC(
        latent_channels=sizes.latent_channels,
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        encoder_layers_per_block=(1, 1, 1, 0),
        decoder_layers_per_block=(1, 4, 4, 0),
        encoder_qkv_multiscales=((),) * _LEVELS,
        decoder_qkv_multiscales=((),) * _LEVELS,
        encoder_out_shortcut=False,
        decoder_in_shortcut=False,
    )
    vae.register_to_config(block_out_channels=widths)  # pipelines count the levels by it
    return vae


@torch.no_grad()
def start_from_components(vae: AutoencoderDC, rgb: Tensor) -> None:
    """Set weights so that it keeps the first principal components of patches of 8 x 8 pixels, half whitened.

    Args:
        rgb: (B, 3, S, S) from -1 to 1, to find the components of.
    """
    from diffusers.models.autoencoders.autoencoder_dc import DCDownBlock2d, DCUpBlock2d, ResBlock

    for module in vae.modules():
        if isinstance(module, ResBlock):
            torch.nn.init.zeros_(module.norm.weight)
            torch.nn.init.zeros_(module.norm.bias)
        elif isinstance(module, (DCDownBlock2d, DCUpBlock2d)):
            torch.nn.init.zeros_(module.conv.weight)
            torch.nn.init.zeros_(module.conv.bias)
    encoder, decoder = vae.encoder, vae.decoder
    _pass_colours(encoder.conv_in)
    pixels = encoder.conv_in(rgb)
    for block in encoder.down_blocks:
        pixels = block(pixels)
    own = _COLOURS * FACTOR**2  # channels that hold a patch's pixels; the encoder's others begin unread
    mean, components, scale = _components(pixels[:, :own].movedim(1, -1).flatten(0, 2), vae.config.latent_channels)

    torch.nn.init.zeros_(encoder.conv_out.weight)
    encoder.conv_out.weight[:, :own, 1, 1] = components.T * scale[:, None]
    encoder.conv_out.bias.copy_(-(mean @ components) * scale)
    torch.nn.init.zeros_(decoder.conv_in.weight)
    torch.nn.init.zeros_(decoder.conv_in.bias)
    decoder.conv_in.weight[:own, :, 1, 1] = components / scale
    decoder.conv_in.bias[:own] = mean
    decoder.conv_in.bias[own : own + FACTOR**2] = _CONSTANT
    width = decoder.conv_out.in_channels
    decoder.norm_out.weight.fill_(_CONSTANT / width**0.5)
    decoder.norm_out.bias.fill_(_SHIFT)
    torch.nn.init.zeros_(decoder.conv_out.weight)
    decoder.conv_out.weight[range(_COLOURS), range(_COLOURS), 1, 1] = 1.0
    decoder.conv_out.bias.fill_(-_SHIFT)


def _pass_colours(conv: torch.nn.Conv2d) -> None:
    """The first three channels are the colours; the others stay random, and small."""
    conv.weight.mul_(0.3)
    torch.nn.init.zeros_(conv.bias)
    conv.weight[:_COLOURS] = 0
    conv.weight[range(_COLOURS), range(_COLOURS), 1, 1] = 1.0


def _components(rows: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (P,), components (P, c) and the factor of each (c,): large ones are made smaller, small ones larger."""
    mean = rows.mean(0)
    values, vectors = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
    return mean, vectors.flip(1)[:, :count], values.flip(0)[:count].clamp(min=1e-6) ** -0.25


def train_autoencoder(
    vae: AutoencoderDC,
    vit: FrozenViT,
    scenes: Scenes,
    held: tuple[Look, Sequence[str]],
    judge: Judge,
    sizes: Sizes,
    folder: Path,
) -> None:
    """Train from principal components, or go on; leaves it rounded to float16, with the scale of unit variance.

    The frozen ViT is to see in the result what it saw in the scene: pixels alone make blurs.
    """
    look, labels = held
    start_from_components(vae, _signed(scenes.take(scenes.spread(1024)).rgb, sizes))
    centre = scenes.take(scenes.spread(512)).features.mean(0)  # (1 + N, D)

    def loss(step: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        numbers = scenes.draw(np.random.default_rng([53, step]), sizes.autoencoder_batch)
        shown = scenes.take(numbers)
        rgb = _signed(shown.rgb, sizes)
        with torch.autocast("cpu", torch.bfloat16):
            latent = vae.encode(rgb).latent
            noise = torch.randn(latent.shape, generator=g) * latent.detach().float().std()
            found = vae.decode(latent + NOISE * noise).sample
        found = found.float()
        apart, edges = pixels_apart(found, rgb)
        features = features_of(vit, resized(found / 2 + 0.5, vit.image_size))
        seen = turned(features, shown, centre, share=0.5).mean()
        logged = {"apart": apart, "edges": edges, "turned": seen}
        return apart + edges + SEEN * seen, {name: value.item() for name, value in logged.items()}

    def check(trained: Any) -> dict[str, float]:
        rgb = _signed(look.rgb, sizes)
        with torch.no_grad():
            found = trained.decode(trained.encode(rgb).latent).sample
        said = judge.of_pictures((found / 2 + 0.5).clamp(0, 1))
        kept = judge.share(said, judge.of_tokens(look.features[:, 0]))
        return {
            "test_apart": F.l1_loss(found, rgb).item(),
            "test_kept": kept,
            "test_class": judge.share(said, labels),
        }

    stage = Stage(
        steps=sizes.autoencoder_steps,
        lr=1e-4,  # more undoes the start
        warmup=30,
        weight_decay=0.01,
        average=0.98,
        check_every=sizes.check_every,
        seed=13,
    )
    vae.to(memory_format=torch.channels_last)
    run(vae, loss, check, stage, folder)
    vae.half().float().eval()
    vae.register_to_config(scaling_factor=1 / float(_latents(vae, scenes, scenes.spread(512), sizes).std()))


def pixels_apart(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distances of pixels and of edges: the differences of neighbours, in both directions."""
    edges = sum(F.l1_loss(found.diff(dim=d), wanted.diff(dim=d)) for d in (2, 3))
    return F.l1_loss(found, wanted), edges


def write_latents(vae: AutoencoderDC, scenes: Scenes, sizes: Sizes, file: Path, batch: int = 64) -> np.ndarray:
    """Latents of all scenes, of unit variance: (C, c, h, w) float16; made once, later calls read them."""
    if not file.exists():
        scale, made = vae.config.scaling_factor, []
        for first in range(0, len(scenes), batch):
            numbers = np.arange(first, min(first + batch, len(scenes)))
            made.append((_latents(vae, scenes, numbers, sizes) * scale).half().numpy())
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix(".new.npy")
        np.save(scratch, np.concatenate(made))
        os.replace(scratch, file)
    return np.load(file, allow_pickle=False)


def _signed(rgb: Tensor, sizes: Sizes) -> Tensor:
    """Pictures at the size that is drawn, from -1 to 1 as diffusers has them."""
    return at_size(rgb, sizes.pixels) * 2 - 1


@torch.no_grad()
def _latents(vae: AutoencoderDC, scenes: Scenes, numbers: np.ndarray, sizes: Sizes) -> Tensor:
    made = []
    for first in range(0, len(numbers), 64):
        rgb = _signed(scenes.take(numbers[first : first + 64]).rgb, sizes)
        with torch.autocast("cpu", torch.bfloat16):
            made.append(vae.encode(rgb).latent.float())
    return torch.cat(made)
