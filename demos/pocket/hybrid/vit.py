"""The hybrid ViT: a frozen trunk as patch embedding, then the tower of InstructBLIP: class token, blocks and norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .trunk import GRID, SIDE, TRUNK_WIDTH, Trunk

__all__ = ["WIDTH", "HybridPatches", "Pupil", "tower_config", "with_trunk"]

WIDTH = 256
BLOCKS = 4
HEADS = 4
TOKENS = GRID * GRID
TEXT_WIDTH = 384


def tower_config():
    """256 px, 64 patches of 32 px, width 256, 4 blocks of 4 heads (3.5 M parameters beside the trunk)."""
    from transformers import InstructBlipVisionConfig

    return InstructBlipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        image_size=SIDE,
        patch_size=SIDE // GRID,
        qkv_bias=True,
        layer_norm_eps=1e-6,
        initializer_range=0.02,
    )


class Entrance(nn.Module):
    """Trunk tokens, standardised, to the tower's width."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(TRUNK_WIDTH))
        self.register_buffer("scale", torch.ones(TRUNK_WIDTH))
        self.linear = nn.Linear(TRUNK_WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:  # (B, N, 1280) -> (B, N, D)
        return self.linear((tokens - self.mean) * self.scale)


class HybridPatches(nn.Module):
    """What stands in for the tower's patch embedding: trunk and entrance, (B, 3, S, S) normalised -> (B, D, 8, 8).

    Pictures come normalised by `trunk.MEAN` and `trunk.DEVIATION`, as the host's image processor does.
    """

    def __init__(self, trunk: Trunk, entrance: Entrance) -> None:
        super().__init__()
        self.trunk, self.entrance = trunk, entrance

    @property
    def weight(self) -> Tensor:
        """transformers asks a patch embedding for its dtype through this."""
        return self.entrance.linear.weight

    def forward(self, pixels: Tensor) -> Tensor:
        grid = self.trunk.features(pixels)  # (B, 1280, 8, 8)
        tokens = self.entrance(grid.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).unflatten(2, grid.shape[2:])


class Pupil(nn.Module):
    """The tower without its trunk, which reads cached trunk tokens, and the heads that training needs."""

    def __init__(self, classes: int) -> None:
        from transformers.models.instructblip.modeling_instructblip import InstructBlipVisionModel

        super().__init__()
        self.vit = InstructBlipVisionModel(tower_config())
        self.vit.embeddings.patch_embedding = Entrance()
        nn.init.normal_(self.vit.embeddings.class_embedding, std=0.02)
        nn.init.normal_(self.vit.embeddings.position_embedding, std=0.02)
        self.class_head = nn.Linear(WIDTH, classes)
        self.text_head = nn.Linear(WIDTH, TEXT_WIDTH)
        self.token_head = nn.Linear(WIDTH, WIDTH)  # what each patch token remembers of its own trunk token

    @property
    def entrance(self) -> Entrance:
        """Trunk tokens to tower tokens."""
        return self.vit.embeddings.patch_embedding

    def start(self, trunk: Trunk, mean: Tensor, deviation: Tensor) -> Tensor:
        """Begin as the trunk's own classifier, so far as the width allows; returns the (D, 1280) basis.

        The entrance keeps the directions that the classifier reads, the first block hands the class token the mean of
        all tokens, and the class head reads it as the classifier does.
        """
        weight = trunk.classifier.weight * deviation  # (1000, 1280), for standardised tokens
        left, strength, right = torch.linalg.svd(weight, full_matrices=False)
        basis = right[:WIDTH]
        with torch.no_grad():
            self.entrance.mean.copy_(mean)
            self.entrance.scale.copy_(1 / deviation)
            self.entrance.linear.weight.copy_(basis)
            self.entrance.linear.bias.zero_()
            first = self.vit.encoder.layers[0].self_attn
            first.qkv.weight[2 * WIDTH :].copy_(torch.eye(WIDTH))
            first.qkv.bias[2 * WIDTH :].zero_()
            first.projection.weight.copy_(torch.eye(WIDTH))
            first.projection.bias.zero_()
            self.class_head.weight.copy_(left[:, :WIDTH] * strength[:WIDTH])
            self.class_head.bias.copy_(trunk.classifier(mean))
        return basis

    def forward(self, tokens: Tensor, places: Tensor | None = None) -> Tensor:
        """Trunk tokens (B, n, 1280), at `places` (B, n) or everywhere, to features (B, 1 + n, D) after the norm."""
        embeddings = self.vit.embeddings
        positions = embeddings.position_embedding  # (1, 65, D)
        at = positions[:, 1:].expand(len(tokens), -1, -1)
        if places is not None:
            at = at.gather(1, places[..., None].expand(-1, -1, WIDTH))
        first = (embeddings.class_embedding + positions[:, :1]).expand(len(tokens), -1, -1)
        hidden = torch.cat([first, self.entrance(tokens) + at], 1)
        return self.vit.post_layernorm(self.vit.encoder(inputs_embeds=hidden).last_hidden_state)

    def logits(self, features: Tensor) -> Tensor:
        """(B, 1 + n, D) -> (B, 1000)"""
        return self.class_head(features[:, 0])

    def sentence(self, features: Tensor) -> Tensor:
        """(B, 1 + n, D) -> (B, 384) unit vectors among sentence embeddings"""
        return F.normalize(self.text_head(features[:, 0]), dim=-1)


def with_trunk(pupil: Pupil, trunk: Trunk) -> nn.Module:
    """The tower as a host holds it: transformers' InstructBlipVisionModel, its patch embedding replaced."""
    from copy import deepcopy

    tower = deepcopy(pupil.vit)
    tower.embeddings.patch_embedding = HybridPatches(trunk, tower.embeddings.patch_embedding)
    return tower.eval().requires_grad_(False)
