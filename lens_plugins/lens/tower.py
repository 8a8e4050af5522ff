"""The tower that each lens of the CLIP ViT-L/14 family brings along, on transformers' CLIP vision modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .._config import FrozenConfig
from ..errors import DoesNotFit

__all__ = ["Tower", "TowerConfig"]


@dataclass(frozen=True)
class TowerConfig(FrozenConfig):
    """Dimensions of a CLIP vision tower; the defaults are those of ViT-L/14."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    mlp: int = 4096
    positions: int = 256  # patches, the class token not counted
    out: int = 768
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            self._require(value > 0, f"{name} must be positive, not {value}.")
        self._require(self.width % self.heads == 0, f"a width of {self.width} is not {self.heads} whole heads.")


class Tower(nn.Module):
    """Latents -> one vector: class token, positions, norm, blocks, norm of the class row, projection."""

    def __init__(self, config: TowerConfig) -> None:
        from transformers.models.clip.modeling_clip import CLIPEncoder  # seconds to import, and few lenses need it

        super().__init__()
        self.config = config
        self.class_token = nn.Parameter(torch.zeros(config.width))
        self.positions = nn.Parameter(torch.zeros(1 + config.positions, config.width))
        self.norm_in = nn.LayerNorm(config.width, config.norm_eps)
        self.encoder = CLIPEncoder(_clip_config(config))
        self.norm_out = nn.LayerNorm(config.width, config.norm_eps)
        self.projection = nn.Linear(config.width, config.out, bias=False)

    def encode(self, latents: Tensor) -> Tensor:  # (B, N, D) -> (B, E)
        """One vector for each input, not normalised.

        Raises:
            DoesNotFit: latents of another number or width.
        """
        return self.projection(self.class_row(latents))

    def class_row(self, latents: Tensor) -> Tensor:  # (B, N, D) -> (B, D)
        """The class token's row after the last norm, before the projection.

        Raises:
            DoesNotFit: latents of another number or width.
        """
        expected = (self.config.positions, self.config.width)
        if latents.ndim != 3 or tuple(latents.shape[1:]) != expected:
            raise DoesNotFit(f"The tower reads latents (B, {expected[0]}, {expected[1]}), not {tuple(latents.shape)}.")
        # The class token comes first, as in CLIP; positions count it.
        x = torch.cat([self.class_token.expand(len(latents), 1, -1), latents], 1) + self.positions  # (B, 1 + N, D)
        x = self.encoder(inputs_embeds=self.norm_in(x)).last_hidden_state
        return self.norm_out(x[:, 0])


def _clip_config(config: TowerConfig) -> Any:
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=config.width,
        intermediate_size=config.mlp,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        layer_norm_eps=config.norm_eps,
        hidden_act="gelu",  # exact, as the DataComp checkpoint was trained; OpenAI's own has quick_gelu
        attn_implementation="sdpa",
    )
