"""EEG: the first trial of a recording, one row for each electrode."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from ..errors import InputError
from ..files.isolated import run_isolated
from ..files.opening import check_file, read_bytes
from .arrays import ARRAY_SUFFIXES, MAX_VALUES, as_array, load_array
from .base import ModalityInput, Payload
from .edf import read_edf
from .electrodes import RATES, Signals, choose_channels, electrode
from .settings import InputSettings

__all__ = ["BAND_HZ", "EegSettings", "read"]

BAND_HZ = (5.0, 95.0)  # the pass band of the training recordings
_READ_SECONDS = 60  # of a file: filter and z-score see these, the lens sees settings.start to settings.stop
_KEYS = ("eeg", "data", "arr_0")
_LARGEST_VOLTS = 0.01  # no potential on a scalp is larger: a file with larger values does not hold volts
_LARGEST = 1e9  # microvolts: a thousand volts, and far from what float32 can square
_MAT_COMPRESSED = 15  # miCOMPRESSED
_SHORTEST = 0.9  # of the samples between start and stop; the research data has 450 of 460
_ZSCORED = (0.2, 5.0)  # standard deviations that a z-scored recording may have in a short window


@dataclass(frozen=True)
class EegSettings(InputSettings):
    """What a lens reads. Its training recordings were band-passed (5 to 95 Hz) and z-scored: raw ones need both."""

    per_input: ClassVar[tuple[str, ...]] = ("bandpass", "zscore")
    small: ClassVar[Mapping[str, Any]] = {"channels": 5, "steps": 20}

    channels: int = 128  # C
    sample_rate: int = 1000  # Hz; files of another rate are resampled
    start: int = 20  # first sample kept
    stop: int = 460  # first sample not kept; shorter recordings are stretched
    steps: int = 512  # T, by linear interpolation with both ends aligned
    bandpass: bool = False  # 5 to 95 Hz, Butterworth, zero phase
    zscore: bool = False  # each channel by its own mean and standard deviation
    names: tuple[str, ...] = ()  # electrodes in the lens's order, chosen from a file's labels; (): by place

    def __post_init__(self) -> None:
        low, high = RATES
        self._require(
            low <= self.sample_rate <= high, f"sample_rate is {self.sample_rate}; it must be {low} to {high}."
        )
        self._require(0 < self.channels <= 4096, f"channels is {self.channels}; it must be 1 to 4096.")
        self._require(
            0 <= self.start < self.stop - 1,
            f"start is {self.start} and stop {self.stop}; at least 2 samples must lie between them.",
        )
        self._require(2 <= self.steps <= 100_000, f"steps is {self.steps}; it must be 2 to 100000.")
        self._require(
            not self.bandpass or self.sample_rate > 2 * BAND_HZ[1],
            f"sample_rate is {self.sample_rate}; a band-pass up to {BAND_HZ[1]:g} Hz needs over {2 * BAND_HZ[1]:g}.",
        )
        self._require(
            isinstance(self.names, tuple) and all(isinstance(name, str) for name in self.names),
            f"names is {self.names!r}; it must be a tuple of electrodes' names.",
        )
        distinct = len({electrode(name) for name in self.names})
        self._require(
            not self.names or len(self.names) == distinct == self.channels,
            f"names has {len(self.names)}, {distinct} distinct, and channels is {self.channels}; all must be equal.",
        )

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(C, T)."""
        return self.channels, self.steps


def read(source: Payload, settings: EegSettings) -> ModalityInput:
    """A recording, or an array (C, time) at `settings.sample_rate`, to (C, T) float32.

    Of a file with several trials the first is read, and nothing beyond the first gap. Only its EEG channels count, by
    type and label (see `electrodes.choose_channels`); voltages become microvolts. Warns (UserWarning) when the result
    does not look z-scored.

    Raises:
        InputError: not a recording, truncated, another number of channels, too few samples, or values that no
            amplifier gives.
    """
    path = source if isinstance(source, Path) else None
    name = str(path or "The EEG recording")
    if isinstance(source, Image.Image):
        raise InputError(f"{name} holds Image; give an array (channels, time).")
    if not isinstance(source, Path):
        data = as_array(source, name)
    elif source.suffix.lower() in ARRAY_SUFFIXES:
        data = as_array(load_array(source, _KEYS), name)
    else:
        data, until = _read_recording(source, settings)
        name += until
    _check_shape(data.shape, settings, name)
    _check_size(data, name)
    kept = _standardised(data, settings)[:, settings.start : settings.stop]  # (C, up to stop - start)
    _warn_if_raw(kept, settings, name)
    _warn_if_short(kept.shape[1], settings, name)
    tensor = torch.from_numpy(kept.astype(np.float32))
    tensor = functional.interpolate(tensor[None], settings.steps, mode="linear", align_corners=True)[0]
    return ModalityInput("eeg", tensor, str(path) if path else None)


def _read_recording(path: Path, settings: EegSettings) -> tuple[np.ndarray, str]:  # (C, time) at settings.sample_rate
    signals = (_read_edf if path.suffix.lower() in (".edf", ".bdf") else _read_by_mne)(path, settings)
    _to_microvolts(signals)
    if isinstance(signals.rows, np.ndarray):
        return _resample(signals.rows, signals.rates[0], settings.sample_rate), signals.until
    rows = [_resample(row[None], rate, settings.sample_rate)[0] for row, rate in zip(signals.rows, signals.rates)]
    shortest = min(map(len, rows))
    return np.stack([row[:shortest] for row in rows]), signals.until


def _read_edf(path: Path, settings: EegSettings) -> Signals:
    def choose(labels: Sequence[str]) -> list[int]:
        return choose_channels(labels, settings.channels, settings.names, path)

    return read_edf(path, choose, _READ_SECONDS)


def _read_by_mne(path: Path, settings: EegSettings) -> Signals:
    check_file(path)
    if path.suffix.lower() == ".set":
        _check_inflated(path)
    found = run_isolated(
        "lens_plugins.inputs.recordings:read_recording",
        os.path.abspath(path),
        settings.channels,
        settings.names,
        _READ_SECONDS,
        name=str(path),
        kind=f"{path.suffix} recording",
    )
    rows: np.ndarray = found["data"]
    return Signals(rows, [found["rate"]] * len(rows), [found["scale"]] * len(rows), found.get("until", ""))


def _to_microvolts(signals: Signals) -> None:
    """Scale rows, in place, by the unit that the file names; where it names none, volts where values are that small."""
    unnamed = [row for row, scale in zip(signals.rows, signals.scales) if scale is None]
    # electrodes float by many millivolts: only what is left without a channel's mean tells volts from microvolts
    size = np.median([np.median(np.abs(row - row.mean())) for row in unnamed if len(row)] or [1.0])
    guess = 1e6 if size < _LARGEST_VOLTS else 1.0
    for row, named in zip(signals.rows, signals.scales):
        scale = guess if named is None else named
        if scale != 1:
            row *= scale


def _resample(data: np.ndarray, rate: float, target: int) -> np.ndarray:  # (C, time) -> (C, time · target / rate)
    # not mne.filter.resample: by FFT with its own padding up to 0.16 off on sines of amplitude 1.4
    if rate == target:
        return data
    import soxr

    edge = round(rate)  # a second, mirrored through the end points: soxr takes what lies outside for silence
    padded = np.pad(data, ((0, 0), (edge, edge)), "reflect", reflect_type="odd")
    resampled = soxr.resample(np.ascontiguousarray(padded.T), rate, target, quality="VHQ").T
    first = round(edge * target / rate)
    return resampled[:, first : first + round(data.shape[1] * target / rate)]


def _check_inflated(path: Path) -> None:
    """Bound what the compressed elements of a .set (a MATLAB 5 file) unpack to: its reader unpacks without asking."""
    content, position, left = read_bytes(path), 128, 8 * MAX_VALUES  # the header has 128 bytes
    while position + 8 <= len(content):
        kind, size = struct.unpack_from("<II", content, position)
        if kind == _MAT_COMPRESSED:
            left -= _inflated(content[position + 8 : position + 8 + size], left)
        if left < 0:
            raise InputError(f"{path} unpacks to more than {8 * MAX_VALUES} bytes; give a shorter recording.")
        position += 8 + size


def _inflated(packed: bytes, limit: int) -> int:
    """How many bytes these unpack to, counted no further than just above `limit`, a mebibyte at a time."""
    inflate, total = zlib.decompressobj(), 0
    try:
        while packed and total <= limit:
            total += len(inflate.decompress(packed, 2**20))
            packed = inflate.unconsumed_tail
    except zlib.error:
        pass  # damaged: mne says so
    return total


def _check_shape(shape: tuple[int, ...], settings: EegSettings, name: str) -> None:
    if len(shape) != 2:
        raise InputError(f"{name} has shape {shape}; an EEG recording is (channels, time).")
    if shape[0] != settings.channels:
        hint = " (transpose it)" if shape[1] == settings.channels else ""
        raise InputError(f"{name} has {shape[0]} EEG channels; the lens reads {settings.channels}{hint}.")
    if shape[1] < settings.start + 2:
        raise InputError(
            f"{name} has {shape[1]} samples at {settings.sample_rate} Hz; "
            f"at least {settings.start + 2} are needed, since the first {settings.start} are left out."
        )


def _check_size(data: np.ndarray, name: str) -> None:
    largest = max(float(data.max()), -float(data.min()))
    if not largest <= _LARGEST:  # NaN neither
        raise InputError(
            f"{name} has values up to {largest:g}; EEG is in microvolts or z-scored, and at most {_LARGEST:g} is read."
        )


def _standardised(data: np.ndarray, settings: EegSettings) -> np.ndarray:  # (C, time) -> (C, time)
    if settings.bandpass:
        import mne

        iir = {"order": 4, "ftype": "butter", "output": "sos"}  # as FIR, 5 Hz would need 1.6 s of signal
        rows = data.astype(np.float64)
        data = mne.filter.filter_data(
            rows, settings.sample_rate, *BAND_HZ, method="iir", iir_params=iir, verbose="ERROR"
        )
    if settings.zscore:
        deviation = data.std(axis=1, keepdims=True)
        data = (data - data.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    return data


def _warn_if_short(samples: int, settings: EegSettings, name: str) -> None:
    wanted = settings.stop - settings.start
    if samples < _SHORTEST * wanted:
        warnings.warn(
            f"{name} has {samples} of the {wanted} samples that the lens reads at {settings.sample_rate} Hz, so it is "
            f"stretched {wanted / samples:.1f} times; give a longer recording.",
            stacklevel=3,
        )


def _warn_if_raw(data: np.ndarray, settings: EegSettings, name: str) -> None:
    low, high = _ZSCORED
    deviation = float(np.median(data.std(axis=1)))
    if not settings.zscore and not low <= deviation <= high:
        warnings.warn(
            f"{name} looks raw: its channels have a standard deviation of {deviation:.3g}, and lenses are trained on "
            "z-scored ones (1). Read it with EegSettings(bandpass=True, zscore=True).",
            stacklevel=3,
        )
