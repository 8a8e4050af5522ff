"""Modality tokenizers: tensor -> tokens and their positions.

Each module holds a frozen config and an embedding of one protocol:

* the config has `width` (of a token) and `tokens` (how many come out), and `check_input(settings)` refuses
  preprocessing that makes other tensors than the embedding reads;
* the embedding class names its config in `config_class` and the number of axes it reads, batch not counted, in
  `input_dims`; ``forward(x)`` gives tokens (B, N, W) and positions that broadcast to them.

`base` says what else they may answer, and what holds for those that say nothing.
"""

from .base import Embedding, EmbeddingConfig
from .depth import DepthConfig, DepthEmbedding
from .eeg import EegConfig, EegEmbedding
from .patch import PatchConfig, PatchEmbedding
from .point_cloud import PointConfig, PointEmbedding
from .spectrogram import SpectrogramConfig, SpectrogramEmbedding

__all__ = [
    "DepthConfig",
    "DepthEmbedding",
    "EegConfig",
    "EegEmbedding",
    "Embedding",
    "EmbeddingConfig",
    "PatchConfig",
    "PatchEmbedding",
    "PointConfig",
    "PointEmbedding",
    "SpectrogramConfig",
    "SpectrogramEmbedding",
]
