"""EEG: the first trial of a recording, one row for each electrode."""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from .._config import FrozenConfig
from ..errors import InputError
from .arrays import ARRAY_SUFFIXES, MAX_VALUES, as_array, load_array
from .base import ModalityInput, Payload
from .files import check_file, parsing, read_bytes

__all__ = ["BAND_HZ", "EegSettings", "read"]

BAND_HZ = (5.0, 95.0)  # the pass band of the training recordings
_READ_SECONDS = 60  # of a file: filter and z-score see these, the lens sees settings.start to settings.stop
_RATES = (32, 20_000)
_KEYS = ("eeg", "data", "arr_0")
_LARGEST_VOLTS = 0.01  # no potential on a scalp is larger: a file with larger values does not hold volts
_MAT_COMPRESSED = 15  # miCOMPRESSED
_ZSCORED = (0.2, 5.0)  # standard deviations that a z-scored recording may have in a short window


@dataclass(frozen=True)
class EegSettings(FrozenConfig):
    """What a lens reads. Its training recordings were band-passed (5 to 95 Hz) and z-scored: raw ones need both."""

    # fields that may differ from the lens's own: they say how raw a recording is
    per_input: ClassVar[tuple[str, ...]] = ("bandpass", "zscore")

    channels: int = 128  # C
    sample_rate: int = 1000  # Hz; files of another rate are resampled
    start: int = 20  # first sample kept
    stop: int = 460  # first sample not kept; shorter recordings are stretched
    steps: int = 512  # T, by linear interpolation with both ends aligned
    bandpass: bool = False  # 5 to 95 Hz, Butterworth, zero phase
    zscore: bool = False  # each channel by its own mean and standard deviation

    def __post_init__(self) -> None:
        low, high = _RATES
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


def read(source: Payload, settings: EegSettings) -> ModalityInput:
    """A recording, or an array (C, time) at `settings.sample_rate`, to (C, T) float32.

    Only EEG channels of a file count; volts become microvolts. Warns (UserWarning) when the result does not look
    z-scored.

    Raises:
        InputError: not a recording, another number of channels, or too few samples.
    """
    path = source if isinstance(source, Path) else None
    name = str(path or "The EEG recording")
    if path and path.suffix.lower() not in ARRAY_SUFFIXES:
        data = as_array(_read_recording(path, settings), name)
    else:
        data = as_array(load_array(path, _KEYS) if path else source, name)
    _check_shape(data.shape, settings, name)
    kept = _standardised(data, settings)[:, settings.start : settings.stop]  # (C, up to stop - start)
    _warn_if_raw(kept, settings, name)
    tensor = torch.from_numpy(kept.astype(np.float32))
    tensor = functional.interpolate(tensor[None], settings.steps, mode="linear", align_corners=True)[0]
    return ModalityInput("eeg", tensor, str(path) if path else None)


def _read_recording(path: Path, settings: EegSettings) -> np.ndarray:  # -> (C, time) at settings.sample_rate
    import mne

    check_file(path)
    if path.suffix.lower() == ".set":
        _check_inflated(path)
    readers = {
        ".edf": mne.io.read_raw_edf,
        ".bdf": mne.io.read_raw_bdf,
        ".fif": mne.io.read_raw_fif,
        ".set": mne.io.read_raw_eeglab,
    }
    with parsing(str(path), f"{path.suffix} recording"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about naming conventions, and annotations that we do not use
        raw = readers[path.suffix.lower()](path, preload=False, verbose="ERROR")
        picks = mne.pick_types(raw.info, meg=False, eeg=True, exclude=())
        _check_recording(raw, len(picks), settings, path)
        rate = raw.info["sfreq"]
        data = raw.get_data(picks=picks, stop=min(raw.n_times, round(_READ_SECONDS * rate)), verbose="ERROR")
    if np.abs(data).max(initial=0) < _LARGEST_VOLTS:  # mne gives volts where the file says so
        data = data * 1e6
    return _resample(data, rate, settings.sample_rate)


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


def _check_recording(raw: Any, channels: int, settings: EegSettings, path: Path) -> None:
    low, high = _RATES
    if not low <= raw.info["sfreq"] <= high:
        raise InputError(f"{path} has a sample rate of {raw.info['sfreq']} Hz; it must be {low} to {high}.")
    _check_shape((channels, raw.n_times), settings, str(path), rate=raw.info["sfreq"])
    folder = path.parent.resolve()
    for part in raw.filenames:  # a .set may keep its data in a second file
        if part is not None and not Path(part).resolve().is_relative_to(folder):
            raise InputError(f"{path} names the data file {part}, which is not inside its own folder; put it there.")


def _check_shape(shape: tuple[int, ...], settings: EegSettings, name: str, rate: float | None = None) -> None:
    if len(shape) != 2:
        raise InputError(f"{name} has shape {shape}; an EEG recording is (channels, time).")
    if shape[0] != settings.channels:
        hint = " (transpose it)" if shape[1] == settings.channels else ""
        raise InputError(f"{name} has {shape[0]} EEG channels; the lens reads {settings.channels}{hint}.")
    samples = int(shape[1] * settings.sample_rate / (rate or settings.sample_rate))
    if samples < settings.start + 2:
        raise InputError(
            f"{name} has {samples} samples at {settings.sample_rate} Hz; "
            f"at least {settings.start + 2} are needed, since the first {settings.start} are left out."
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


def _warn_if_raw(data: np.ndarray, settings: EegSettings, name: str) -> None:
    low, high = _ZSCORED
    deviation = float(np.median(data.std(axis=1)))
    if not settings.zscore and not low <= deviation <= high:
        warnings.warn(
            f"{name} looks raw: its channels have a standard deviation of {deviation:.3g}, and lenses are trained on "
            "z-scored ones (1). Read it with EegSettings(bandpass=True, zscore=True).",
            stacklevel=3,
        )
