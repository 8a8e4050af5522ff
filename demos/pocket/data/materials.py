"""Materials made by formula: surfaces with a colour and a height at every point, and the pack of pictures of them.

A surface follows from its material and a seed. Seeds fall into ranges that say what may see them (`SEEDS`), so that
pictures, tactile frames and held-out cases that are made at different times never share a surface they must not.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from . import pack
from .captions import dominant_colour
from .render import SIDE

__all__ = ["MAP", "MATERIALS", "SEEDS", "Material", "Surface", "make_surface", "pack_materials", "picture", "textures"]

MAP = 192  # px, side of a surface: room for a turned window of SIDE
SEEDS = {"train": range(0, 1000), "val": range(1000, 2000), "test": range(2000, 3000), "heldout": range(3000, 4000)}
TRAIN, TEST, VIEWS = 38, 4, 2  # surfaces of each material in the pack, pictures of each surface

PAINT = {  # RGB out of 255
    "white": (232, 229, 222),
    "black": (38, 36, 38),
    "gray": (135, 133, 132),
    "red": (178, 44, 38),
    "orange": (222, 122, 40),
    "yellow": (226, 194, 62),
    "green": (62, 128, 62),
    "turquoise": (56, 168, 168),
    "blue": (52, 84, 170),
    "purple": (116, 62, 150),
    "pink": (226, 138, 166),
    "brown": (112, 70, 42),
    "beige": (214, 194, 158),
}
OWN = {  # colours that a material has in another shade than paint
    ("brick", "red"): (165, 70, 50),
    ("brick", "brown"): (122, 78, 58),
    ("wood", "brown"): (118, 74, 42),
    ("wood", "beige"): (210, 176, 128),
    ("grass", "green"): (84, 134, 48),
    ("grass", "yellow"): (182, 168, 82),
    ("sand", "beige"): (214, 188, 142),
    ("sand", "gray"): (146, 136, 124),
    ("cork", "brown"): (176, 124, 76),
    ("wicker", "brown"): (148, 98, 54),
    ("metal mesh", "gray"): (150, 154, 160),
    ("bark", "brown"): (104, 78, 58),
    ("gravel", "brown"): (136, 110, 88),
    ("stone", "brown"): (140, 116, 94),
}
DYES = tuple(PAINT)

Rng = np.random.Generator
Made = tuple[np.ndarray, np.ndarray]  # height (MAP, MAP) in px, albedo (MAP, MAP, 3)


@dataclass(frozen=True)
class Surface:
    """One piece of a material. `height` is in px of the map; `gloss` is the strength of its highlights."""

    material: str
    seed: int
    colour: str
    albedo: np.ndarray  # (MAP, MAP, 3) float32 in [0, 1]
    height: np.ndarray  # (MAP, MAP) float32, mean 0
    gloss: float


@dataclass(frozen=True)
class Material:
    """How surfaces of one material are made and spoken of."""

    make: Callable[[Rng, np.ndarray], Made]
    caption: str  # with a place for the colour
    colours: tuple[str, ...]
    gloss: float = 0.0
    turn: float = 180.0  # degrees that a picture of it may be turned by
    words: tuple[str, ...] = ()  # other names that people use


def _noise(rng: Rng, along: float, across: float | None = None) -> np.ndarray:
    """Smooth noise with mean 0 and standard deviation 1; `along` columns and `across` rows are its lengths in px."""
    smooth = ndimage.gaussian_filter(rng.standard_normal((MAP, MAP)), (across or along, along), mode="wrap")
    return (smooth - smooth.mean()) / smooth.std()


def _plane(rng: Rng, scale: float, turn: float = 0.0, warp: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates across and down in units of `scale` px, turned by up to `turn` degrees, bent by `warp` px."""
    y, x = np.mgrid[:MAP, :MAP] - MAP / 2
    angle = np.radians(rng.uniform(-turn, turn))
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    if warp:
        u, v = u + warp * _noise(rng, 14), v + warp * _noise(rng, 14)
    return u / scale + rng.uniform(0, 50), v / scale + rng.uniform(0, 50)


def _cells(rng: Rng, u: np.ndarray, v: np.ndarray, jitter: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to the nearest of scattered points, how much farther the next one is, and a number of the nearest."""
    low, high = (np.floor(u.min()) - 1, np.floor(v.min()) - 1), (np.ceil(u.max()) + 2, np.ceil(v.max()) + 2)
    gu, gv = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    points = np.stack([gu, gv], -1).reshape(-1, 2)
    points = points + rng.uniform(-jitter / 2, jitter / 2, points.shape)
    distance, nearest = cKDTree(points).query(np.stack([u, v], -1).reshape(-1, 2), k=2)
    shape = (MAP, MAP)
    return distance[:, 0].reshape(shape), (distance[:, 1] - distance[:, 0]).reshape(shape), nearest[:, 0].reshape(shape)


def _per(rng: Rng, number: np.ndarray) -> np.ndarray:
    """A normal number for each value of `number`."""
    values, inverse = np.unique(number, return_inverse=True)
    return rng.standard_normal(len(values))[inverse].reshape(number.shape)


def _step(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _blend(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    return below + (above - below) * share[..., None]


def _shaded(paint: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """A colour (3,) or colours (MAP, MAP, 3), brighter and darker by a factor (MAP, MAP)."""
    return paint * factor[..., None]


def _courses(u: np.ndarray, v: np.ndarray, aspect: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of blocks `aspect` times as wide as high: distance to the nearest edge in rows, a number of the block."""
    row = np.floor(v)
    across = u / aspect + row * shift
    column = np.floor(across)
    fu, fv = across - column, v - row
    return np.minimum(np.minimum(fu, 1 - fu) * aspect, np.minimum(fv, 1 - fv)), row * 1009 + column


def _brick(rng: Rng, paint: np.ndarray) -> Made:
    u, v = _plane(rng, rng.uniform(18, 32), 6, rng.uniform(0, 1.2))
    edge, number = _courses(u, v, rng.uniform(1.8, 2.9), rng.choice([1 / 2, 1 / 2, 1 / 3]))
    gap = rng.uniform(0.04, 0.1)
    face = _step(edge, gap, gap + rng.uniform(0.05, 0.12))
    rough = rng.uniform(0.15, 0.6) * (_noise(rng, 0.8) + _noise(rng, 3))
    height = rng.uniform(2.5, 5) * face + rough + 0.4 * _per(rng, number) * face
    mortar = np.full(3, rng.uniform(0.45, 0.8)) * (1, 0.98, 0.93)
    bricks = _shaded(paint, 1 + rng.uniform(0.05, 0.2) * _per(rng, number) + 0.06 * _noise(rng, 1.5))
    return height, _blend(_shaded(mortar, 1 + 0.06 * _noise(rng, 1)), bricks, face)


def _tile(rng: Rng, paint: np.ndarray) -> Made:
    u, v = _plane(rng, rng.uniform(24, 52), rng.choice([4, 45]))
    edge, number = _courses(u, v, rng.choice([1, 1, 1, 2]), 0)
    gap = rng.uniform(0.015, 0.04)
    face = _step(edge, gap, gap + 0.05)
    height = rng.uniform(1.2, 2.5) * face + 0.05 * _noise(rng, 6) + rng.uniform(0, 0.3) * _per(rng, number) * face
    colour = _shaded(paint, 1 + rng.uniform(0, 0.08) * _per(rng, number) + rng.uniform(0, 0.06) * _noise(rng, 5))
    if rng.random() < 0.25:  # a chequered floor
        other = np.full(3, rng.choice([0.12, 0.9]))
        colour = _blend(colour, np.broadcast_to(other, colour.shape), ((np.floor(u) + np.floor(v)) % 2) * 0.9)
    return height, _blend(np.broadcast_to(np.full(3, rng.uniform(0.3, 0.85)), colour.shape), colour, face)


def _wood(rng: Rng, paint: np.ndarray) -> Made:
    u, v = _plane(rng, 1, 12)
    grain = _noise(rng, rng.uniform(25, 45), 0.8)
    bend = 5 * _noise(rng, 40, 12)
    for _ in range(rng.integers(0, 3)):  # knots push the rings apart
        du, dv = u - u.mean() - rng.uniform(-70, 70), v - v.mean() - rng.uniform(-70, 70)
        bend += rng.uniform(8, 22) * np.sign(dv) * np.exp(-(du**2 / 500 + dv**2 / 160))
    rings = 0.5 + 0.5 * np.sin((v + bend) / rng.uniform(1.8, 4.5))
    height = rng.uniform(0.25, 0.6) * grain + rng.uniform(0.3, 0.9) * rings
    colour = _shaded(paint, 0.78 + 0.34 * rings + 0.07 * grain)
    if rng.random() < 0.6:  # boards side by side
        edge, number = _courses(u, v / rng.uniform(38, 80), 1e4, 0)
        seam = _step(edge, 0.005, 0.03)
        height, colour = height - 3 * (1 - seam), _shaded(colour, (0.35 + 0.65 * seam) * (1 + 0.09 * _per(rng, number)))
    return height, colour


def _bark(rng: Rng, paint: np.ndarray) -> Made:
    across, along = rng.uniform(3, 6), rng.uniform(12, 24)
    ridges = 1 - np.abs(_noise(rng, across, along))
    plates = _noise(rng, across * 2, along / 2)
    fine = _noise(rng, 1, 3)
    height = rng.uniform(3, 5) * ridges + 1.2 * plates + 0.5 * fine
    depth = (height - height.min()) / np.ptp(height)
    return height, _shaded(paint, 0.35 + 0.95 * depth + 0.08 * fine)


def _stone(rng: Rng, paint: np.ndarray) -> Made:
    u, v = _plane(rng, rng.uniform(28, 48), 10, rng.uniform(1, 3))
    _, beyond, number = _cells(rng, u / rng.uniform(1, 1.7), v, rng.uniform(0.5, 0.95))
    gap = rng.uniform(0.04, 0.1)
    face = _step(beyond, gap, gap + 0.12)
    rough = _noise(rng, 5) + 0.5 * _noise(rng, 1.5)
    height = rng.uniform(4, 7) * face + (0.9 * rough + 1.2 * _per(rng, number)) * face + 0.3 * _noise(rng, 1)
    stones = _shaded(paint, 1 + rng.uniform(0.1, 0.22) * _per(rng, number) + 0.08 * rough)
    return height, _blend(_shaded(np.full(3, rng.uniform(0.3, 0.7)), 1 + 0.08 * _noise(rng, 1)), stones, face)


def _gravel(rng: Rng, paint: np.ndarray) -> Made:
    size = rng.uniform(9, 17)
    u, v = _plane(rng, size, 180, 1)
    near, beyond, number = _cells(rng, u, v, 0.9)
    dome = np.sqrt(np.clip(beyond * 1.6, 0, 1)) * np.clip(1.15 - near, 0, 1)
    height = 0.42 * size * dome + 1.2 * _per(rng, number) * _step(beyond, 0, 0.3) + 0.15 * _noise(rng, 1)
    tint = 1 + rng.uniform(0.15, 0.35) * _per(rng, number)
    return height, _shaded(paint, np.clip(tint, 0.3, 1.7) * (0.25 + 0.75 * _step(dome, 0.05, 0.5)))


def _sand(rng: Rng, paint: np.ndarray) -> Made:
    _, v = _plane(rng, rng.uniform(13, 30), 40, rng.uniform(2, 5))
    wave = np.mod(v, 1)
    ripple = np.where(wave < 0.7, wave / 0.7, (1 - wave) / 0.3)
    grains = rng.standard_normal((MAP, MAP))
    ripple = ndimage.gaussian_filter(ripple, 1.5) * rng.uniform(1.5, 4) * (rng.random() < 0.75)
    height = ripple + 0.7 * ndimage.gaussian_filter(grains, 0.6) + 0.8 * _noise(rng, 12)
    return height, _shaded(paint, 1 + 0.1 * grains + 0.05 * _noise(rng, 10))


def _grass(rng: Rng, paint: np.ndarray) -> Made:
    height, colour = np.full((MAP, MAP), -4.0), np.tile(paint * 0.45, (MAP, MAP, 1))
    blades, points = int(rng.uniform(1500, 2600)), 26
    lean, spread, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.2), rng.uniform(16, 34)
    angle = lean + spread * rng.standard_normal(blades)[:, None]
    run = np.linspace(0, 1, points) * length * rng.uniform(0.6, 1.3, blades)[:, None]
    turned = angle + run / length * rng.normal(0, 0.5, blades)[:, None]
    x, y = rng.uniform(0, MAP, (2, blades, 1)) + run * np.stack([np.cos(turned), np.sin(turned)])
    lift = np.linspace(0, 1, points) * rng.uniform(2, 7, blades)[:, None]
    tint = 1 + 0.22 * rng.standard_normal(blades)[:, None] + 0.35 * (lift / 7 - 0.3)
    order = np.argsort(lift, axis=None)
    tint, lift = tint.ravel()[order], lift.ravel()[order]
    for dx, dy in ((0, 0), (1, 0), (0, 1)):  # a blade is two px wide
        rows, columns = (np.int64(y + dy) % MAP).ravel()[order], (np.int64(x + dx) % MAP).ravel()[order]
        height[rows, columns] = np.maximum(height[rows, columns], lift - 0.6 * (dx + dy))  # later ones stand higher
        colour[rows, columns] = paint * np.clip(tint, 0.35, 1.7)[:, None]
    return ndimage.gaussian_filter(height, 0.5), colour


def _carpet(rng: Rng, paint: np.ndarray) -> Made:
    u, v = _plane(rng, rng.uniform(5.5, 9), 90, 0.8)
    row = np.floor(v)
    across = u / rng.uniform(0.8, 1.3) + _per(rng, row)
    loops = np.sqrt(np.abs(np.sin(np.pi * v))) * (0.35 + 0.65 * np.sqrt(np.abs(np.sin(np.pi * across))))
    fluff, number = _noise(rng, 0.7), row * 1009 + np.floor(across)
    height = rng.uniform(2.5, 4) * loops + 0.5 * fluff + 0.45 * _per(rng, number)
    colour = _shaded(paint, 0.4 + 0.6 * loops + 0.1 * fluff + rng.uniform(0.02, 0.15) * _per(rng, number))
    return height, _shaded(colour, 1 + 0.06 * _noise(rng, 25))


def _fabric(rng: Rng, paint: np.ndarray) -> Made:
    u, v = _plane(rng, rng.uniform(4, 8), 90, 0.6)
    i, j = np.floor(u), np.floor(v)
    over = (i + j) % 2 < 1 if rng.random() < 0.6 else (i + j) % 4 < 2  # plain or twill
    round_u, round_v = np.sin(np.pi * (u - i)), np.sin(np.pi * (v - j))
    height = rng.uniform(1, 1.8) * np.where(over, round_u * (0.6 + 0.4 * round_v), round_v * (0.6 + 0.4 * round_u))
    tint = np.where(over, 1.0, rng.uniform(0.75, 1)) * (0.55 + 0.45 * np.where(over, round_u, round_v))
    if rng.random() < 0.35:  # stripes or checks
        width = rng.uniform(4, 12)
        stripes = (np.floor(i / width) % 2) + (np.floor(j / width) % 2) * (rng.random() < 0.5)
        tint = tint * (1 - rng.uniform(0.15, 0.3) * stripes)
    height = height + rng.uniform(0.5, 2) * _noise(rng, 22) + 0.12 * _noise(rng, 0.8)  # folds, fibres
    return height, _shaded(paint, tint + 0.04 * _per(rng, np.where(over, i, j + 5000)))


def _wool(rng: Rng, paint: np.ndarray) -> Made:
    u, v = _plane(rng, rng.uniform(11, 20), 15, 1)
    i, across = np.floor(u), np.abs(u - np.floor(u) - 0.5) * 2  # 0 in the middle of a stitch, 1 at its side
    along = v * rng.uniform(1.2, 1.7) - across * rng.uniform(0.6, 0.9)
    leg = np.sqrt(np.abs(np.sin(np.pi * along)) * np.abs(np.sin(np.pi * np.clip(across * 0.85 + 0.08, 0, 1))))
    strands = 0.25 * np.sin(18 * along + 10 * across)
    fuzz = _noise(rng, 0.7)
    height = rng.uniform(3.5, 5.5) * leg + strands + 0.35 * fuzz
    colour = _shaded(paint, 0.4 + 0.65 * leg + 0.1 * strands + 0.07 * fuzz)
    if rng.random() < 0.3:
        colour = _shaded(colour, 1 - 0.3 * (np.floor(np.floor(along) / rng.integers(3, 7)) % 2))
    return height, _shaded(colour, 1 + 0.03 * _per(rng, i))


def _leather(rng: Rng, paint: np.ndarray) -> Made:
    u, v = _plane(rng, rng.uniform(5, 10), 180, 1.8)
    _, beyond, number = _cells(rng, u, v / rng.uniform(1, 1.5), 1.0)
    pillow = 1 - np.exp(-beyond / rng.uniform(0.1, 0.22))
    wrinkles = -rng.uniform(0, 1.2) * np.exp(-(_noise(rng, 12) ** 2) * 60)
    height = rng.uniform(0.8, 1.5) * pillow + wrinkles + 0.5 * _noise(rng, 20)
    return height, _shaded(paint, 0.72 + 0.3 * pillow + 0.15 * wrinkles + 0.02 * _per(rng, number))


def _cork(rng: Rng, paint: np.ndarray) -> Made:
    u, v = _plane(rng, rng.uniform(6, 11), 180, 1.2)
    _, beyond, number = _cells(rng, u, v, 0.95)
    step = _per(rng, number)
    pit = _step(step, 1.0, 1.3) + _step(_noise(rng, 1.8), 1.9, 2.3)
    height = 0.5 * np.clip(step, -1, 1) - 2.6 * np.clip(pit, 0, 1) + 0.35 * _noise(rng, 0.8)
    height = height - 0.5 * (1 - _step(beyond, 0, 0.12))
    colour = _shaded(paint, 1 + 0.16 * _per(rng, number) + 0.05 * _noise(rng, 1))
    return height, _shaded(colour, (1 - 0.55 * np.clip(pit, 0, 1)) * (0.8 + 0.2 * _step(beyond, 0, 0.12)))


def _paper(rng: Rng, paint: np.ndarray) -> Made:
    height = np.zeros((MAP, MAP))
    for _ in range(rng.integers(10, 22)):  # each fold is a crease with two slopes
        scale = rng.uniform(30, 90)
        u, v = _plane(rng, scale, 180)
        height += 0.14 * scale * np.abs(np.mod(u, 2) - 1) * (0.5 + 0.5 * np.sin(v * 2))
    height = height - ndimage.gaussian_filter(height, 30)
    height = rng.uniform(1, 1.6) * height + 0.05 * _noise(rng, 1)
    return height, _shaded(paint, 1 + 0.02 * _noise(rng, 1))


def _mesh(rng: Rng, paint: np.ndarray) -> Made:
    u, v = _plane(rng, rng.uniform(10, 20), rng.choice([5, 60]), rng.uniform(0, 0.5))
    thick, under = rng.uniform(0.14, 0.26), rng.uniform(0.02, 0.85)
    i, j = np.floor(u), np.floor(v)
    du, dv = u - i - 0.5, v - j - 0.5
    rise = rng.uniform(0.5, 1.5)
    sign = np.where((i + j) % 2 < 1, 1, -1)
    down = np.sqrt(np.clip(1 - (du / thick) ** 2, 0, None)) * 3 + rise * sign * np.cos(np.pi * dv)
    side = np.sqrt(np.clip(1 - (dv / thick) ** 2, 0, None)) * 3 - rise * sign * np.cos(np.pi * du)
    wire_u, wire_v = np.abs(du) < thick, np.abs(dv) < thick
    height = np.maximum(np.where(wire_u, down, -4), np.where(wire_v, side, -4))
    shade = np.where(wire_u | wire_v, 0.6 + 0.15 * np.clip(height, -1, 4), 0)
    behind = _shaded(np.full(3, under), 1 + 0.05 * _noise(rng, 20))
    return ndimage.gaussian_filter(height, 0.6), _blend(behind, _shaded(paint, shade), (wire_u | wire_v) * 1.0)


def _wicker(rng: Rng, paint: np.ndarray) -> Made:
    u, v = _plane(rng, rng.uniform(8, 13), 90, 0.7)
    row = np.floor(v)
    wave = np.cos(np.pi * (u / rng.uniform(1.6, 2.6) + row % 2))
    strand = np.sqrt(np.abs(np.sin(np.pi * v)))
    height = rng.uniform(2.5, 4.5) * strand * (0.62 + 0.38 * wave) + 0.25 * _noise(rng, 5, 0.8)
    shade = (0.35 + 0.65 * strand) * (0.75 + 0.25 * wave) * (1 + 0.1 * _per(rng, row))
    return height, _shaded(paint, shade + 0.06 * _noise(rng, 4, 0.8))


EARTH = ("gray", "brown", "beige", "white")
MATERIALS = {
    "bark": Material(_bark, "{} tree bark", ("brown", "gray"), turn=15, words=("tree bark",)),
    "brick": Material(_brick, "a {} brick wall", ("red", "red", "brown", "gray", "white", "beige"), turn=6,
                      words=("brick wall", "bricks")),
    "carpet": Material(_carpet, "a {} carpet", DYES, words=("rug",)),
    "cork": Material(_cork, "a {} cork board", ("brown", "beige"), words=("cork board",)),
    "fabric": Material(_fabric, "{} fabric", DYES, words=("cloth", "textile")),
    "grass": Material(_grass, "{} grass", ("green", "green", "green", "green", "yellow"), words=("lawn",)),
    "gravel": Material(_gravel, "{} gravel", EARTH, words=("pebbles",)),
    "leather": Material(_leather, "{} leather", ("brown", "brown", "black", "red", "beige", "white", "green", "blue"),
                        gloss=0.35),
    "metal mesh": Material(_mesh, "a {} metal mesh", ("gray", "gray", "black", "white"), gloss=0.5,
                           words=("mesh", "wire mesh")),
    "paper": Material(_paper, "crumpled {} paper", ("white", "white", "beige", "gray", "yellow", "pink", "blue"),
                      words=("crumpled paper",)),
    "sand": Material(_sand, "{} sand", ("beige", "beige", "yellow", "gray", "white", "brown"), turn=60),
    "stone": Material(_stone, "a {} stone wall", EARTH, turn=10, words=("stone wall", "rock")),
    "tile": Material(_tile, "{} tiles", ("white", "white", "beige", "blue", "turquoise", "green", "gray", "black",
                     "red"), gloss=0.5, turn=6, words=("tiles", "tiled floor")),
    "wicker": Material(_wicker, "{} wicker", ("brown", "beige", "white"), gloss=0.15, words=("rattan",)),
    "wood": Material(_wood, "a {} wooden board", ("brown", "brown", "beige", "beige", "gray", "white"), gloss=0.1,
                     turn=15, words=("wooden", "timber")),
    "wool": Material(_wool, "{} knitted wool", DYES, turn=20, words=("woolen", "knitted", "knitwear")),
}  # fmt: skip


def _rng(*key: str | int) -> Rng:
    """A generator that depends on the words and numbers given alone."""
    return np.random.default_rng([zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key])


def make_surface(material: str, seed: int, colour: str | None = None) -> Surface:
    """The surface of a material (a key of `MATERIALS`) with a seed; the same relief in another `colour` on request."""
    kind, rng = MATERIALS[material], _rng(material, seed)
    drawn = str(rng.choice(kind.colours))
    colour = colour or drawn
    paint = np.array(OWN.get((material, colour), PAINT[colour])) / 255
    height, albedo = kind.make(rng, np.clip(paint * rng.uniform(0.88, 1.12) + rng.normal(0, 0.015, 3), 0.02, 0.97))
    return Surface(
        material,
        seed,
        colour,
        np.clip(albedo, 0, 1).astype(np.float32),
        (height - height.mean()).astype(np.float32),
        kind.gloss * rng.uniform(0.5, 1.3),
    )


def picture(surface: Surface, view: int) -> np.ndarray:
    """A window of the surface under one light, (SIDE, SIDE, 3) uint8; `view` numbers its pictures."""
    rng = _rng(surface.material, surface.seed, "view", view)
    angle = np.radians(rng.uniform(-1, 1) * MATERIALS[surface.material].turn)
    zoom = rng.uniform(0.65, 1.0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * zoom
    start = MAP / 2 + rng.uniform(-12, 12, 2) - turn @ np.full(2, SIDE / 2)

    def window(plane: np.ndarray) -> np.ndarray:
        return ndimage.affine_transform(plane, turn, start, (SIDE, SIDE), order=1, mode="mirror")

    albedo = np.stack([window(surface.albedo[..., c]) for c in range(3)], -1)
    height = window(surface.height) / zoom
    return (np.clip(_lit(albedo, height, surface.gloss, rng), 0, 1) * 255).round().astype(np.uint8)


def _lit(albedo: np.ndarray, height: np.ndarray, gloss: float, rng: Rng) -> np.ndarray:
    """Ambient light that reaches hollows less, one lamp from a random side, a highlight, a fall-off, noise."""
    down, across = np.gradient(height)
    normal = np.stack([-across, -down, np.ones_like(height)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(30, 75))
    lamp = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    hollow = np.clip(1 + 0.12 * (height - ndimage.gaussian_filter(height, 4)), 0.45, 1.1)
    ambient = rng.uniform(0.3, 0.6)
    shade = ambient * hollow + (1 - ambient) * np.clip(normal @ lamp, 0, None) / np.sin(elevation)
    half = lamp + np.array([0, 0, 1])
    shine = gloss * np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** 40 * 0.6
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    fall = 1 + rng.uniform(0, 0.35) * (x * np.cos(azimuth) + y * np.sin(azimuth))
    light = rng.uniform(0.75, 1.0) * np.array([1 + rng.uniform(-0.05, 0.05), 1, 1 + rng.uniform(-0.05, 0.05)])
    return albedo * light * (shade * fall)[..., None] + shine[..., None] + rng.normal(0, 0.012, albedo.shape)


def _rows(surface: Surface, split: str) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    key = f"material-{surface.material.replace(' ', '-')}-{surface.seed}"
    caption = MATERIALS[surface.material].caption.format(surface.colour)
    for view in range(VIEWS):
        yield _row(key, surface.material, caption, split, "formula", "generated", view), picture(surface, view)


def _row(key: str, name: str, caption: str, split: str, style: str, licence: str, view: int) -> dict[str, Any]:
    return {
        "object": key,
        "class": None,
        "name": name,
        "caption": re.sub(r"\ba (?=orange)", "an ", caption),
        "split": split,
        "source": "materials",
        "licence": licence,
        "view": view,
        "style": style,
    }


CATALOGUE = "com/eteks/sweethome3d/io/"
TEXTURES = {  # files of Sweet Home 3D's texture catalogue that show one of the materials
    "beigeTile": "tile", "blueTiles": "tile", "darkBlueTile": "tile", "greyTile": "tile", "lightBlueTile": "tile",
    "redTiles": "tile", "wallBeigeTile": "tile", "blackAndWhiteTiles": "tile", "stoneTiles": "tile",
    "grass": "grass", "oldWoodenFloor": "wood", "woodenFloor": "wood", "pebbles": "gravel", "smallBricks": "brick",
    "smallRedBricks": "brick", "smallWhiteBricks": "brick", "stone2Wall": "stone", "stone3Wall": "stone",
    "stoneWall": "stone", "pavingStone": "stone",
}  # fmt: skip
CROPS = 4  # windows of each


def textures(jar: Path) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Windows of the photographed textures in Sweet Home 3D's program file, each with its index row; all train."""
    with zipfile.ZipFile(jar) as archive:
        for stem, material in TEXTURES.items():
            whole = Image.open(io.BytesIO(archive.read(f"{CATALOGUE}resources/textures/{stem}.jpg"))).convert("RGB")
            rng = _rng(stem)
            for view in range(CROPS):
                side = min(whole.size) * rng.uniform(0.7, 1.0)
                left, top = rng.uniform(0, 1, 2) * (whole.width - side, whole.height - side)
                box = (left, top, left + side, top + side)
                shown = np.array(whole.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box))
                colour = dominant_colour(np.dstack([shown, np.full((SIDE, SIDE), 255, np.uint8)])[None])
                caption = " ".join(MATERIALS[material].caption.format(colour or "").split())
                yield _row(f"texture-{stem}", material, caption, "train", "photo", "CC-BY-3.0", view), shown


def pack_materials(out: Path, jar: Path | None = None) -> int:
    """Write the pack; returns how many pictures it holds.

    Args:
        jar: Sweet Home 3D's program file, for the photographed textures in it; None leaves them out.
    """

    def drawn() -> Iterator[tuple[dict[str, Any], np.ndarray, None]]:
        for material in MATERIALS:
            for split, count in (("train", TRAIN), ("test", TEST)):
                for seed in SEEDS[split][:count]:
                    for row, rgb in _rows(make_surface(material, seed), split):
                        yield row, _opaque(rgb), None
        for row, rgb in textures(jar) if jar else ():
            yield row, _opaque(rgb), None

    temporary = out.with_name(out.name + ".part")
    limit = len(MATERIALS) * (TRAIN + TEST) * VIEWS + len(TEXTURES) * CROPS
    count, _ = pack.write_images(temporary, drawn(), limit)
    pack.publish(temporary, out)
    return count


def _opaque(rgb: np.ndarray) -> np.ndarray:
    return np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
