"""What every tokenizer answers: how it fits a ViT, how it starts, and what files of others tell of it.

A tokenizer needs a config with `width` and `tokens`, and a module with `config_class`, `input_dims` and `forward`. It
may derive from the two classes here and replace what they say; a class that does not derive from them behaves as they
say, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from torch import Tensor, nn
from typing_extensions import Self

from ..._config import FrozenConfig, trait
from ...inputs.settings import ViTShape
from ..released import Layout, Released

__all__ = ["Embedding", "EmbeddingConfig", "Facts", "SMALL_TOKEN", "required_input"]

SMALL_TOKEN = 128
"""Width of a token in a lens for a small ViT; the resampler leads from there to the width of the ViT."""


@dataclass(frozen=True)
class Facts:
    """What the weights of a released lens say of its tokenizer, as fields of the config."""

    told: Mapping[str, Any]  # nothing else fits the weights
    usual: Mapping[str, Any] = field(default_factory=dict)  # so unless asked otherwise
    doubts: Mapping[str, str] = field(default_factory=dict)  # of the usual ones: a sentence where several would fit


@dataclass(frozen=True)
class EmbeddingConfig(FrozenConfig):
    """Base of the dimensions of a tokenizer; a subclass has `width` and `tokens` as fields or properties."""

    small: ClassVar[Mapping[str, Any]] = {}
    """Values that make the tokenizer quick to build and run, for tests."""

    @classmethod
    def for_vit(cls, vit: ViTShape) -> Self:
        """The tokenizer of a new lens: its defaults, with tokens as wide as a large ViT's, or `SMALL_TOKEN` wide."""
        named = any(each.name == "width" for each in fields(cls))
        return cls.from_dict({"width": vit.width if vit.large else SMALL_TOKEN} if named else {})

    @classmethod
    def resampling(cls, vit: ViTShape) -> tuple[int, int]:
        """Layers of the resampler behind it, 0 for none, and self-attentions in each."""
        # As in the small lenses for depth and touch.
        return 2, 1

    def required_input(self, names: set[str]) -> dict[str, Any]:
        """Settings without which inputs would not fit: by default, fields that both have and that are not None.

        Args:
            names: of the fields that the settings have.
        """
        own = {each.name for each in fields(self)} - {"width", "seed"}  # these two mean something else there
        return {name: value for name in sorted(own & names) if (value := getattr(self, name)) is not None}

    def usual_input(self) -> dict[str, Any]:
        """Settings that follow from the dimensions unless other ones are asked for."""
        return {}

    def check_input(self, settings: Any) -> None:
        """Refuse preprocessing that makes other tensors than the tokenizer reads.

        Raises:
            ConfigError: with both numbers.
        """
        for name, mine in required_input(self, type(settings)).items():
            theirs = getattr(settings, name)
            noun = {"size": "pixels"}.get(name, name.replace("_", " "))
            self._require(mine == theirs, f"the lens reads {mine} {noun}, the input settings make {theirs}.")


class Embedding(nn.Module):
    """Base of the tokenizers: tensor (B, ...) -> tokens (B, N, W) and positions that broadcast to them."""

    config_class: ClassVar[type[Any]]
    input_dims: ClassVar[int]  # axes of what it reads, batch and clips not counted
    learning_rate: ClassVar[float] = 2e-4  # highest, where a training run names none
    layouts: ClassVar[Mapping[str, Layout]] = {}  # by family: where released files keep it
    short_name: ClassVar[str | None] = None  # of its modality in released files that hold several lenses

    def start_from_patches(self, kernel: Tensor) -> None:
        """Take over what is useful of a ViT's patch embedding (D, 3, P, P), in a new lens before its first step."""

    def fit_norms(self, batches: Sequence[Tensor]) -> None:
        """Give stored statistics the values of some inputs (B, ...), in a new lens before its first step."""

    @classmethod
    def likeness(cls, names: Mapping[str, Tensor]) -> int:
        """How much a released lens looks like one with this tokenizer: 0 not at all, 1 possibly, 2 as such lenses do.

        Args:
            names: the tensors of the lens, by their names below its root.
        """
        return 0

    @classmethod
    def facts(cls, released: Released) -> Facts:
        """What the weights of a released lens say.

        Raises:
            CheckpointError: a tensor is absent or misshapen.
        """
        return Facts({})


def required_input(config: Any, settings_class: type[Any]) -> dict[str, Any]:
    """`EmbeddingConfig.required_input` for settings of that class."""
    return trait(config, "required_input", EmbeddingConfig)({each.name for each in fields(settings_class)})
