"""Pictures changed as an instruction says: another colour, another background, a season or a night.

All operations are linear in colours multiplied by their alpha, so that a shrunken picture has no dark rim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.classes import with_article

__all__ = ["COLOURS", "EDITS", "KINDS", "Edit", "Style", "edit_scene", "plain_scene"]

COLOURS = {
    "red": (0.85, 0.10, 0.10),
    "orange": (0.98, 0.55, 0.08),
    "yellow": (0.98, 0.88, 0.15),
    "green": (0.15, 0.65, 0.20),
    "blue": (0.12, 0.30, 0.85),
    "purple": (0.55, 0.18, 0.70),
    "pink": (0.98, 0.55, 0.72),
    "brown": (0.45, 0.27, 0.12),
    "gray": (0.55, 0.55, 0.55),
    "black": (0.08, 0.08, 0.08),
}
HORIZON = 0.72  # of the height: below it is the ground
DOT = (1.0, 2.6)  # radius in pixels


@dataclass(frozen=True)
class Style:
    """Sky from top to horizon, ground, the light on the thing, and what falls or shines."""

    top: tuple[float, float, float]
    low: tuple[float, float, float]
    ground: tuple[float, float, float]
    light: tuple[float, float, float]
    dot: tuple[float, float, float]
    dots: int
    falling: bool  # in front of the thing too


STYLES = {
    "spring": Style((0.50, 0.78, 1.0), (0.85, 0.95, 1.0), (0.45, 0.80, 0.35), (1, 1, 1), (1.0, 0.70, 0.85), 30, True),
    "summer": Style((0.10, 0.55, 1.0), (0.70, 0.90, 1.0), (0.95, 0.85, 0.5), (1.1, 1.08, 0.9), (1, 1, 0.3), 3, False),
    "autumn": Style((0.95, 0.82, 0.5), (1.0, 0.92, 0.75), (0.6, 0.35, 0.1), (1, 0.82, 0.55), (0.9, 0.4, 0), 35, True),
    "winter": Style((0.72, 0.82, 0.92), (0.88, 0.94, 1.0), (1, 1, 1), (0.92, 0.97, 1.08), (1, 1, 1), 60, True),
    "night": Style((0.02, 0.03, 0.15), (0.1, 0.12, 0.35), (0.05, 0.07, 0.12), (0.4, 0.45, 0.7), (1, 1, 0.8), 30, False),
    "halloween": Style((0.2, 0, 0.3), (1, 0.5, 0.05), (0.08, 0.05, 0.05), (0.9, 0.55, 0.3), (0, 0, 0.05), 12, False),
}  # fmt: skip

INSTRUCTIONS = {
    "tint": ("Make it {}.", "Paint it {}.", "Change its colour to {}.", "Turn it {}.", "The same in {}.", "make it {}"),
    "backdrop": ("Put it on a {} background.", "Make the background {}.", "Change the background to {}."),
    "style": ("Make it {} style.", "make it {} style", "Make it look like {}.", "Show it in {} style.", "Now in {}."),
}  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """One change of a picture, as it is asked for and as its result is called."""

    kind: str  # tint, backdrop, style
    name: str  # of the colour or the style

    def instruction(self, rng: np.random.Generator) -> str:
        return str(rng.choice(INSTRUCTIONS[self.kind])).format(self.name)

    def caption(self, thing: str) -> str:
        """ "chair" -> "a red chair", "a chair on a red background", "a chair in winter style"."""
        if self.kind == "tint":
            return with_article(f"{self.name} {thing}")
        place = f"on a {self.name} background" if self.kind == "backdrop" else f"in {self.name} style"
        return f"{with_article(thing)} {place}"


EDITS = (
    *(Edit(kind, name) for kind in ("tint", "backdrop") for name in COLOURS),
    *(Edit("style", name) for name in STYLES),
)
KINDS = {kind: [i for i, edit in enumerate(EDITS) if edit.kind == kind] for kind in INSTRUCTIONS}


def plain_scene(thing: Tensor, shade: float) -> Tensor:
    """A thing (4, S, S), its colours multiplied by its alpha, on an even shade: (3, S, S) in [0, 1]."""
    return (thing[:3] + shade * (1 - thing[3:])).clamp(0, 1)


def edit_scene(thing: Tensor, edit: Edit, shade: float, g: torch.Generator) -> Tensor:
    """The same thing after an edit: (4, S, S) -> (3, S, S) in [0, 1]."""
    return _HOW[edit.kind](thing, edit.name, shade, g)


def _tint(thing: Tensor, name: str, shade: float, g: torch.Generator) -> Tensor:
    light = 0.45 * thing[3:] + 0.75 * thing[:3].mean(0, keepdim=True)  # (1, S, S), some of it at dark places too
    return plain_scene(torch.cat([(_colour(COLOURS[name]) * light).minimum(thing[3:]), thing[3:]]), shade)


def _backdrop(thing: Tensor, name: str, shade: float, g: torch.Generator) -> Tensor:
    return (thing[:3] + _colour(COLOURS[name]) * (1 - thing[3:])).clamp(0, 1)


def _style(thing: Tensor, name: str, shade: float, g: torch.Generator) -> Tensor:
    style, size = STYLES[name], thing.shape[-1]
    rows = torch.linspace(0, 1, size).view(1, size, 1)
    down = (rows / HORIZON).clamp(max=1)
    sky = _colour(style.top) * (1 - down) + _colour(style.low) * down  # (3, S, 1)
    scene = torch.where(rows > HORIZON, _colour(style.ground), sky).expand(3, size, size)
    dots = _dots(style.dots, size, g)
    scene = scene + (_colour(style.dot) - scene) * dots
    scene = thing[:3] * _colour(style.light) + scene * (1 - thing[3:])
    if style.falling:
        scene = scene + (_colour(style.dot) - scene) * dots
    return scene.clamp(0, 1)


def _dots(count: int, size: int, g: torch.Generator) -> Tensor:
    """Soft dots at random places: (1, S, S) in [0, 1]."""
    place = torch.rand(count, 2, 1, 1, generator=g) * size
    radius = torch.rand(count, 1, 1, generator=g) * (DOT[1] - DOT[0]) + DOT[0]
    line = torch.arange(size) + 0.5
    away = ((line.view(1, -1, 1) - place[:, 0]) ** 2 + (line.view(1, 1, -1) - place[:, 1]) ** 2).sqrt()  # (n, S, S)
    return (radius + 0.5 - away).clamp(0, 1).amax(0, keepdim=True)


def _colour(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)


_HOW: dict[str, Callable[[Tensor, str, float, torch.Generator], Tensor]] = {
    "tint": _tint,
    "backdrop": _backdrop,
    "style": _style,
}
