"""Convolutions before the patches of a spectrogram: what a tokenizer of few recordings needs (Xiao et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ConvStem"]


class ConvStem(nn.Module):
    """Normalised log-mel spectrogram -> map of features, at half the size for every block.

    Power is averaged over three bins and four frames and read at every second; its logarithm has a soft floor in each
    bin; then come blocks of two 3 x 3 convolutions, with 2 x 2 max pooling between blocks. There are no norms: those of
    a network whose weights are taken over are folded into its kernels.

    Args:
        channels: of each block.
        bins: mel bins of the spectrogram, an even number.
    """

    def __init__(self, channels: Sequence[int], bins: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.offset = nn.Parameter(torch.zeros(bins // 2))
        widths = [1, *channels]
        pairs = [(inside, width) for before, width in zip(widths, channels) for inside in (before, width)]
        self.convs = nn.ModuleList(_conv(inside, width) for inside, width in pairs)

    @staticmethod
    def pooled(power: Tensor) -> Tensor:
        """(..., F, T) -> (..., F / 2, T >> 1)."""
        return F.avg_pool2d(power, (3, 4), 2, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, F, T) -> (B, C, F >> n, T >> n) for n blocks."""
        # Averages are taken of powers: a mean of logarithms would play down short sounds.
        power = self.pooled((x.float() * self.scale.float()).exp())  # half precision has no room for powers
        x = (power * self.offset.float().exp()[:, None]).log1p().to(x.dtype)
        for number, conv in enumerate(self.convs):
            if number and number % 2 == 0:
                x = F.max_pool2d(x, 2)
            x = F.relu(conv(x))
            x = x.contiguous(memory_format=torch.channels_last)  # what convolutions on a CPU are quick in
        return x


def _conv(inside: int, width: int) -> nn.Conv2d:
    conv = nn.Conv2d(inside, width, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
