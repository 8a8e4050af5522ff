"""The frozen ViT of a host: patch embedding, class token, positions, blocks, final norm, called piece by piece.

The image path is patch embedding → class token first → positions → blocks → final norm; a Lens replaces the patch
embedding and nothing else (ViT-Lens, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, DoesNotFit
from .fusion import join_tokens
from .offload import aligned

__all__ = ["FrozenViT", "Held", "vit_from_clip", "vit_from_timm", "vit_from_tower"]

EVA_DEPTH = 39  # blocks of EVA-CLIP ViT-g/14 that LAVIS keeps; the 40th is dropped


@dataclass(frozen=True)
class Held:
    """A parameter named through the module that owns it: under offload it is on the meta device until asked for."""

    owner: nn.Module
    name: str

    @property
    def placed(self) -> Tensor:
        """The parameter where it is now: under offload its shape and dtype are real, its values are not there."""
        parameter: Tensor = getattr(self.owner, self.name)
        return parameter

    def read(self) -> Tensor:
        """The values, on the device that its owner computes on."""
        if not hasattr(self.owner, "_hf_hook"):  # nothing of it is kept elsewhere
            return getattr(self.owner, self.name)
        with aligned(self.owner):
            return self.placed


class FrozenViT:
    """A ViT over five given parts; it owns no weights and changes none.

    Args:
        name: what an error calls it.
        patch_embedding: (B, 3, S, S) -> (B, D, h, w) or (B, N, D).
        class_token: (1, 1, D); leading axes of size 1 may be absent.
        positions: (1, 1 + N, D), the class token's row first; its leading axis may be absent.
        blocks: (B, T, D) -> (B, T, D) for any number of tokens T, or an output with `last_hidden_state`.
        norm: the host's own LayerNorm after the blocks (LAVIS: `ln_vision`).
        image_size: S, in pixels.

    Raises:
        CheckpointError: class token, positions and norm disagree about the width.
    """

    def __init__(
        self,
        *,
        name: str,
        patch_embedding: nn.Module,
        class_token: Held,
        positions: Held,
        blocks: nn.Module,
        norm: nn.Module,
        image_size: int,
    ) -> None:
        self.name = name
        self.patch_embedding = patch_embedding
        self.class_token = class_token
        self.positions = positions
        self.blocks = blocks
        self.norm = norm
        self.image_size = image_size
        # one row of positions belongs to the class token, the others to patches
        rows, self.width = positions.placed.shape[-2:]
        self.num_patches = rows - 1
        for what, part in (("class token", class_token), ("final norm", Held(norm, "weight"))):
            if (width := part.placed.shape[-1]) != self.width:
                raise CheckpointError(f"{name}: the {what} is {width} wide, the positions are {self.width} wide.")

    @property
    def norm_eps(self) -> float:
        """Epsilon of the final norm: 1e-5 as LAVIS and SEED trained it, 1e-6 by transformers' configuration."""
        norm: Any = self.norm  # any module with `eps`
        return float(norm.eps)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the tokens between embedding and blocks."""
        return self.positions.placed.dtype

    @property
    def device(self) -> torch.device:
        """Where the ViT computes, also when its weights are offloaded."""
        return self.positions.read().device

    @property
    def module(self) -> nn.ModuleDict:
        """Every module involved, as one: to digest, freeze or move them."""
        return nn.ModuleDict(
            {
                "patch_embedding": self.patch_embedding,
                "class_token": self.class_token.owner,
                "positions": self.positions.owner,
                "blocks": self.blocks,
                "norm": self.norm,
            }
        )

    def with_norm(self, norm: nn.Module) -> FrozenViT:
        """The same ViT with another final norm: hosts that share a ViT keep norms of their own."""
        return FrozenViT(
            name=self.name,
            patch_embedding=self.patch_embedding,
            class_token=self.class_token,
            positions=self.positions,
            blocks=self.blocks,
            norm=norm,
            image_size=self.image_size,
        )

    def embed_image(self, pixels: Tensor) -> Tensor:  # (B, 3, S, S) -> (B, N, D)
        """Patch tokens of pictures, before class token and positions.

        Raises:
            DoesNotFit: pictures of another size or channel count.
        """
        expected = (3, self.image_size, self.image_size)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != expected:
            raise DoesNotFit(f"{self.name} reads pictures of shape (B, {_x(expected)}), got ({_x(pixels.shape)}).")
        # under fp16 the patch convolution is halved while the positions stay float32
        dtype = next(self.patch_embedding.parameters()).dtype
        tokens = self.patch_embedding(pixels.to(self.device, dtype))
        if tokens.ndim == 4:
            tokens = tokens.flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, N, D)
        return tokens.to(self.dtype)

    def encode(self, latents: Tensor | Sequence[Tensor]) -> Tensor:  # (B, N, D) -> (B, 1 + N, D)
        """Features after the host's final norm; a list of k token tensors is fused before the ViT: (B, 1 + k·N, D).

        Gradients flow back to the latents.

        Raises:
            DoesNotFit: tokens of another width, number or batch size than the ViT reads.
        """
        tokens = [latents] if isinstance(latents, Tensor) else list(latents)
        self._check(tokens)
        class_token = self.class_token.read().reshape(1, 1, -1)
        positions = self.positions.read().reshape(1, -1, self.width)  # CLIP has (1 + N, D) -> (1, 1 + N, D)
        # a lens may lie on another device, or have been loaded in another precision
        tokens = [t.to(positions.device, self.dtype) for t in tokens]
        out = self.blocks(join_tokens(tokens, class_token.to(positions), positions))
        # transformers' encoders answer with an object, LAVIS's and timm's with a tensor
        return self.norm(out if isinstance(out, Tensor) else out.last_hidden_state)

    def pool(self, features: Tensor) -> Tensor:  # (B, T, D) -> (B, D)
        """The row of the class token."""
        return features[:, 0]

    def _check(self, tokens: list[Tensor]) -> None:
        if not tokens:
            raise DoesNotFit(f"{self.name} was given 0 inputs to encode; it needs at least 1.")
        for t in tokens:
            if t.ndim != 3 or t.shape[2] != self.width:
                raise DoesNotFit(
                    f"{self.name} reads tokens of shape (B, {self.num_patches}, {self.width}), got ({_x(t.shape)})."
                )
            if t.shape[1] != self.num_patches:
                raise DoesNotFit(
                    f"The input has {t.shape[1]} tokens; {self.name} has positions for {self.num_patches} patches."
                )
            if t.shape[0] != tokens[0].shape[0]:
                raise DoesNotFit(
                    f"Inputs fused before {self.name} must have one batch size, "
                    f"got {tokens[0].shape[0]} and {t.shape[0]}."
                )


def _x(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))


def vit_from_tower(tower: Any, name: str | None = None) -> FrozenViT:
    """The ViT of transformers' `InstructBlipVisionModel` or `Blip2VisionModel`."""
    embeddings = tower.embeddings
    return FrozenViT(
        name=name or f"ViT of width {tower.config.hidden_size} with {tower.config.num_hidden_layers} blocks",
        patch_embedding=embeddings.patch_embedding,
        class_token=Held(embeddings, "class_embedding"),
        positions=Held(embeddings, "position_embedding"),
        blocks=tower.encoder,
        norm=tower.post_layernorm,
        image_size=tower.config.image_size,
    )


def vit_from_clip(tower: Any, name: str) -> FrozenViT:
    """The ViT of transformers' `CLIPVisionModel`: a norm stands before the blocks, and belongs to them here.

    CLIP norms the class token's row alone after the blocks; every row is normed here, which leaves that one the same.
    """
    embeddings = tower.embeddings
    return FrozenViT(
        name=name,
        patch_embedding=embeddings.patch_embedding,
        class_token=Held(embeddings, "class_embedding"),
        positions=Held(embeddings.position_embedding, "weight"),
        blocks=nn.Sequential(tower.pre_layrnorm, tower.encoder),
        norm=tower.post_layernorm,
        image_size=tower.config.image_size,
    )


def vit_from_timm(model: Any, norm: nn.Module, *, depth: int = EVA_DEPTH, name: str | None = None) -> FrozenViT:
    """The ViT of timm's EVA giant (`eva_giant_patch14_*`), cut to the blocks that the hosts use.

    Args:
        model: has `patch_embed`, `cls_token`, `pos_embed` and `blocks`.
        norm: the host's own final norm (`ln_vision`), which timm's file does not hold.
        depth: how many of the blocks to run, first to last.

    Raises:
        CheckpointError: the model has fewer blocks than `depth`.
    """
    name = name or f"timm's EVA giant with {depth} blocks"
    if len(model.blocks) < depth:
        raise CheckpointError(f"{name}: the model has {len(model.blocks)} blocks, {depth} are needed.")
    return FrozenViT(
        name=name,
        patch_embedding=model.patch_embed,
        class_token=Held(model, "cls_token"),
        positions=Held(model, "pos_embed"),
        blocks=nn.Sequential(*model.blocks[:depth]),
        norm=norm,
        image_size=model.patch_embed.img_size[0],
    )
