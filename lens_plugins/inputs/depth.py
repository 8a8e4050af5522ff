"""Depth: disparity maps, or depth maps that become disparity by stated intrinsics."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from typing_extensions import Self

from ..errors import InputError
from .arrays import ARRAY_SUFFIXES, as_array, load_array
from .base import ModalityInput, Payload
from .exr import read_exr
from .pictures import MAX_PIXELS, centre_crop, normalise, open_picture, resize_shorter_side
from .settings import InputSettings, ViTShape

__all__ = ["KINECT_FOCAL", "DepthSettings", "read"]

KINECT_FOCAL = 518.86 / 640  # Kinect v1: focal length per picture width, both in pixels
_KINDS = ("auto", "disparity", "depth_m", "depth_mm")
_HOLES = ("near", "far")
_DISPARITY_RANGE = (0.01, 75.0)  # pixels; ImageBind's and ViT-Lens's clamp
_DEPTH_RANGE = (0.01, 50.0)  # scaled metres
_KEYS = ("depth", "disparity", "arr_0")
_EIGHT_BITS = ("uint8", "int8", "bool")
_PER_METRE = {"depth_m": 1, "depth_mm": 1000}
_SAY = "DepthSettings(kind='depth_m'), 'depth_mm' or 'disparity' (--set depth.kind=depth_m)"
_UNITS = {"disparity": "disparity in pixels", "depth_m": "metres", "depth_mm": "millimetres"}


@dataclass(frozen=True)
class DepthSettings(InputSettings):
    """What the values mean and how they become disparity: baseline_m · focal_px / clip(unit_scale · metres).

    `kind` "auto" goes by what the values are stored as: 16-bit pictures and arrays of integers are millimetres; float
    pictures and EXR metres; arrays of floats disparity in pixels, which is what a lens reads. 8 bits are refused.
    `unit_scale` 8 belongs to the released lens, which was trained on eightfold millimetres (SUN RGB-D's rotated
    bits); lenses trained with true metres have 1. `baseline_m` is 0.075 for Kinect v1 and v2, 0.095 for RealSense and
    Xtion. `focal_px` None means Kinect v1's, 518.86 pixels at a width of 640, in proportion to the map's width.
    `holes` says what zeros of a depth map (no measurement) become: "near", the largest disparity, as in the original,
    whose maps have none; "far", the smallest.
    """

    per_input: ClassVar[tuple[str, ...]] = ("kind", "focal_px", "baseline_m", "holes")

    size: int = 224  # pixels
    unit_scale: float = 8.0
    baseline_m: float = 0.075
    focal_px: float | None = None
    kind: str = "auto"  # or "disparity", "depth_m", "depth_mm"
    holes: str = "near"  # or "far"
    mean: float = 0.0418
    std: float = 0.0295

    def __post_init__(self) -> None:
        self._require(0 < self.size <= 4096, f"size is {self.size}; it must be 1 to 4096 pixels.")
        for field in ("unit_scale", "baseline_m", "focal_px", "std"):
            value = getattr(self, field)
            self._require(value is None or value > 0, f"{field} is {value}; it must be above 0.")
        self._require(self.kind in _KINDS, f"kind is {self.kind!r}; it must be one of {', '.join(_KINDS)}.")
        self._require(self.holes in _HOLES, f"holes is {self.holes!r}; it must be one of {', '.join(_HOLES)}.")

    @classmethod
    def for_vit(cls, vit: ViTShape) -> Self:
        """Maps of the size of the ViT's pictures."""
        return cls(size=vit.image_size)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(1, S, S)."""
        return 1, self.size, self.size


def read(source: Payload, settings: DepthSettings) -> ModalityInput:
    """A disparity or depth map (picture, EXR, or array (H, W)) to (1, S, S) float32.

    Warns (UserWarning) where the unit of a file is a guess, and where most values lie beyond what a lens tells apart.

    Raises:
        InputError: colours, 8 bits without a `kind`, another shape, or values that are not finite.
        MissingDependency: an .exr file without the package OpenEXR.
    """
    path = source if isinstance(source, Path) else None
    name = str(path or "The depth map")
    values, stored = _load(source, name)
    kind = stored if settings.kind == "auto" else settings.kind
    if kind is None:
        raise InputError(
            f"{name} has 8-bit pixels, which are no depths in millimetres; give a 16-bit PNG, or say what they are: "
            f"{_SAY}."
        )
    if path and settings.kind == "auto" and kind == "disparity":
        warnings.warn(
            f"{name} does not name its unit; floats are read as disparity in pixels. Say what they are: {_SAY}.",
            stacklevel=2,
        )
    plane = _plane(values, name)
    disparity = _disparity(plane, kind, settings)
    _warn_if_saturated(plane, disparity, kind, settings, name)
    unit = np.clip(disparity, *_DISPARITY_RANGE) / _DISPARITY_RANGE[1]
    tensor = torch.from_numpy(unit.astype(np.float32))[None]  # (1, H, W)
    tensor = centre_crop(resize_shorter_side(tensor, settings.size, name), settings.size)
    return ModalityInput("depth", normalise(tensor, (settings.mean,), (settings.std,)), str(path) if path else None)


def _disparity(values: np.ndarray, kind: str, settings: DepthSettings) -> np.ndarray:  # (H, W) -> (H, W)
    if kind == "disparity":
        return values
    metres = values / _PER_METRE[kind]
    focal = KINECT_FOCAL * values.shape[1] if settings.focal_px is None else settings.focal_px
    disparity = settings.baseline_m * focal / np.clip(settings.unit_scale * metres, *_DEPTH_RANGE)
    return disparity if settings.holes == "near" else np.where(metres > 0, disparity, 0.0)


def _warn_if_saturated(
    values: np.ndarray, disparity: np.ndarray, kind: str, settings: DepthSettings, name: str
) -> None:  # (H, W) each
    low, high = _DISPARITY_RANGE
    beyond = (disparity <= low) | (disparity >= high)
    if kind != "disparity":
        beyond |= settings.unit_scale * values / _PER_METRE[kind] >= _DEPTH_RANGE[1]
        beyond, values = beyond[values != 0], values[values != 0]  # holes have no depth
    if beyond.sum() > beyond.size / 2:
        cure = (
            f"Say what they are: {_SAY}" if settings.kind == "auto" else f"kind={settings.kind!r} says so; is it right?"
        )
        warnings.warn(
            f"{name} saturates: {beyond.mean():.0%} of its values, {values.min():g} to {values.max():g}, lie beyond "
            f"what a lens tells apart when they are {_UNITS[kind]}. {cure}",
            stacklevel=3,
        )
    elif kind != "disparity" and (below := int((values < 0).sum())):
        warnings.warn(
            f"{name} has {below} depths below 0, down to {values.min():g}; they are read as 0 is, where nothing was "
            f"measured: holes={settings.holes!r}.",
            stacklevel=3,
        )


def _load(source: Payload, name: str) -> tuple[np.ndarray, str | None]:  # values, and what their storage says they are
    if isinstance(source, Path) and source.suffix.lower() == ".exr":
        return as_array(read_exr(source), name), "depth_m"
    if (isinstance(source, Path) and source.suffix.lower() not in ARRAY_SUFFIXES) or isinstance(source, Image.Image):
        image = open_picture(source, name)
        if image.mode not in ("L", "F") and not image.mode.startswith("I"):
            raise InputError(f"{name} has pixels of mode {image.mode}; a depth map has one channel, 16-bit grey.")
        stored = {"L": None, "F": "depth_m"}.get(image.mode, "depth_mm")
        return as_array(np.asarray(image), name), stored
    data = load_array(source, _KEYS) if isinstance(source, Path) else source
    width = str(data.dtype).removeprefix("torch.")
    stored = "disparity" if "float" in width else None if width in _EIGHT_BITS else "depth_mm"
    return as_array(data, name), stored


def _plane(values: np.ndarray, name: str) -> np.ndarray:  # (H, W), (1, H, W) or (H, W, 1) -> (H, W)
    plane = values
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
        plane = values.squeeze(0 if values.shape[0] == 1 else -1)
    if plane.ndim != 2:
        raise InputError(f"{name} has shape {values.shape}; a depth map is (height, width).")
    if plane.size > MAX_PIXELS:
        raise InputError(f"{name} has {plane.size} pixels; at most {MAX_PIXELS} are read.")
    return plane
