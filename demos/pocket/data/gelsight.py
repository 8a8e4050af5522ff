"""Frames of a GelSight-like sensor, simulated: a surface pressed into a soft pad that three coloured lamps light.

What is modelled: the part of the surface that the pad reaches (round, tilted, with a soft border), a skin that spans
narrow hollows and rounds edges, shading by lamps of red, green and blue light from three sides, their fall-off, a
vignette, the pad's own tint and the camera's noise. What is not: markers, shear, shadows, dirt, wear. The relief of a
surface is shrunk to fit the pad: a wall is felt as if it were a small model of itself.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lens_plugins._config import FrozenConfig

from .materials import MAP, Surface

__all__ = ["GelConfig", "frame"]


@dataclass(frozen=True)
class GelConfig(FrozenConfig):
    """The sensor and how it is pressed; pairs are (lowest, highest), drawn evenly for each frame. Lengths in px."""

    seed: int = 20  # of all frames, beside the surface's own
    side: int = 128  # of a frame
    zoom: tuple[float, float] = (0.6, 1.05)  # px of the surface for one of the frame
    shift: float = 16.0  # of the patch from the middle of the surface, either way
    turn: float = 180.0  # degrees, either way
    relief: tuple[float, float] = (0.8, 1.25)  # factor on heights, beside the one below
    usual: float = 1.8  # standard deviation of heights that is felt as it is; flat surfaces are raised half way to it
    depth: tuple[float, float] = (3.0, 6.5)  # that the pad's middle is pressed below the mean height
    radius: tuple[float, float] = (52.0, 86.0)  # of the contact on a flat surface
    oval: tuple[float, float] = (0.75, 1.33)  # ratio of the contact's axes
    tilt: float = 0.02  # slope of the press, either way
    skin: tuple[float, float] = (0.4, 0.9)  # what the skin smooths
    span: float = 4.0  # width of hollows that the skin begins to bridge
    sag: float = 1.6  # how far it hangs into wider ones
    bulge: float = 6.0  # reach of the soft border around the contact
    steepness: float = 1.0  # of the lit relief; 1 is that of the surface
    lamp_angles: tuple[float, float, float] = (90.0, 210.0, 330.0)  # degrees, of the red, green and blue lamp
    lamp_height: float = 30.0  # degrees above the pad
    lamp_power: float = 0.66
    leak: float = 0.1  # of each lamp's light in the other two channels
    tint: tuple[float, float, float] = (0.19, 0.2, 0.23)  # of the unlit pad
    fall_off: float = 0.28  # how much darker the far side of a lamp is
    vignette: tuple[float, float] = (0.1, 0.3)
    noise: float = 0.012

    def __post_init__(self) -> None:
        self._require(self.side > 0, f"side is {self.side}; it must be above 0.")
        for name in ("zoom", "relief", "depth", "radius", "oval", "skin", "vignette"):
            low, high = getattr(self, name)
            self._require(0 < low <= high, f"{name} is {low} to {high}; give two numbers above 0, the lower one first.")


def frame(surface: Surface, number: int, config: GelConfig | None = None) -> np.ndarray:
    """One press of the sensor on a surface, (side, side, 3) uint8; `number` counts presses, each elsewhere."""
    gel = config or GelConfig()
    rng = np.random.default_rng([gel.seed, zlib.crc32(surface.material.encode()), surface.seed, number])
    pressed = _press(_patch(surface.height, gel, rng), gel, rng)
    return _light(pressed, gel, rng)


def _patch(height: np.ndarray, gel: GelConfig, rng: np.random.Generator) -> np.ndarray:
    """The surface below the pad, turned and scaled: (side, side) heights in px of the frame."""
    zoom, angle = rng.uniform(*gel.zoom), np.radians(rng.uniform(-gel.turn, gel.turn))
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * zoom
    start = MAP / 2 + rng.uniform(-gel.shift, gel.shift, 2) - matrix @ np.full(2, gel.side / 2)
    shape = (gel.side, gel.side)
    seen = ndimage.affine_transform(height, matrix, start, shape, order=1, mode="mirror")
    return seen * np.sqrt(gel.usual / height.std()) * rng.uniform(*gel.relief)


def _press(patch: np.ndarray, gel: GelConfig, rng: np.random.Generator) -> np.ndarray:
    """The skin's shape, (side, side), 0 where nothing touches it."""
    y, x = np.mgrid[: gel.side, : gel.side] - (gel.side - 1) / 2
    y, x = y - rng.uniform(-8, 8), x - rng.uniform(-8, 8)
    angle, oval = rng.uniform(0, np.pi), np.sqrt(rng.uniform(*gel.oval))
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    depth, radius = rng.uniform(*gel.depth), rng.uniform(*gel.radius)
    reached = depth * (1 - (along / oval) ** 2 / radius**2 - (across * oval) ** 2 / radius**2)
    slope = rng.uniform(-gel.tilt, gel.tilt, 2)
    raised = patch + reached + slope[0] * x + slope[1] * y
    bridged = np.maximum(raised, ndimage.gaussian_filter(raised, gel.span) - gel.sag)
    contact = np.clip(bridged, 0, None)
    border = ndimage.gaussian_filter(contact, gel.bulge)
    skin = np.where(contact > 0, contact, np.minimum(border, gel.sag))
    return ndimage.gaussian_filter(skin, rng.uniform(*gel.skin))


def _light(skin: np.ndarray, gel: GelConfig, rng: np.random.Generator) -> np.ndarray:
    """The camera's picture of the lit skin, (side, side, 3) uint8."""
    down, across = np.gradient(skin * gel.steepness)
    normal = np.stack([-across, -down, np.ones_like(skin)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    y, x = np.mgrid[: gel.side, : gel.side] / (gel.side - 1) * 2 - 1
    rise = np.radians(gel.lamp_height)
    colours = np.full((3, 3), gel.leak) + np.eye(3) * (1 - 2 * gel.leak)
    rgb = np.tile(np.array(gel.tint), (gel.side, gel.side, 1))
    for angle, colour in zip(np.radians(gel.lamp_angles), colours):
        lamp = np.array([np.cos(rise) * np.cos(angle), np.cos(rise) * np.sin(angle), np.sin(rise)])
        near = 1 + gel.fall_off * (x * np.cos(angle) + y * np.sin(angle)) / 2
        rgb += (gel.lamp_power * rng.uniform(0.95, 1.05) * np.clip(normal @ lamp, 0, None) * near)[..., None] * colour
    rgb *= 1 - rng.uniform(*gel.vignette) * ((x**2 + y**2) / 2)[..., None]
    rgb = ndimage.gaussian_filter(rgb, (0.4, 0.4, 0)) + rng.normal(0, gel.noise, rgb.shape)
    return (np.clip(rgb, 0, 1) * 255).round().astype(np.uint8)
