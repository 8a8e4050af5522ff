"""Align a Lens to a frozen ViT on pairs of an input and its pictures or texts."""

from .config import TrainConfig
from .folder import RunFolder
from .log import plot_metrics
from .recipe import lens_config_for
from .towers import load_text_tower, load_vit
from .trainer import TrainResult, train_lens

__all__ = [
    "RunFolder",
    "TrainConfig",
    "TrainResult",
    "lens_config_for",
    "load_text_tower",
    "load_vit",
    "plot_metrics",
    "train_lens",
]
