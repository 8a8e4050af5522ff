"""Inputs of any modality and what was drawn of them, side by side in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..hosts.seed_llama.images import check_target
from ..inputs import ModalityInput

__all__ = ["Row", "draw_grid", "portrait"]

CELL = 112  # pixels of each side
GAP = 6
HEAD = 16  # height of a line of text


@dataclass(frozen=True)
class Row:
    """What was given, and what was drawn of it."""

    inputs: Sequence[ModalityInput]
    drawn: Sequence[Image.Image]


def draw_grid(rows: Sequence[Row], edits: Sequence[str], file: Path) -> None:
    """Write the grid; rows of one input come first, with a column for each edit.

    Raises:
        InputError: the file's ending is no picture format, or its folder is absent.
    """
    check_target(file)
    columns = 2 + len(edits)
    step = CELL + GAP
    sheet = Image.new("RGB", (columns * step + GAP, len(rows) * (step + HEAD) + 2 * HEAD + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, title in enumerate(("input", "drawn again", *edits)):
        pen.text((GAP + number * step, 2), "\n".join(wrap(title, 18)), fill="black", font_size=10)
    for line, row in enumerate(rows):
        top = 2 * HEAD + line * (step + HEAD)
        cells = [portrait(one) for one in row.inputs] + list(row.drawn)
        for number, picture in enumerate(cells):
            sheet.paste(
                picture.convert("RGB").resize((CELL, CELL), Image.Resampling.BICUBIC), (GAP + number * step, top)
            )
        names = " + ".join(one.modality.replace("_", " ") for one in row.inputs)
        pen.text((GAP, top + CELL), names, fill="black", font_size=10)
    sheet.save(file)


def portrait(given: ModalityInput) -> Image.Image:
    """What an input looks like: a cloud as its points, anything else as its values."""
    tensor = given.tensor.detach().float()
    if given.modality == "point_cloud":
        return _points(tensor[..., :3].reshape(-1, 3))
    plane = tensor.reshape(-1, *tensor.shape[-2:])
    plane = plane[:3] if len(plane) >= 3 and given.modality in ("image", "tactile") else plane[:1].expand(3, -1, -1)
    low, high = plane.amin(), plane.amax()
    values = ((plane - low) / (high - low).clamp(min=1e-6) * 255).byte().permute(1, 2, 0).numpy()
    if given.modality == "audio":
        values = np.ascontiguousarray(values.transpose(1, 0, 2)[::-1])  # time to the right, high tones above
    return Image.fromarray(values).resize((CELL, CELL), Image.Resampling.BICUBIC)


def _points(points: Tensor) -> Image.Image:
    """Seen a little from the side and from above; near points are dark and drawn last."""
    yaw, pitch = torch.tensor(0.6), torch.tensor(0.35)
    turn = torch.tensor([[yaw.cos(), 0, yaw.sin()], [0, 1, 0], [-yaw.sin(), 0, yaw.cos()]])
    tilt = torch.tensor([[1, 0, 0], [0, pitch.cos(), -pitch.sin()], [0, pitch.sin(), pitch.cos()]])
    seen = points @ turn.T @ tilt.T
    seen = (seen - seen.mean(0)) / (seen - seen.mean(0)).abs().max().clamp(min=1e-6)
    seen = seen[seen[:, 2].argsort()]
    place = ((seen[:, :2] * torch.tensor([0.46, -0.46]) + 0.5) * CELL).long().clamp(0, CELL - 2)
    grey = (170 - 75 * (seen[:, 2] + 1)).clamp(0, 255).byte().numpy()
    values = np.full((CELL, CELL), 255, np.uint8)
    for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
        values[place[:, 1].numpy() + dy, place[:, 0].numpy() + dx] = grey
    return Image.fromarray(values)
