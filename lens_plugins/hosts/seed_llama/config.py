"""Every dimension of a SEED-2 tokenizer, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import Self

from ..._config import FrozenConfig
from ...errors import ConfigError

__all__ = ["FORMAT", "SEED_2", "SeedConfig"]

FORMAT = 1
"""Number of the layout of a saved tokenizer folder; a reader refuses a higher one."""


@dataclass(frozen=True)
class SeedConfig(FrozenConfig):
    """A SEED-2 tokenizer: ViT, causal Q-Former, codebook, and the way back to an image embedding."""

    image_size: int  # pixels
    patch_size: int  # pixels
    vit_width: int
    vit_mlp: int
    vit_layers: int
    vit_heads: int
    qformer_width: int
    qformer_mlp: int
    qformer_layers: int
    qformer_heads: int
    queries: int  # Q: codes of one picture
    codes: int  # entries of the codebook
    code_width: int
    decoder_width: int
    decoder_mlp: int
    decoder_layers: int
    decoder_heads: int
    down: tuple[int, ...]  # widths to which each decoded token is reduced, one linear layer each
    embedding_width: int  # E, of the image embedding that unCLIP reads
    cross_attention_every: int = 2  # every how many layers the Q-Former reads the ViT
    norm_eps: float = 1e-5  # of the norm after the ViT: SEED and LAVIS trained it so, the blocks have 1e-6

    def __post_init__(self) -> None:
        sizes = {name: value for name, value in self.to_dict().items() if isinstance(value, int)}
        for name, value in sizes.items():
            self._require(value > 0, f"{name} is {value}; it must be at least 1.")
        self._require(len(self.down) > 0, "down has 0 widths; it must have at least 1.")
        for part in ("vit", "qformer", "decoder"):
            width, heads = sizes[f"{part}_width"], sizes[f"{part}_heads"]
            self._require(
                width % heads == 0, f"{part}_width is {width}, which {part}_heads = {heads} do not divide evenly."
            )
        self._require(
            self.image_size % self.patch_size == 0,
            f"image_size is {self.image_size}, which patches of {self.patch_size} do not divide evenly.",
        )

    @property
    def patches(self) -> int:
        """N, the number of patch tokens of a picture."""
        return (self.image_size // self.patch_size) ** 2

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ConfigError: a higher format number, an unknown field, a value refused.
        """
        raw = dict(raw)
        number = raw.pop("format", None)
        if not isinstance(number, int):
            raise ConfigError(f"The configuration of a SEED tokenizer has a whole `format` number, not {number!r}.")
        if number > FORMAT:
            raise ConfigError(
                f"This SEED tokenizer has format {number}, this version reads up to {FORMAT}; upgrade lens-plugins."
            )
        return super().from_dict(raw)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"format": FORMAT, **super().to_dict()}


SEED_2 = SeedConfig(
    image_size=224,
    patch_size=14,
    vit_width=1408,
    vit_mlp=6144,
    vit_layers=39,
    vit_heads=16,
    qformer_width=768,
    qformer_mlp=3072,
    qformer_layers=12,
    qformer_heads=12,
    queries=32,
    codes=8192,
    code_width=32,
    decoder_width=768,
    decoder_mlp=3072,
    decoder_layers=4,
    decoder_heads=12,
    down=(256, 128, 32),
    embedding_width=1024,
)
"""The released tokenizer, whose file is not read to tell its size."""
