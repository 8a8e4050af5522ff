"""Kaldi's log mel spectrogram in torch, for settings that kaldi-native-fbank refuses (128 bins at 16 kHz).

As torchaudio's ``compliance.kaldi.fbank`` with htk_compat, a Hann window, no energy and no dither.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

__all__ = ["fbank", "white_noise"]

_WINDOW_SECONDS, _SHIFT_SECONDS = 0.025, 0.010
_LOW_HZ = 20.0
_PRE_EMPHASIS = 0.97


def fbank(waveform: Tensor, sample_rate: int, mel_bins: int) -> Tensor:  # (..., S) -> (..., T, F)
    """Log mel power of 25 ms windows every 10 ms, from 20 Hz to the Nyquist frequency; whole windows only.

    5 s at 16 kHz give 498 frames.

    Args:
        waveform: (..., S) float32, S at least one window.
        sample_rate: samples a second.
        mel_bins: F.
    """
    window, shift = int(sample_rate * _WINDOW_SECONDS), int(sample_rate * _SHIFT_SECONDS)
    size = _fft_size(window)
    frames = waveform.unfold(-1, window, shift)  # (..., T, W)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], -1)  # the first sample stands before itself
    frames = (frames - _PRE_EMPHASIS * before) * torch.hann_window(window, periodic=False)
    power = torch.fft.rfft(frames, n=size).abs().square()[..., : size // 2]  # the Nyquist bin has no weight
    mel = power @ _triangles(sample_rate, mel_bins, size)
    return mel.clamp_min(torch.finfo(torch.float32).eps).log()


def white_noise(sample_rate: int, mel_bins: int) -> Tensor:  # (F,) float64
    """The mean mel power, before the logarithm, of white noise of variance 1; what the bins' widths and window do."""
    window = int(sample_rate * _WINDOW_SECONDS)
    size = _fft_size(window)
    angle = torch.arange(size // 2, dtype=torch.float64) * 2 * torch.pi / size
    emphasis = 1 + _PRE_EMPHASIS**2 - 2 * _PRE_EMPHASIS * angle.cos()
    energy = torch.hann_window(window, periodic=False, dtype=torch.float64).square().sum()
    return (emphasis * energy) @ _triangles(sample_rate, mel_bins, size).double()


def _fft_size(window: int) -> int:
    return 1 << (window - 1).bit_length()


def _mel(hertz: Tensor) -> Tensor:
    return 1127 * torch.log1p(hertz / 700)


@cache
def _triangles(sample_rate: int, mel_bins: int, fft_size: int) -> Tensor:  # (fft_size / 2, F)
    bins = torch.arange(fft_size // 2, dtype=torch.float64) * sample_rate / fft_size
    low, high = _mel(torch.tensor([_LOW_HZ, sample_rate / 2], dtype=torch.float64))
    edges = torch.linspace(0, 1, mel_bins + 2, dtype=torch.float64) * (high - low) + low
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    mel = _mel(bins)[:, None]
    return torch.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)).clamp_min(0).float()
