"""The frozen trunk: EfficientNet-Lite2 with its ImageNet weights, read from the file that its package carries.

Batch norms are folded into the convolutions before them, so a block is three convolutions. Widths and kernels are read
off the weights; only the strides are written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lens_plugins.errors import CheckpointError

__all__ = ["CLASSES", "DEVIATION", "GRID", "MEAN", "SIDE", "TRUNK_WIDTH", "Trunk", "load_trunk"]

SIDE = 256  # pixels of a picture's side
GRID = 8  # feature rows and columns
TRUNK_WIDTH = 1280
CLASSES = 1000
HALVING = (1, 4, 7, 15)  # blocks with stride 2, beside the stem
LOPSIDED = (1,)  # of these, those padded below and to the right alone, beside the stem: so it was at 260 pixels
MEAN, DEVIATION = 127 / 255, 128 / 255
BATCH_NORM_EPS = 1e-3


class _Convolution(nn.Conv2d):
    """A convolution that halves or keeps the sides, then ReLU6 if `bound`."""

    def __init__(
        self, weight: Tensor, bias: Tensor, *, stride: int = 1, bound: bool = True, lopsided: bool = False
    ) -> None:
        out, per_group, kernel, _ = weight.shape
        groups = out if per_group == 1 and kernel > 1 else 1
        super().__init__(per_group * groups, out, kernel, stride, padding=0 if lopsided else kernel // 2, groups=groups)
        self.weight.data, self.bias.data = weight, bias  # type: ignore[union-attr]  # bias was asked for
        self.bound, self.lopsided = bound, lopsided

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(F.pad(x, (0, 1, 0, 1)) if self.lopsided else x)
        return F.relu6(x) if self.bound else x


class _Block(nn.Sequential):
    """Expand, look around, project; added to its input where shapes allow."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out + x if out.shape == x.shape else out


class Trunk(nn.Module):
    """Pictures to feature maps, and feature maps to logits of the 1,000 classes."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stem = _Convolution(*_folded(state, "_conv_stem", "_bn0"), stride=2, lopsided=True)
        count = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("_blocks."))
        self.blocks = nn.Sequential(*(_block(state, i) for i in range(count)))
        self.head = _Convolution(*_folded(state, "_conv_head", "_bn1"))
        self.classifier = nn.Linear(TRUNK_WIDTH, CLASSES)
        self.classifier.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})
        self.eval().requires_grad_(False)

    def forward(self, rgb: Tensor) -> Tensor:  # (B, 3, S, S) in [0, 1] -> (B, 1280, S / 32, S / 32)
        return self.features((rgb - MEAN) / DEVIATION)

    def features(self, pixels: Tensor) -> Tensor:
        """Pictures that are normalised already: (B, 3, S, S) -> (B, 1280, S / 32, S / 32)"""
        return self.head(self.blocks(self.stem(pixels)))

    def tokens(self, rgb: Tensor) -> Tensor:
        """(B, 3, 256, 256) in [0, 1] -> (B, 64, 1280)"""
        return self(rgb).flatten(2).transpose(1, 2)

    def logits(self, tokens: Tensor) -> Tensor:
        """(B, N, 1280) of any tokens -> (B, 1000); exact for any choice of them, since the head only averages."""
        return self.classifier(tokens.mean(1))


def _folded(state: Mapping[str, Tensor], convolution: str, norm: str) -> tuple[Tensor, Tensor]:
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + BATCH_NORM_EPS).sqrt()
    weight = state[f"{convolution}.weight"] * scale[:, None, None, None]
    return weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale


def _block(state: Mapping[str, Tensor], number: int) -> _Block:
    begin, parts = f"_blocks.{number}.", []
    if f"{begin}_expand_conv.weight" in state:
        parts.append(_Convolution(*_folded(state, f"{begin}_expand_conv", f"{begin}_bn0")))
    around = _folded(state, f"{begin}_depthwise_conv", f"{begin}_bn1")
    parts.append(_Convolution(*around, stride=2 if number in HALVING else 1, lopsided=number in LOPSIDED))
    parts.append(_Convolution(*_folded(state, f"{begin}_project_conv", f"{begin}_bn2"), bound=False))
    return _Block(*parts)


def load_trunk(file: Path) -> Trunk:
    """Read the trunk from the package's `.pth` file.

    Raises:
        CheckpointError: a weight is missing or has another shape.
    """
    state = torch.load(file, weights_only=True, map_location="cpu")
    try:
        return Trunk(state)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{file.name} is not EfficientNet-Lite2 in its package's layout: {error}.") from error
