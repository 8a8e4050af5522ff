"""What the settings of every modality answer: how they fit a ViT, how training reads, how inputs become a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from typing_extensions import Self

from .._config import FrozenConfig
from ..errors import ConfigError

__all__ = ["InputSettings", "SampleDraws", "ViTShape"]


@dataclass(frozen=True)
class ViTShape:
    """The numbers of a ViT that settings and embeddings are sized for."""

    width: int  # of a token
    patches: int  # the class token not counted
    image_size: int  # pixels on each side

    @property
    def patch(self) -> int:
        """Pixels on each side of a patch."""
        return self.image_size // round(self.patches**0.5)

    @property
    def large(self) -> bool:
        """Whether a lens for it has the sizes of the released ones, which fit widths of 1024 and 1408."""
        return self.width >= 1024


class SampleDraws(Protocol):
    """Random numbers of a batch's samples, each from a generator of its own; see `train.augment.Draws`."""

    def choice(self, counts: Sequence[int]) -> list[int]:
        """One index below each of `counts`."""

    def pick(self, count: int, sizes: Sequence[int]) -> list[Tensor]:
        """For each sample `count` indices below its size."""


@dataclass(frozen=True)
class InputSettings(FrozenConfig):
    """Base of a modality's settings. What a class does not say itself holds for it as it stands here."""

    small: ClassVar[Mapping[str, Any]] = {}
    """Values that make inputs quick to read and encode, for tests."""
    per_input: ClassVar[tuple[str, ...]] = ("clips",)
    """Fields that describe one input: a lens reads inputs whose values of these are not its own."""
    arrays_need_rate: ClassVar[bool] = False
    """Whether an array means nothing without its sample rate."""

    @classmethod
    def for_vit(cls, vit: ViTShape) -> Self:
        """The settings that a new lens for this ViT reads with."""
        return cls()

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Of one input's tensor, clips first; None where the inputs of one lens differ.

        Only `testing.small` asks for it, to make inputs of this shape.

        Raises:
            ConfigError: the class does not say.
        """
        raise ConfigError(f"{type(self).__name__} does not say the shape of its tensors; give it a property `shape`.")

    def for_training(self) -> Self:
        """How training reads: whatever epochs choose parts from is read whole."""
        return self

    def thinned(self, points: int) -> Self:
        """The same with so many points of each input, where there are points to choose from."""
        self._require(False, f"points is {points}, but its inputs have no points to choose from; leave points out.")
        return self

    def batch(self, tensors: Sequence[Tensor], draws: SampleDraws, spare: int = 1) -> Tensor:
        """Inputs as `for_training` reads them -> one batch (B, ...) as the lens reads them.

        By default one clip of each recording where the settings have `clips`, else the inputs as they are.

        Args:
            tensors: of the batch's inputs, perhaps of unequal size.
            draws: what is chosen at random comes from here, so that it is the same in every run.
            spare: give so many times the points that the lens reads, since an augmentation follows that drops some.
        """
        if getattr(self, "clips", 1) > 1:
            picked = draws.choice([len(clips) for clips in tensors])
            tensors = [clips[number] for clips, number in zip(tensors, picked)]
        return torch.stack(list(tensors))
