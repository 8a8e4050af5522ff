"""What a lens is made of, as plain values; and the dimensions of the released ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from typing import Any

from typing_extensions import Self

from .. import __version__
from .._config import FrozenConfig, trait
from ..catalog import find_modality, resolve
from ..errors import ConfigError
from ..inputs.settings import InputSettings, ViTShape
from .embeddings import DepthConfig, EegConfig, PatchConfig, PointConfig, SpectrogramConfig
from .embeddings.base import EmbeddingConfig, required_input
from .perceiver import PerceiverConfig
from .tower import TowerConfig

__all__ = ["DIM_HEAD", "FORMAT", "LensConfig", "ViTFingerprint", "embedding_class", "presets", "settings_class"]

FORMAT = 1
"""Number of the layout of a saved lens folder; a reader refuses a higher one."""

DIM_HEAD = {1408: 88, 1024: 64}
"""Width of an attention head, of the resampler and of a tower, by width of the lens: weight shapes do not tell it."""


@dataclass(frozen=True)
class ViTFingerprint(FrozenConfig):
    """The ViT that a lens was trained for, as far as it is known."""

    width: int
    positions: int  # patches, the class token not counted
    norm_eps: float | None = None  # of the norm after the ViT; None: the file does not tell


@dataclass(frozen=True)
class LensConfig(FrozenConfig):
    """A lens: what it reads, its two halves, what it fits. Checked as a whole where it is made."""

    modality: str
    width: int  # of a latent
    embedding: Any  # an `EmbeddingConfig`: the config class of the modality's embedding
    resampler: PerceiverConfig | None = None
    input: Any = None  # `InputSettings`: the settings class of the modality; None becomes its defaults
    vit: ViTFingerprint | None = None
    family: str = "own"  # eva_g14, clip_l14, pocket or own
    tower: TowerConfig | None = None  # a tower of its own, in the clip_l14 family
    source_sha256: str | None = None  # of the file it was converted from

    def __post_init__(self) -> None:
        if self.input is None:
            # The dataclass is frozen; this is how one fills in a default that depends on another field.
            object.__setattr__(self, "input", settings_class(self.modality)())
        expected = embedding_class(self.modality).config_class
        self._require(
            isinstance(self.embedding, expected),
            f"a lens for {self.modality} is built from a {expected.__name__}, "
            f"not from a {type(self.embedding).__name__}.",
        )
        trait(self.embedding, "check_input", EmbeddingConfig)(self.input)
        self._check_widths()

    @property
    def num_tokens(self) -> int:
        """Latents written for one input."""
        return self.resampler.latents if self.resampler else int(self.embedding.tokens)

    @classmethod
    def for_vit(cls, modality: str, vit: ViTShape, values: Mapping[str, Any] | None = None) -> LensConfig:
        """A new lens that fits a ViT: the sizes of the released lenses for a large one, a small lens for a small one.

        Args:
            modality: any that has an embedding.
            vit: whose width, patches and picture size the lens follows.
            values: fields of the lens's parts by name (`num_groups=64`), as `override` takes them.

        Raises:
            ConfigError: the modality has no embedding, its classes cannot size themselves, or a value is refused.
        """
        config_class = embedding_class(modality).config_class
        embedding = trait(config_class, "for_vit", EmbeddingConfig)(vit)
        depth, self_per_cross = trait(config_class, "resampling", EmbeddingConfig)(vit)
        resampler = _sized_resampler(vit, embedding.width, depth, self_per_cross) if depth else None
        settings = trait(settings_class(modality), "for_vit", InputSettings)(vit)
        # Where both have a field the tokenizer decides: its positions are made for one size of input.
        settings = replace(settings, **required_input(embedding, type(settings)))
        config = cls(modality, vit.width, embedding, resampler, settings, ViTFingerprint(vit.width, vit.patches))
        return config.override(values) if values else config

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ConfigError: a higher format number, an unknown field, a value refused.
        """
        raw = dict(raw)
        number, version = raw.pop("format", None), raw.pop("library_version", None)
        if not isinstance(number, int):
            raise ConfigError(f"A lens configuration carries a whole `format` number; this one has {number!r}.")
        if number > FORMAT:
            raise ConfigError(
                f"This lens has format {number}, written by lens-plugins {version}; lens-plugins {__version__} reads "
                f"up to format {FORMAT}. Upgrade with: pip install -U lens-plugins"
            )
        modality = raw.get("modality")
        if not isinstance(modality, str):
            raise ConfigError(f"A lens configuration names its modality; this one has {modality!r}.")
        classes = {
            "embedding": embedding_class(modality).config_class,
            "resampler": PerceiverConfig,
            "input": settings_class(modality),
            "vit": ViTFingerprint,
            "tower": TowerConfig,
        }
        return super().from_dict({name: _read(name, value, classes.get(name)) for name, value in raw.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the format number and the library's version first."""
        return {"format": FORMAT, "library_version": __version__, **super().to_dict()}

    def override(self, values: Mapping[str, Any]) -> LensConfig:
        """The same lens with fields of its parts replaced by name (`clips=1`); a field in two parts changes in both.

        Raises:
            ConfigError: a name that no part has, or a value refused.
        """
        parts = {name: part for name in _PARTS if (part := getattr(self, name)) is not None}
        for name in values:
            if not any(name in part.to_dict() for part in parts.values()):
                raise ConfigError(unknown_override(name, {key for part in parts.values() for key in part.to_dict()}))
        changed = {}
        for part_name, part in parts.items():
            own = {name: value for name, value in values.items() if name in part.to_dict()}
            changed[part_name] = part.from_dict({**part.to_dict(), **own})
        return replace(self, **changed)

    def reading(self, values: Mapping[str, Any]) -> LensConfig:
        """The same lens, which reads its inputs with other settings (`kind="depth_mm"`); its weights stay as they are.

        Raises:
            ConfigError: a setting that its modality does not have, or one that makes other tensors than the lens reads.
        """
        return replace(self, input=type(self.input).from_dict({**self.input.to_dict(), **values}))

    def _check_widths(self) -> None:
        written = self.resampler.width if self.resampler else self.embedding.width
        self._require(written == self.width, f"the lens says width {self.width}, its last half writes {written}.")
        if self.resampler:
            read, given = self.resampler.context_width, self.embedding.width
            self._require(read == given, f"the resampler reads tokens of width {read}, the embedding makes {given}.")
        for name, part in (("ViT", self.vit), ("tower", self.tower)):
            if part is not None:
                self._require(
                    (part.width, part.positions) == (self.width, self.num_tokens),
                    f"{self.num_tokens} latents of width {self.width} do not fit a {name} with {part.positions} "
                    f"positions of width {part.width}.",
                )


_PARTS = ("embedding", "resampler", "input", "tower")


def unknown_override(name: str, known: set[str]) -> str:
    """The sentence for an override that nothing reads."""
    near = get_close_matches(name, known, n=1)
    return f"A lens has no setting {name!r}" + (
        f"; did you mean {near[0]!r}?" if near else f". It has: {', '.join(sorted(known))}."
    )


def _read(name: str, value: Any, cls: type[FrozenConfig] | None) -> Any:
    if cls is None or value is None:
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"The field {name!r} of a lens configuration holds named values, not {value!r}.")
    return cls.from_dict(value)


def embedding_class(modality: str) -> Any:
    """The tokenizer of a modality.

    Raises:
        ConfigError: the modality has none, since the host's own patch embedding reads it.
    """
    row = find_modality(modality)
    if row.embedding is None:
        raise ConfigError(f"There is no lens for {row.noun}: the host's own patch embedding reads it.")
    return resolve(row.embedding)


def settings_class(modality: str) -> Any:
    """The class of a modality's settings."""
    return resolve(find_modality(modality).settings)


def _sized_resampler(vit: ViTShape, context_width: int, depth: int, self_per_cross: int) -> PerceiverConfig:
    """As many latents as the ViT has patches; 16 heads at most, each 32 wide or more."""
    # Latents stand in the places of the patches, so there are as many.
    heads = next(n for n in (16, 8, 4, 2, 1) if n == 1 or (vit.width % n == 0 and vit.width // n >= 32))
    head = vit.width // heads
    return PerceiverConfig(vit.width, vit.patches, context_width, depth, self_per_cross, 1, head, heads, head)


def _perceiver(width: int, depth: int, self_per_cross: int, context_width: int) -> PerceiverConfig:
    dim_head = DIM_HEAD[width]
    return PerceiverConfig(width, 256, context_width, depth, self_per_cross, 1, dim_head, 16, dim_head)


@cache
def presets() -> dict[str, tuple[EmbeddingConfig, PerceiverConfig | None]]:
    """Embedding and resampler of the released lenses, by catalogue id (paper: Lei et al. 2023, ViT-Lens)."""
    wide, narrow = _perceiver(1408, 6, 1, 384), _perceiver(1024, 4, 1, 384)
    return {
        "eva_g14_objaverse": (PointConfig(), wide),
        "eva_g14-audio-asvgg-dur2": (SpectrogramConfig(1408, positions=240), _perceiver(1408, 2, 3, 1408)),
        "Datacomp_L14_objaverse": (PointConfig(), narrow),
        "Datacomp_L14_ShapeNet": (PointConfig(), narrow),
        "vitlensL_audio": (SpectrogramConfig(), _perceiver(1024, 2, 3, 1024)),
        "vitlensL_depth": (DepthConfig(), None),
        "vitlensL_tactile": (PatchConfig(1024, bias=False), None),
        "vitlensL_eeg": (EegConfig(), _perceiver(1024, 1, 1, 1024)),
    }
