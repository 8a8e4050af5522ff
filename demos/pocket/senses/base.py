"""One row per sense; the modules beside this one fill them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from lens_plugins.lens.lens import Lens

__all__ = ["Run", "Sense", "close", "lens_folder", "senses"]

_MODULES = ("audio", "depth", "tactile", "eeg")  # modules beside this one, each with a `SENSE`


@dataclass(frozen=True)
class Run:
    """One call of `lens_plugins.train.train_lens`; the next run of a lens goes on from what this one left."""

    name: str
    augmentation: Any  # of lens_plugins.train.augment
    train: Mapping[str, Any]  # fields of TrainConfig: steps, batch_size, lr, ...


def close(augmentation: Any, **train: Any) -> Run:
    """The last run of most lenses: little contrast and much regression towards the mean of a thing's pictures.

    The Q-Former reads the features themselves and not which of them is nearest.
    """
    values = {"warmup_steps": 10, "lr": 5e-4, "views": "mean", "regression_weight": 10.0, "image_weight": 0.25}
    return Run("close", augmentation, {**values, "text_weight": 0.5, **train})


@dataclass(frozen=True)
class Sense:
    """How one modality's lens is trained by `lens_plugins.train.train_lens`, and what it is tried on.

    A lens is trained against the frozen pocket ViT alone, on the manifest that `pairs` writes.
    """

    modality: str
    pairs: Callable[[Path], Path]  # work folder -> manifest.jsonl, written once; a later call finds it
    write_heldout: Callable[[Path, Path], int]  # (work folder, target folder) -> number of cases; what ships
    runs: Sequence[Run]  # of the training call, in order
    lens: Mapping[str, Any] = field(default_factory=dict)  # fields of the small lens, for `lens_config_for`
    start: Callable[[Lens, Path], None] | None = None  # (new lens, work folder): what it knows before the first run

    @property
    def folder(self) -> str:
        """Name of the shipped lens's folder; work folders have the run's name behind it."""
        return lens_folder(self.modality)


def lens_folder(modality: str) -> str:
    """The folder of a lens that is built."""
    return "lens-" + modality.replace("_", "-")


def senses() -> dict[str, Sense]:
    """All of them, by modality."""
    found = (import_module(f"{__package__}.{name}").SENSE for name in _MODULES)
    return {sense.modality: sense for sense in found}
