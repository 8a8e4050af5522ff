"""Perceiver resampler: learned latents read any number of tokens (Jaegle et al. 2021, as perceiver-pytorch has it)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._config import FrozenConfig

__all__ = ["Perceiver", "PerceiverConfig"]


@dataclass(frozen=True)
class PerceiverConfig(FrozenConfig):
    """Dimensions of the resampler."""

    width: int  # of a latent
    latents: int
    context_width: int  # of a token it reads
    depth: int
    self_per_cross: int  # self-attentions after each cross-attention
    cross_heads: int
    cross_dim_head: int
    latent_heads: int
    latent_dim_head: int

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            lowest = 0 if name == "self_per_cross" else 1
            self._require(value >= lowest, f"{name} must be at least {lowest}, not {value}.")


class Attention(nn.Module):
    """Pre-norm multi-head attention of latents on a context, or on themselves where `context_width` is None."""

    def __init__(self, width: int, heads: int, dim_head: int, context_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_context = None if context_width is None else nn.LayerNorm(context_width)
        # No biases before the attention, as in perceiver-pytorch, whose weights these are.
        self.query = nn.Linear(width, heads * dim_head, bias=False)
        self.key_value = nn.Linear(context_width or width, 2 * heads * dim_head, bias=False)
        self.out = nn.Linear(heads * dim_head, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:  # (B, N, D), (B, M, C) -> (B, N, D)
        x = self.norm(x)
        # Latents that attend to themselves are normalised once, not twice.
        context = x if self.norm_context is None else self.norm_context(context)
        key, value = self.key_value(context).chunk(2, -1)
        query, key, value = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.query(x), key, value))
        mixed = F.scaled_dot_product_attention(query, key, value)  # (B, heads, N, dim_head)
        return self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Pre-norm gated feed-forward (GEGLU, Shazeer 2020): value first, gate second."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 8 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D) -> (B, N, D)
        value, gate = self.up(self.norm(x)).chunk(2, -1)
        return self.down(value * F.gelu(gate))


class LatentBlock(nn.Module):
    """Self-attention of the latents and a feed-forward, both residual."""

    def __init__(self, config: PerceiverConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.latent_heads, config.latent_dim_head)
        self.mlp = FeedForward(config.width)

    def forward(self, x: Tensor) -> Tensor:  # (B, N, D) -> (B, N, D)
        x = x + self.attention(x)
        return x + self.mlp(x)


class PerceiverLayer(nn.Module):
    """Cross-attention to the context and a feed-forward, both residual, then blocks of the latents alone."""

    def __init__(self, config: PerceiverConfig) -> None:
        super().__init__()
        self.cross = Attention(config.width, config.cross_heads, config.cross_dim_head, config.context_width)
        self.mlp = FeedForward(config.width)
        self.latent = nn.ModuleList(LatentBlock(config) for _ in range(config.self_per_cross))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:  # (B, N, D), (B, M, C) -> (B, N, D)
        x = x + self.cross(x, context)
        x = x + self.mlp(x)
        for block in self.latent:
            x = block(x)
        return x


class Perceiver(nn.Module):
    """Tokens of any number -> latents of a fixed number: no Fourier features, no final norm."""

    def __init__(self, config: PerceiverConfig) -> None:
        super().__init__()
        self.config = config
        self.latents = nn.Parameter(torch.randn(config.latents, config.width))
        self.layers = nn.ModuleList(PerceiverLayer(config) for _ in range(config.depth))

    def forward(self, context: Tensor) -> Tensor:  # (B, M, C) -> (B, N, D)
        x = self.latents.expand(len(context), -1, -1)
        for layer in self.layers:
            x = layer(x, context)
        return x
