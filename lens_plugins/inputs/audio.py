"""Audio: clips of a recording as normalised log mel spectrograms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..files.opening import parsing, read_bytes
from .arrays import ARRAY_SUFFIXES, as_array, load_array
from .base import ModalityInput, Payload
from .fbank import fbank
from .settings import InputSettings
from .sound_files import MAX_CHANNELS, MAX_SECONDS, RATES, check_length, decode

__all__ = ["MAX_SECONDS", "AudioSettings", "read"]

_DOUBLINGS = 5
_LOUDEST = 8.0  # full scale is 1; a mix may clip and a resampler ring, but nothing is 18 dB above it
_KEYS = ("waveform", "audio", "arr_0")
_PCM = {"int16": 2**15, "int32": 2**31}


@dataclass(frozen=True)
class AudioSettings(InputSettings):
    """Clips and spectrogram of one lens; the defaults are vitlensL's (lenses of 2 s clips have their own)."""

    per_input: ClassVar[tuple[str, ...]] = ("clips", "channel")
    arrays_need_rate: ClassVar[bool] = True  # a waveform alone does not tell how fast it runs
    small: ClassVar[Mapping[str, Any]] = {"frames": 24, "clip_seconds": 1.0}

    sample_rate: int = 16_000  # Hz; files of another rate are resampled
    clip_seconds: float = 5.0
    frames: int = 512  # T: spectrogram frames after padding or cutting
    clips: int = 3  # C, spread evenly over the recording
    mel_bins: int = 128  # F
    channel: int | None = None  # None: the mean of all; 0 is what the original reads
    mean: float = -4.2677393
    std: float = 4.5689974

    def __post_init__(self) -> None:
        low, high = RATES
        self._require(
            low <= self.sample_rate <= high, f"sample_rate is {self.sample_rate}; it must be {low} to {high}."
        )
        self._require(
            0.025 <= self.clip_seconds <= MAX_SECONDS,
            f"clip_seconds is {self.clip_seconds}; it must be 0.025 to {MAX_SECONDS}.",
        )
        for field in ("frames", "clips", "mel_bins"):
            value = getattr(self, field)
            self._require(0 < value <= 100_000, f"{field} is {value}; it must be 1 to 100000.")
        self._require(self.channel is None or self.channel >= 0, f"channel is {self.channel}; it must be 0 or more.")
        self._require(self.std > 0, f"std is {self.std}; it must be above 0.")

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(C, T, F), or (T, F) where there is one clip."""
        clip = (self.frames, self.mel_bins)
        return (self.clips, *clip) if self.clips > 1 else clip

    @property
    def clip_samples(self) -> int:
        """Samples of one clip."""
        return round(self.clip_seconds * self.sample_rate)


def read(source: Payload, settings: AudioSettings) -> ModalityInput:
    """A recording to (C, T, F) float32, or (T, F) where `settings.clips` is 1.

    Arrays are (samples,) or (samples, channels) at `settings.sample_rate`: floats from -1 to 1, or int16 or int32 PCM.
    Clip i of n starts at i · (duration − clip) / n. A shorter recording is repeated by doubling, and all its clips are
    alike.

    Raises:
        InputError: not sound, truncated, shorter than 1/32 of a clip, longer than `MAX_SECONDS`, far louder than full
            scale, or a channel it does not have.
    """
    path = source if isinstance(source, Path) else None
    name = str(path or "The waveform")
    if path and path.suffix.lower() not in ARRAY_SUFFIXES:
        samples, rate = _read_file(path)
    else:
        samples, rate = _read_array(load_array(path, _KEYS) if path else source, name), settings.sample_rate
    check_length(len(samples), rate, name)
    waveform = _mono(samples, settings.channel, name)  # (S,)
    _check_values(waveform, samples, name)
    waveform = _resample(waveform, rate, settings.sample_rate)
    clips = _cut(_long_enough(waveform, settings.clip_samples, settings.sample_rate, name), settings)
    spectrogram = _spectrogram(clips, settings)
    return ModalityInput("audio", spectrogram if settings.clips > 1 else spectrogram[0], str(path) if path else None)


def _read_file(path: Path) -> tuple[np.ndarray, int]:  # (S, channels) float32, Hz
    content = read_bytes(path)
    with parsing(str(path), "sound file", cure="give wav, flac, ogg or mp3"):
        samples, rate = decode(content, str(path))
    return samples, rate


def _read_array(data: Payload, name: str) -> np.ndarray:  # -> (S, channels) float32
    if isinstance(data, (Image.Image, Path)):
        raise InputError(f"{name} holds Image; give an array (samples,) or (samples, channels).")
    kind = str(data.dtype).removeprefix("torch.")
    samples = as_array(data, name).astype(np.float32)
    if "int" in kind:
        if kind not in _PCM:
            raise InputError(f"{name} holds {kind}; a waveform is floats from -1 to 1, int16 or int32.")
        samples /= np.float32(_PCM[kind])
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2 or samples.shape[1] > MAX_CHANNELS:
        raise InputError(
            f"{name} has shape {tuple(data.shape)}; a waveform is (samples,) or (samples, channels) "
            f"with at most {MAX_CHANNELS} channels."
        )
    return samples


def _check_values(waveform: np.ndarray, samples: np.ndarray, name: str) -> None:  # (S,), (S, channels)
    loudest = max(float(waveform.max()), -float(waveform.min()))  # no copy, as abs would make
    if not loudest < np.inf:  # NaN neither
        as_array(samples, name)  # says how many
    if loudest > _LOUDEST:
        raise InputError(
            f"{name} has samples up to {loudest:.6g}; as floats they are from -1 to 1, at most {_LOUDEST:g} is read: "
            "divide them by their full scale (32768 for 16 bits)."
        )


def _mono(samples: np.ndarray, channel: int | None, name: str) -> np.ndarray:  # (S, channels) -> (S,)
    if channel is None:
        return samples.mean(axis=1) if samples.shape[1] > 1 else samples[:, 0]
    if channel >= samples.shape[1]:
        raise InputError(f"{name} has {samples.shape[1]} channels, no channel {channel}; they count from 0.")
    return samples[:, channel]


def _resample(waveform: np.ndarray, rate: int, target: int) -> np.ndarray:  # both checked integers: soxr hangs on NaN
    if rate == target:
        return waveform
    import soxr

    return soxr.resample(np.ascontiguousarray(waveform), rate, target)


def _long_enough(waveform: np.ndarray, needed: int, rate: int, name: str) -> np.ndarray:
    doubled = waveform
    for _ in range(_DOUBLINGS):
        if len(doubled) < needed:
            doubled = np.concatenate([doubled, doubled])
    if len(doubled) < needed:
        least = -(-needed // 2**_DOUBLINGS)
        raise InputError(
            f"{name} has {len(waveform)} samples at {rate} Hz; a clip of {needed / rate:g} s needs at least {least} "
            f"({least / rate:.3f} s), repeated."
        )
    return doubled[:needed] if len(waveform) < needed else waveform


def _cut(waveform: np.ndarray, settings: AudioSettings) -> Tensor:  # (S,) -> (C, clip)
    length = settings.clip_samples
    starts = [i * (len(waveform) - length) // settings.clips for i in range(settings.clips)]
    return torch.from_numpy(np.stack([waveform[start : start + length] for start in starts]))


def _spectrogram(clips: Tensor, settings: AudioSettings) -> Tensor:  # (C, clip) -> (C, T, F)
    clips = clips - clips.mean(-1, keepdim=True)
    frames = fbank(clips, settings.sample_rate, settings.mel_bins)[:, : settings.frames]
    missing = settings.frames - frames.shape[1]
    return (functional.pad(frames, (0, 0, 0, missing)) - settings.mean) / settings.std  # padding becomes -mean / std
