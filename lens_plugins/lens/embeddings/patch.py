"""Picture tokenizers: square frames cut into square patches by one convolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ...errors import InputError
from ...inputs.settings import ViTShape
from ...keymap import KeyMap
from ..released import CLIP, EVA, Layout, Released
from .base import SMALL_TOKEN, Embedding, EmbeddingConfig, Facts

__all__ = ["PATCHES", "PatchConfig", "PatchEmbedding", "SquareEmbedding", "SquarePatches"]

PATCHES = KeyMap([("conv1.weight", "proj.weight"), ("pos_emb", "positions")])
"""Keys of a released tokenizer that cuts patches with positions of their own (depth, audio)."""


@dataclass(frozen=True)
class SquarePatches(EmbeddingConfig):
    """Square frames cut into square patches."""

    width: int
    patch: int = 14
    size: int = 224  # pixels on each side

    def __post_init__(self) -> None:
        for name in ("width", "patch", "size"):
            self._require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}.")
        self._require(
            self.size % self.patch == 0,
            f"size must be a multiple of the patch: {self.size} is not one of {self.patch}.",
        )

    @property
    def tokens(self) -> int:
        """N, the number of patches."""
        return (self.size // self.patch) ** 2

    @classmethod
    def for_vit(cls, vit: ViTShape) -> Self:
        """The ViT's own patches."""
        return cls(width=vit.width if vit.large else SMALL_TOKEN, patch=vit.patch, size=vit.image_size)

    @classmethod
    def resampling(cls, vit: ViTShape) -> tuple[int, int]:
        """None for a large ViT, as in the released lenses.

        A small ViT sees no materials in lit relief by another kernel alone: it named 35 % of 26, 45 % with a resampler.
        """
        return (0, 0) if vit.large else (2, 1)

    def required_input(self, names: set[str]) -> dict[str, Any]:
        """Pictures of the size that gives the patches."""
        return {"size": self.size}


class SquareEmbedding(Embedding):
    """Base of the tokenizers that cut square patches with the kernel `proj` (W, channels, P, P)."""

    proj: nn.Conv2d

    @torch.no_grad()
    def start_from_patches(self, kernel: Tensor) -> None:
        """Start from the ViT's own kernel, summed over the colours for one channel; one of another shape is left.

        ViT-Lens reads touch by a trained copy of that kernel.
        """
        own = self.proj.weight
        kernel = kernel.float() if own.shape[1] == kernel.shape[1] else kernel.float().sum(1, keepdim=True)
        if own.shape == kernel.shape:
            own.copy_(kernel)


@dataclass(frozen=True)
class PatchConfig(SquarePatches):
    """Dimensions of the patch embedding; the defaults are those of an EVA ViT-g.

    `size` is that of the pictures the lens was trained on.
    """

    width: int = 1408
    bias: bool = True


class PatchEmbedding(SquareEmbedding):
    """Pictures -> patch tokens by a trained copy of the ViT's kernel; the ViT adds its own positions later."""

    config_class: ClassVar = PatchConfig
    input_dims: ClassVar = 3  # (3, H, W)
    layouts: ClassVar = {
        EVA: Layout("eva_vit.patch_embed.proj.", KeyMap([("{leaf}", "proj.{leaf}")]), resampled=False),
        CLIP: Layout("conv1.", KeyMap([("weight", "proj.weight")]), resampled=False),
    }

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        self.proj = nn.Conv2d(3, config.width, config.patch, config.patch, bias=config.bias)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> tokens (B, N, W), row-major; zeros (N, W).

        The weights hold no positions, so any size that is whole patches is read.

        Raises:
            InputError: not three channels, or sides that are not whole patches.
        """
        patch = self.config.patch
        if picture.ndim != 4 or picture.shape[1] != 3:
            raise InputError(f"The patch embedding reads pictures (B, 3, H, W), not {tuple(picture.shape)}.")
        if any(side == 0 or side % patch for side in picture.shape[2:]):
            raise InputError(f"{tuple(picture.shape[2:])} pixels are not whole patches of {patch}.")
        tokens = self.proj(picture.to(self.proj.weight.dtype)).flatten(2).transpose(1, 2)  # (B, W, N) -> (B, N, W)
        return tokens, tokens.new_zeros(tokens.shape[1:])

    @classmethod
    def likeness(cls, names: Mapping[str, Tensor]) -> int:
        """A kernel of the EVA ViT is a lens; a CLIP tower without a tokenizer may be any CLIP model."""
        if any(name.startswith("visual_adapter.") for name in names):
            return 0
        return 2 if "eva_vit.patch_embed.proj.weight" in names else int("conv1.weight" in names)

    @classmethod
    def facts(cls, released: Released) -> Facts:
        """Width, patch and bias from the kernel; the size from positions of a ViT beside it, where there are any."""
        key = "conv1.weight" if released.family == CLIP else "eva_vit.patch_embed.proj.weight"
        width, _, patch, _ = released.shape(key, 4)
        told: dict[str, Any] = {"width": width, "patch": patch, "bias": released.family == EVA}
        # The kernel does not tell the size of the pictures; positions of a ViT beside it do.
        if released.has("transformer."):
            told["size"] = patch * math.isqrt(released.shape("positional_embedding", 2)[0] - 1)
        elif "pos_embed" in released.vit:
            told["size"] = patch * math.isqrt(released.vit["pos_embed"].shape[1] - 1)
        return Facts(told)
