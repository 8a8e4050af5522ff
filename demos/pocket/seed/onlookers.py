"""ImageNet networks that look at what is drawn, beside the pocket ViT, and critics that read what they see.

Taught by the ViT alone, drawings came to please the ViT alone: another network kept the class of 10 % of those of which
the ViT kept 66. Here likeness is perceptual (Zhang et al. 2018), and critics on the networks' features say whether
they are those of a scene (Sauer et al. 2021, "Projected GANs converge faster"; of diffusion in few steps, Sauer et al.
2023, "Adversarial diffusion distillation"): what is like a scene on average only is a blur, and critics see that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .scenes import Scenes, resized

__all__ = ["Critic", "Network", "Onlooker", "Seen", "unlike"]

SIDES = (96, 112, 128)  # pixels at which they look, another one each time
POOLED = 0.5  # weight of pooled features beside those of all resolutions
WIDTH = 64  # of a critic


class Network(Protocol):
    """What `teacher.ImageTeacher` is."""

    def levels(self, rgb: Tensor) -> tuple[list[Tensor], Tensor]: ...


@dataclass(frozen=True)
class Seen:
    """What a network makes of pictures."""

    levels: tuple[Tensor, ...]  # (B, C, h, w) each, of unit length over channels; from fine to coarse
    pooled: Tensor  # (B, F), each feature of unit variance over scenes

    def part(self, which: slice) -> Seen:
        """Of some of the pictures."""
        return Seen(tuple(level[which] for level in self.levels), self.pooled[which])


class Onlooker:
    """A frozen ImageNet network, its pooled features measured from those of a mean scene."""

    def __init__(self, network: Network, scenes: Scenes, count: int = 256, batch: int = 32) -> None:
        self.network = network.to(memory_format=torch.channels_last) if isinstance(network, nn.Module) else network
        self._mean, self._spread = 0.0, 1.0
        numbers = scenes.spread(count)
        chunks = [numbers[i : i + batch] for i in range(0, len(numbers), batch)]
        with torch.no_grad():
            pooled = torch.cat([self(scenes.take(chunk).rgb, SIDES[-1]).pooled for chunk in chunks])
        self._mean, self._spread = pooled.mean(0), pooled.std(0) + 1e-6

    def __call__(self, rgb: Tensor, side: int) -> Seen:
        """Pictures (B, 3, S, S), about 0 to 1, at a size."""
        shown = resized(rgb, side).contiguous(memory_format=torch.channels_last)
        levels, pooled = self.network.levels(shown)
        return Seen(tuple(F.normalize(level, dim=1) for level in levels), (pooled - self._mean) / self._spread)


def unlike(one: Seen, other: Seen) -> Tensor:  # -> (B,)
    """How far two looks of one network are apart: each place of each resolution, and the pooled features."""
    places = [(a - b).pow(2).sum(1).mean((1, 2)) for a, b in zip(one.levels, other.levels)]
    return sum(places) / len(places) + POOLED * (1 - F.cosine_similarity(one.pooled, other.pooled))


class Critic(nn.Module):
    """Says of what a network sees whether it is a scene, and the one that was asked for.

    A head for each resolution but the finest, and a product with the embedding that was asked for (Miyato and Koyama
    2018). It may learn from every batch that it is shown: it looks at nothing but drawings and scenes of training.
    """

    def __init__(self, seen: Seen, embeds: Tensor) -> None:
        """`seen` gives widths; `embeds` (n, E) are typical ones, to measure others by."""
        super().__init__()
        widths = [level.shape[1] for level in seen.levels[1:]]
        self.register_buffer("mean", embeds.mean(0))
        self.register_buffer("spread", embeds.std(0) + 1e-3)
        self.heads = nn.ModuleList(_head(width, first=i == 0) for i, width in enumerate(widths))
        self.real = nn.ModuleList(spectral_norm(nn.Conv2d(WIDTH, 1, 1)) for _ in widths)
        self.asked = nn.ModuleList(spectral_norm(nn.Linear(embeds.shape[1], WIDTH)) for _ in widths)

    def read(self, seen: Seen) -> list[Tensor]:
        """(B, WIDTH, h, w) of each resolution, for `judge`."""
        # Unit length over channels would be small numbers: made of about unit variance.
        return [head(level * level.shape[1] ** 0.5) for head, level in zip(self.heads, seen.levels[1:])]

    def judge(self, read: Sequence[Tensor], embeds: Tensor) -> Tensor:  # -> (B, heads)
        """High for scenes of what was asked for: `embeds` (B, E)."""
        embeds = (embeds - self.mean) / self.spread
        scores = [
            real(found).flatten(1).mean(1) + (found.mean((2, 3)) * asked(embeds)).sum(1) / WIDTH**0.5
            for found, real, asked in zip(read, self.real, self.asked)
        ]
        return torch.stack(scores, 1)

    def own_loss(self, true: Seen, drawn: Seen, embeds: Tensor) -> Tensor:
        """Hinge loss: scenes up, drawings and scenes of something else down. No gradient reaches the drawings."""
        read = self.read(true)
        drawn = Seen(tuple(level.detach() for level in drawn.levels), drawn.pooled)
        scene, other = self.judge(read, embeds), self.judge(read, embeds.roll(1, 0))
        down = F.relu(1 + self.judge(self.read(drawn), embeds)) + F.relu(1 + other)
        return (F.relu(1 - scene) + down / 2).mean()

    def against(self, drawn: Seen, embeds: Tensor) -> Tensor:  # -> (B,)
        """How little it takes drawings for scenes. No gradient reaches the critic."""
        with _frozen(self):
            return -self.judge(self.read(drawn), embeds).mean(1)


def _head(width: int, first: bool) -> nn.Module:
    """The first looks at the most places, so it takes every other one."""
    convolution = spectral_norm(nn.Conv2d(width, WIDTH, 3, stride=2 if first else 1))
    return nn.Sequential(convolution, nn.LeakyReLU(0.2), spectral_norm(nn.Conv2d(WIDTH, WIDTH, 1)), nn.LeakyReLU(0.2))


@contextmanager
def _frozen(module: nn.Module) -> Iterator[Any]:
    """What is computed inside sends no gradient to its parameters."""
    module.requires_grad_(False)
    try:
        yield module
    finally:
        module.requires_grad_(True)
