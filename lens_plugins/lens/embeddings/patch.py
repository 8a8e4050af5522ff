"""Picture tokenizer: a trained copy of the ViT's own patch embedding (tactile frames)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from ..._config import FrozenConfig
from ...errors import InputError

__all__ = ["PatchConfig", "PatchEmbedding", "SquarePatches"]


@dataclass(frozen=True)
class SquarePatches(FrozenConfig):
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
        return (self.size // self.patch) ** 2

    def check_input(self, settings: Any) -> None:
        self._require(
            settings.size == self.size, f"the lens reads {self.size} pixels, the input settings make {settings.size}."
        )


@dataclass(frozen=True)
class PatchConfig(SquarePatches):
    """Dimensions of the patch embedding; the defaults are those of an EVA ViT-g.

    `size` is that of the pictures the lens was trained on.
    """

    width: int = 1408
    bias: bool = True


class PatchEmbedding(nn.Module):
    """Pictures -> patch tokens; their positions are zero, since the ViT adds its own."""

    config_class: ClassVar = PatchConfig
    input_dims: ClassVar = 3  # (3, H, W)

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
