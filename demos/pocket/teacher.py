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
from torch import Tensor

from lens_plugins.bench.drawings import ImageNetwork
from lens_plugins.pocket.text_encoder import folder as text_encoder_folder

from .packs import Pictures, plain

__all__ = ["TEACHER_WIDTH", "ImageTeacher", "picture_features", "text_features"]

TEACHER_WIDTH = 1280
_SIZE = 160


class ImageTeacher(ImageNetwork):
    """An EfficientNet-Lite: 0 teaches the ViT and what draws, 1 teaches what draws, 2 judges and never teaches."""

    def __init__(self, size: int = 0) -> None:
        super().__init__(size)

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
    from lens_plugins.train.towers import load_text_tower

    tower = load_text_tower(text_encoder_folder())
    return F.normalize(torch.as_tensor(tower.encode(list(texts))).float(), dim=-1)
