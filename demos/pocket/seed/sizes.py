"""Every size of the recipe in one place: what ships by default, and what a test shrinks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["PACKS", "Places", "Sizes"]

PACKS = ("sweethome", "generated", "emoji", "stamps", "clipart")  # things; the host's own training also sees materials


@dataclass(frozen=True)
class Sizes:
    """Defaults fit two CPU cores, ten minutes to two hours a stage, and 80 MB in float16."""

    groups: int = 8192  # things shown, each in four scenes
    more_groups: int = 12288  # of which only codes and embeddings are kept
    queries: int = 32  # codes of a picture, as SEED-2 has
    codes: int = 1024
    code_width: int = 16
    qformer_width: int = 256
    qformer_layers: int = 4
    decoder_layers: int = 3
    down: tuple[int, ...] = (64, 16)
    embedding: int = 384  # of the image embedding
    tokenizer_steps: int = 1600
    tokenizer_batch: int = 128
    way_back_steps: int = 1450  # of what leads from codes to embeddings alone
    way_back_batch: int = 256
    pixels: int = 64  # side of what is drawn; an eighth of it is the side of the latents
    latent_channels: int = 16
    autoencoder_width: int = 6  # of the first level; each of the other three has four times that before it
    autoencoder_steps: int = 480
    autoencoder_batch: int = 32
    unet_widths: tuple[int, ...] = (128, 192, 192)
    unet_layers: tuple[int, ...] = (2, 2, 1)
    unet_steps: int = 6000
    unet_close: int = 8900  # from there, drawing, with the ViT and other networks looking on
    unet_batch: int = 64
    norm_groups: int = 8
    language_width: int = 320
    language_layers: int = 6
    language_heads: int = 5
    vocabulary: int = 2000  # words and pieces of words, codes not counted
    language_steps: int = 3500
    language_batch: int = 24  # dialogues; of descriptions twice as many
    held_out: int = 125  # pictures that checks look at
    check_every: int = 200  # steps


@dataclass(frozen=True)
class Places:
    """Where a build works and where its results go; `target/instructblip` holds the frozen ViT."""

    work: Path
    target: Path
    sizes: Sizes = Sizes()

    @property
    def home(self) -> Path:
        """Checkpoints and caches of this recipe."""
        return self.work / "seed"

    @property
    def packs(self) -> list[Path]:
        return [self.work / "pack" / name for name in PACKS]

    @property
    def instructblip(self) -> Path:
        return self.target / "instructblip"

    @property
    def host(self) -> Path:
        """What is built."""
        return self.target / "seed-llama"
