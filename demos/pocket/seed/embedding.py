"""The image embedding that codes stand for and unCLIP draws from, and who judges what was drawn.

SEED's is CLIP's. Here it is a fixed linear map of what the frozen ViT makes of a picture (class token, the mean patch
of each quarter) and of the picture itself shrunk to a few pixels: what it is, what is where, and how it is coloured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lens_plugins.splice import FrozenViT

from .scenes import Look, Scenes, at_size, look_at

__all__ = ["ImageEmbedding", "Judge", "Reading"]

THUMB = 8  # pixels of each side of the shrunken picture
PARTED = 2  # parts of each side whose patches are averaged
WEIGHTS = (1.0, 0.8, 0.5)  # of class token, mean patches, shrunken picture in the total variance


class ImageEmbedding(nn.Module):
    """Principal components of the three parts, of unit variance on average: (B, E)."""

    def __init__(self, width: int, size: int) -> None:
        """`width` is the ViT's, `size` is E."""
        super().__init__()
        total = width + PARTED**2 * width + 3 * THUMB**2
        self.vit_width = width
        self.register_buffer("centre", torch.zeros(total))
        self.register_buffer("spread", torch.ones(total))
        self.register_buffer("basis", torch.zeros(total, size))  # orthonormal columns

    def forward(self, look: Look) -> Tensor:  # -> (B, E)
        return ((_parts(look) - self.centre) / self.spread) @ self.basis

    def class_token(self, embeds: Tensor) -> Tensor:  # (B, E) -> (B, D)
        """The class token that an embedding stands for, as nearly as it holds it."""
        raw = embeds @ self.basis.T * self.spread + self.centre
        return raw[:, : self.vit_width]

    @classmethod
    def fit(cls, scenes: Scenes, size: int, count: int = 8192, batch: int = 256) -> ImageEmbedding:
        """Centre, spread and components of an even sample of the scenes."""
        numbers = scenes.spread(count)
        chunks = [numbers[i : i + batch] for i in range(0, len(numbers), batch)]
        raw = torch.cat([_parts(scenes.take(chunk)) for chunk in chunks])  # (n, total)
        made = cls(scenes.features.shape[2], size)
        width = made.vit_width
        counts = (width, PARTED**2 * width, 3 * THUMB**2)
        weight = torch.cat([torch.full((n,), (w / n) ** 0.5) for n, w in zip(counts, WEIGHTS)])
        made.centre, made.spread = raw.mean(0), raw.std(0).clamp(min=1e-3) / weight
        even = (raw - made.centre) / made.spread
        _, vectors = torch.linalg.eigh(even.T @ even / len(even))
        found = vectors[:, -size:].flip(1)
        # Either sign would do, but not one that hangs on the machine: a decoder is trained for what it met.
        made.basis = found * found.gather(0, found.abs().argmax(0, keepdim=True)).sign()
        made.spread = made.spread * (even @ made.basis).pow(2).mean().sqrt()
        return made


def _parts(look: Look) -> Tensor:  # -> (B, total)
    """Class token, mean patches, shrunken picture."""
    patches = look.features[:, 1:].mT  # (B, D, N)
    side = math.isqrt(patches.shape[2])
    quarters = F.adaptive_avg_pool2d(patches.unflatten(2, (side, side)), PARTED).flatten(1)  # (B, D·4)
    thumb = F.adaptive_avg_pool2d(look.rgb, THUMB).flatten(1)
    return torch.cat([look.features[:, 0], quarters, thumb], 1)


class Judge:
    """Zero-shot classes of pictures by the frozen ViT and its text head."""

    def __init__(self, vit: FrozenViT, head: nn.Linear, names: Sequence[str], texts: Tensor) -> None:
        """`texts` (T, 384) are unit sentence embeddings of `names`."""
        self.vit, self.head, self.names, self.texts = vit, head, list(names), texts

    def of_tokens(self, tokens: Tensor) -> list[str]:
        """The nearest name of each class token (B, D)."""
        nearest = F.normalize(self.head(tokens.float()), dim=-1) @ self.texts.T
        return [self.names[i] for i in nearest.argmax(1).tolist()]

    def of_pictures(self, rgb: Tensor) -> list[str]:
        """The nearest name of each picture (B, 3, any, any) in [0, 1]."""
        return self.of_tokens(look_at(self.vit, at_size(rgb, self.vit.image_size)).features[:, 0])

    def share(self, said: Sequence[str], right: Sequence[str]) -> float:
        """How many are right."""
        return sum(a == b for a, b in zip(said, right)) / max(1, len(right))


class Reading:
    """What the ViT's text head says of class tokens: how near each name of some lists is."""

    def __init__(self, head: nn.Linear, *lists: tuple[Tensor, float]) -> None:
        """`lists` are unit sentence embeddings of names (T, 384), each with the scale of its cosines."""
        self.head, self.lists = head, lists

    def apart(self, found: Tensor, own: Tensor) -> Tensor:  # (B, D), (B, D) -> (B,)
        """How far what it says of tokens is from what it says of their own: Kullback-Leibler, summed over lists."""
        said, wanted = (F.normalize(self.head(tokens), dim=-1) for tokens in (found, own))
        total = found.new_zeros(len(found))
        for texts, scale in self.lists:
            logs = [(scale * unit @ texts.T).log_softmax(-1) for unit in (said, wanted)]
            total = total + F.kl_div(*logs, log_target=True, reduction="none").sum(-1)
        return total
