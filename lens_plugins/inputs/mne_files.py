"""Recordings that mne reads: .fif (raw or epochs) and EEGLAB's .set."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..errors import InputError
from ..files.opening import check_file, open_regular, parsing, read_bytes
from .arrays import MAX_VALUES
from .electrodes import Choose, Signals, check_rate

__all__ = ["read_by_mne"]

_MAT_COMPRESSED = 15  # miCOMPRESSED


def read_by_mne(path: Path, choose: Choose, seconds: float) -> Signals:
    """The first seconds of a .fif or .set recording, or its first epoch. The one place that calls mne to read.

    Args:
        path: the file; a .set may keep its data in a second one, in the same folder.
        choose: which of its EEG channels, by their labels.
        seconds: how many are read.

    Raises:
        InputError: no such recording, truncated, too large, or what `choose` raises.
    """
    check_file(path)
    eeglab = path.suffix.lower() == ".set"
    if eeglab:
        _check_inflated(path)
    with parsing(str(path), f"{path.suffix} recording"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about naming conventions, and annotations that we do not use
        recording = _open_set(path) if eeglab else _open_fif(path)
        if recording is None:
            return _first_trial(path, choose)
        _check_parts(recording, path)
        numbers = [n for n, kind in enumerate(recording.get_channel_types()) if kind == "eeg"]
        chosen = [numbers[n] for n in choose([recording.ch_names[n] for n in numbers])]
        rate = float(recording.info["sfreq"])
        check_rate(rate, str(path))
        rows = _first_seconds(recording, chosen, round(seconds * rate), path)
    # EEGLAB's files are in microvolts, which mne makes volts; those of .fif are volts, or z-scored all the same
    return Signals(list(rows), [rate] * len(rows), [1e6 if eeglab else None] * len(rows))


def _open_set(path: Path) -> Any | None:  # mne's Raw, its data not yet read; None where there are several trials
    import mne

    try:
        return mne.io.read_raw_eeglab(path, preload=False, verbose="ERROR")
    except TypeError as error:  # "The number of trials is 4. It must be 1 for raw files."
        if "number of trials" in str(error):
            return None
        raise


def _open_fif(path: Path) -> Any:  # mne's Raw or Epochs, its data not yet read
    import mne

    try:
        try:
            return mne.io.read_raw_fif(path, preload=False, verbose="ERROR")
        except ValueError as error:
            if "No raw data" not in str(error):
                raise
        return mne.read_epochs(path, preload=False, verbose="ERROR")
    except ValueError as error:
        if not any(said in str(error) for said in ("measurement data", "epochs data", "event data")):
            raise
        raise InputError(
            f"{path} holds neither a continuous recording nor epochs (perhaps an average, or events); give the "
            "recording itself."
        ) from error


def _first_trial(path: Path, choose: Choose) -> Signals:
    """Of a .set with several trials; mne would read all of them, from whatever file is named."""
    import scipy.io

    content = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)
    eeg = content.get("EEG") or SimpleNamespace(**content)  # both layouts are in use
    channels, times, trials, rate = int(eeg.nbchan), int(eeg.pnts), int(eeg.trials), float(eeg.srate)
    check_rate(rate, str(path))
    places = np.atleast_1d(eeg.chanlocs)
    numbers = [n for n, place in enumerate(places) if str(getattr(place, "type", "")).upper() in ("EEG", "", "[]")]
    chosen = [numbers[n] for n in choose([str(places[n].labels) for n in numbers])]
    if isinstance(eeg.data, str):
        part = path.parent / eeg.data
        _check_part(part, 4 * channels * times * trials, path)
        with open_regular(part) as file:
            data = np.frombuffer(file.read(4 * channels * times), "<f4")
    else:
        data = np.asarray(eeg.data).reshape(-1, order="F")[: channels * times]
    first = data.reshape(channels, times, order="F")[chosen]  # trials come last, so that the first stands in front
    return Signals(list(first), [rate] * len(first), [1.0] * len(first))


def _first_seconds(recording: Any, chosen: list[int], samples: int, path: Path) -> np.ndarray:  # (C, time)
    epochs = not hasattr(recording, "n_times")
    times = len(recording.times) if epochs else recording.n_times
    if epochs and len(recording) == 0:
        raise InputError(f"{path} holds 0 epochs; give one with data in it.")
    values = len(chosen) * min(times, samples)
    if values > MAX_VALUES:
        raise InputError(f"{path} has {values} values in its first {samples} samples; at most {MAX_VALUES} are read.")
    if epochs:
        return np.asarray(recording[0].get_data(picks=chosen, verbose="ERROR")[0, :, :samples])
    return np.asarray(recording.get_data(picks=chosen, stop=min(times, samples), verbose="ERROR"))


def _check_parts(recording: Any, path: Path) -> None:
    """Bound the files that a recording names besides its own."""
    for part in getattr(recording, "filenames", ()):
        if part is not None and Path(part).resolve() != path.resolve():
            is_set = path.suffix.lower() == ".set"
            _check_part(Path(part), 4 * recording.n_times * len(recording.ch_names) if is_set else 1, path)


def _check_part(part: Path, declared: int, path: Path) -> None:
    """Refuse a data file that lies elsewhere, is no regular file, or has fewer bytes than declared."""
    if not part.resolve().is_relative_to(path.parent.resolve()):
        raise InputError(f"{path} names the data file {part}, which is not inside its own folder; put it there.")
    held = check_file(part)
    if held < declared:
        raise InputError(f"{part} should have {declared} bytes, by {path}, but has {held}; it is truncated.")


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
