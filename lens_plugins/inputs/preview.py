"""A picture of what a lens reads, for a person to look at: the tensor after all preprocessing, not the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ..catalog import find_modality, resolve
from .base import ModalityInput

__all__ = ["cloud", "heat_map", "picture", "preview", "preview_sheet", "traces"]

SIDE = 448  # pixels of a drawing
_GAP = 8  # between the clips of a recording
_TITLE = 20
_TURN, _TILT = math.radians(35), math.radians(20)  # from where a cloud is looked at


def preview(given: ModalityInput) -> Image.Image:
    """Draw one input as its lens reads it; the clips of a recording stand side by side.

    How a modality is drawn is said in its row (`preview`). Without that, three dimensions are a picture and two a heat
    map.

    Returns:
        An RGB picture, 448 pixels high.
    """
    row = find_modality(given.modality)
    draw = resolve(row.preview) if row.preview else (picture if row.ndim == 3 else heat_map)
    drawn = [draw(clip.detach().cpu().float()) for clip in given.clips]
    sheet = Image.new("RGB", (sum(one.width + _GAP for one in drawn) - _GAP, SIDE), "white")
    left = 0
    for one in drawn:
        sheet.paste(one, (left, 0))
        left += one.width + _GAP
    return sheet


def preview_sheet(inputs: Sequence[ModalityInput]) -> Image.Image:
    """The drawings of several inputs one below the other, each under its file's name."""
    drawn = [preview(given) for given in inputs]
    sheet = Image.new("RGB", (max(one.width for one in drawn), len(drawn) * (SIDE + _TITLE)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (given, one) in enumerate(zip(inputs, drawn)):
        top = number * (SIDE + _TITLE)
        name = ascii(Path(given.source).name)[1:-1] if given.source else "array"  # the built-in font has no other signs
        pen.text((4, top + 4), f"{name} ({given.modality}, {' x '.join(map(str, given.tensor.shape))})", fill="black")
        sheet.paste(one, (0, top + _TITLE))
    return sheet


def picture(tensor: Tensor) -> Image.Image:  # (C, H, W)
    """Channels as colours, or one as grey, from the smallest value to the largest."""
    plane = _stretched(tensor[:3] if len(tensor) >= 3 else tensor[:1].expand(3, -1, -1))
    return Image.fromarray(plane.transpose(1, 2, 0)).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def heat_map(tensor: Tensor) -> Image.Image:  # (T, F): time to the right, the first row of F at the bottom
    """Grey levels over time, as a spectrogram is shown."""
    plane = _stretched(tensor.T.flip(0))
    return Image.fromarray(plane).resize((SIDE, SIDE), Image.Resampling.NEAREST).convert("RGB")


def cloud(points: Tensor) -> Image.Image:  # (P, 3), y up
    """Points from in front, above and to the side; near ones dark."""
    x, y, z = points.numpy().T
    right = x * math.cos(_TURN) - z * math.sin(_TURN)
    toward = x * math.sin(_TURN) + z * math.cos(_TURN)
    up = y * math.cos(_TILT) - toward * math.sin(_TILT)
    near = toward * math.cos(_TILT) + y * math.sin(_TILT)
    reach = float(max(np.abs(right).max(), np.abs(up).max(), 1e-6)) * 1.05
    columns, rows = ((side / reach + 1) / 2 * (SIDE - 2) for side in (right, -up))
    canvas = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    shades = (200 - 200 * (near - near.min()) / max(float(np.ptp(near)), 1e-6)).astype(np.uint8)
    for index in near.argsort():  # far ones first, so that near ones cover them
        row, column = int(rows[index]), int(columns[index])
        canvas[row : row + 2, column : column + 2] = shades[index]
    return Image.fromarray(canvas).convert("RGB")


def traces(tensor: Tensor) -> Image.Image:  # (C, T)
    """One line a channel, the first on top, all at one scale."""
    values = tensor.numpy()
    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(image)
    step = SIDE / len(values)
    scale = 1.5 * step / max(float(np.abs(values - values.mean(axis=1, keepdims=True)).max()), 1e-6)
    across = np.linspace(0, SIDE - 1, values.shape[1])
    for channel, line in enumerate(values - values.mean(axis=1, keepdims=True)):
        heights = (channel + 0.5) * step - line * scale
        pen.line(list(zip(across.tolist(), heights.tolist())), fill="black")
    return image


def _stretched(tensor: Tensor) -> np.ndarray:
    """Values as bytes, from the smallest to the largest."""
    values = tensor.numpy()
    return np.clip(255 * (values - values.min()) / max(float(np.ptp(values)), 1e-6), 0, 255).astype(np.uint8)
