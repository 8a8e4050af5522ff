"""Depth: disparity maps, or depth maps that become disparity by stated intrinsics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from .._config import FrozenConfig
from .._optional import require
from ..errors import InputError
from .arrays import ARRAY_SUFFIXES, MAX_VALUES, as_array, load_array
from .base import ModalityInput, Payload
from .files import check_file, parsing
from .pictures import MAX_PIXELS, centre_crop, normalise, open_picture, resize_shorter_side

__all__ = ["KINECT_FOCAL", "DepthSettings", "read"]

KINECT_FOCAL = 518.86 / 640  # Kinect v1: focal length per picture width, both in pixels
_KINDS = ("auto", "disparity", "depth_m", "depth_mm")
_HOLES = ("near", "far")
_DISPARITY_RANGE = (0.01, 75.0)  # pixels; ImageBind's and ViT-Lens's clamp
_DEPTH_RANGE = (0.01, 50.0)  # scaled metres
_KEYS = ("depth", "disparity", "arr_0")
_EXR_CHANNELS = ("z", "depth", "y", "v", "r")


@dataclass(frozen=True)
class DepthSettings(FrozenConfig):
    """What the values mean and how they become disparity: baseline_m · focal_px / clip(unit_scale · metres).

    `kind` "auto" takes 16-bit pictures for millimetres, float pictures and EXR for metres, arrays for disparity.
    `unit_scale` 8 belongs to the released lens, which was trained on eightfold millimetres (SUN RGB-D's rotated
    bits); lenses trained with true metres have 1. `baseline_m` is 0.075 for Kinect v1 and v2, 0.095 for RealSense and
    Xtion. `focal_px` None means Kinect v1's, 518.86 pixels at a width of 640, in proportion to the map's width.
    `holes` says what zeros of a depth map (no measurement) become: "near", the largest disparity, as in the original,
    whose maps have none; "far", the smallest.
    """

    # fields that may differ from the lens's own: they say what one file holds
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


def read(source: Payload, settings: DepthSettings) -> ModalityInput:
    """A disparity or depth map (picture, EXR, or array (H, W)) to (1, S, S) float32.

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
            f"{name} has 8-bit pixels, which are no depths in millimetres; give a 16-bit PNG, or say in "
            "DepthSettings(kind=...) what they are."
        )
    disparity = _disparity(_plane(values, name), kind, settings)
    unit = np.clip(disparity, *_DISPARITY_RANGE) / _DISPARITY_RANGE[1]
    tensor = torch.from_numpy(unit.astype(np.float32))[None]  # (1, H, W)
    tensor = centre_crop(resize_shorter_side(tensor, settings.size, name), settings.size)
    return ModalityInput("depth", normalise(tensor, (settings.mean,), (settings.std,)), str(path) if path else None)


def _disparity(values: np.ndarray, kind: str, settings: DepthSettings) -> np.ndarray:  # (H, W) -> (H, W)
    if kind == "disparity":
        return values
    metres = values / 1000 if kind == "depth_mm" else values
    focal = KINECT_FOCAL * values.shape[1] if settings.focal_px is None else settings.focal_px
    disparity = settings.baseline_m * focal / np.clip(settings.unit_scale * metres, *_DEPTH_RANGE)
    return disparity if settings.holes == "near" else np.where(metres > 0, disparity, 0.0)


def _load(source: Payload, name: str) -> tuple[np.ndarray, str | None]:  # values, and what their storage says they are
    if isinstance(source, Path):
        suffix = source.suffix.lower()
        if suffix in ARRAY_SUFFIXES:
            return as_array(load_array(source, _KEYS), name), "disparity"
        if suffix == ".exr":
            return as_array(_read_exr(source), name), "depth_m"
    elif not isinstance(source, Image.Image):
        return as_array(source, name), "disparity"
    image = open_picture(source, name)
    if image.mode not in ("L", "F") and not image.mode.startswith("I"):
        raise InputError(f"{name} has pixels of mode {image.mode}; a depth map has one channel, 16-bit grey.")
    stored = {"L": None, "F": "depth_m"}.get(image.mode, "depth_mm")
    return as_array(np.asarray(image), name), stored


def _plane(values: np.ndarray, name: str) -> np.ndarray:  # (H, W), (1, H, W) or (H, W, 1) -> (H, W)
    plane = values
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
        plane = values.squeeze(0 if values.shape[0] == 1 else -1)
    if plane.ndim != 2:
        raise InputError(f"{name} has shape {values.shape}; a depth map is (height, width).")
    if plane.size > MAX_PIXELS:
        raise InputError(f"{name} has {plane.size} pixels; at most {MAX_PIXELS} are read.")
    return plane


def _read_exr(path: Path) -> np.ndarray:  # (H, W)
    openexr = require("OpenEXR", extra="exr", purpose="Reading .exr files")
    check_file(path)
    with parsing(str(path), ".exr file"):
        declared = sum(_exr_values(part.header) for part in openexr.File(str(path), header_only=True).parts)
        if declared > MAX_VALUES:
            raise InputError(f"{path} declares {declared} values; at most {MAX_VALUES} are read.")
        parts = openexr.File(str(path), separate_channels=True).parts
        channels = {channel: part.channels[channel].pixels for part in parts for channel in part.channels}
    if not channels:
        raise InputError(f"{path} is truncated: none of its channels can be read; save it again.")
    return channels[_depth_channel(list(channels), path)]


def _exr_values(header: Mapping[str, Any]) -> int:
    low, high = (np.asarray(corner, np.int64) for corner in header["dataWindow"])  # inclusive corners (x, y)
    return int(np.prod(high - low + 1)) * len(header["channels"])


def _depth_channel(names: list[str], path: Path) -> str:
    if len(names) == 1:
        return names[0]
    for wanted in _EXR_CHANNELS:
        found = [name for name in names if name.rpartition(".")[2].lower() == wanted]
        if found:
            return found[0]
    raise InputError(f"{path} has the channels {', '.join(names)}; a depth channel is called Z, Depth or Y.")
