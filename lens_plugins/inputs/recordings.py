"""EEG recordings as mne reads them. Runs in a worker process (`files.isolated`): mne's and scipy's parsers trust files.

Nothing here imports torch, so that a worker starts in the time of importing mne.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import mne
import numpy as np
import scipy.io

from ..errors import InputError
from ..files.opening import check_file, open_regular, read_bytes
from .electrodes import check_rate, choose_channels
from .fiff import check_tags
from .matlab import check_matlab

__all__ = ["read_recording"]

_MAX_VALUES = 2**27
_MAX_INFLATED = 2**29  # bytes; a worker may take three times as much
_OTHER_FIF = ("measurement data", "epochs data", "event data")  # mne finds none in averages, events, covariances


def read_recording(file: str, channels: int, names: Sequence[str], seconds: float) -> dict[str, Any]:
    """The first seconds of the EEG channels of a .fif or .set recording, or its first epoch.

    Args:
        file: its path; a .set may keep its data in a second file, in the same folder.
        channels: how many EEG channels there must be.
        names: their electrodes, where the lens names them; see `electrodes.choose_channels`.
        seconds: how much is read at most.

    Returns:
        ``data`` (C, time), ``rate`` in Hz, ``scale``, the microvolts that 1 means, None where that is open, and
        ``until``, where the reading stopped, for messages.

    Raises:
        InputError: another number of channels, a sample rate that no recording has, no recording in the file, or a data
            file that is truncated or outside the recording's own folder.
    """
    path = Path(file)
    eeglab = path.suffix.lower() == ".set"
    if eeglab:
        check_matlab(read_bytes(path), str(path), _MAX_INFLATED)
    else:
        check_tags(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about naming conventions, and annotations that we do not use
        recording = _open_set(path) if eeglab else _open_fif(path)
        if recording is None:
            return _first_trial(path, channels, names)
        numbers = [n for n, kind in enumerate(recording.get_channel_types()) if kind == "eeg"]
        chosen = choose_channels([recording.ch_names[n] for n in numbers], channels, names, path)
        rate = float(recording.info["sfreq"])
        check_rate(rate, str(path))
        _check_parts(recording, path)
        whole = round(seconds * rate)
        cut = _first_cut(recording, rate)
        data = _first_seconds(recording, [numbers[n] for n in chosen], whole if cut is None else min(cut, whole), path)
    # EEGLAB's files are in microvolts, which mne makes volts; those of .fif are volts, or z-scored all the same
    until = f", up to its cut after {cut / rate:g} s," if cut is not None and cut < whole else ""
    return {"data": data, "rate": rate, "scale": 1e6 if eeglab else None, "until": until}


def _first_cut(recording: Any, rate: float) -> int | None:
    """The first sample behind which something was cut out or joined on, as EEGLAB and mne mark it; None: nowhere."""
    if isinstance(recording, mne.BaseEpochs):
        return None
    notes = recording.annotations
    began = recording.first_time if notes.orig_time is not None else 0.0
    marked = [onset - began for onset, word in zip(notes.onset, notes.description) if "boundary" in str(word).lower()]
    cuts = [round(seconds * rate) for seconds in marked]
    return min((cut for cut in cuts if 0 < cut < recording.n_times), default=None)


def _open_set(path: Path) -> Any | None:  # mne's Raw, its data not yet read; None where there are several trials
    try:
        return mne.io.read_raw_eeglab(path, preload=False, verbose="ERROR")
    except TypeError as error:  # "The number of trials is 4. It must be 1 for raw files."
        if "number of trials" in str(error):
            return None
        raise


def _open_fif(path: Path) -> Any:  # mne's Raw or Epochs, its data not yet read
    try:
        try:
            return mne.io.read_raw_fif(path, preload=False, verbose="ERROR")
        except ValueError as error:
            if "No raw data" not in str(error):
                raise
        return mne.read_epochs(path, preload=False, verbose="ERROR")
    except ValueError as error:
        if not any(said in str(error) for said in _OTHER_FIF):
            raise
        raise InputError(
            f"{path} holds neither a continuous recording nor epochs (perhaps an average, or events); give the "
            "recording itself."
        ) from error


def _first_seconds(recording: Any, chosen: list[int], samples: int, path: Path) -> np.ndarray:  # (C, time)
    epochs = isinstance(recording, mne.BaseEpochs)
    if epochs and len(recording) == 0:
        raise InputError(f"{path} holds 0 epochs; give one with data in it.")
    samples = min(samples, len(recording.times) if epochs else recording.n_times)
    if len(chosen) * samples > _MAX_VALUES:
        raise InputError(f"{path} has {len(chosen) * samples} values to read; at most {_MAX_VALUES} are.")
    if epochs:
        return np.asarray(recording[0].get_data(picks=chosen, verbose="ERROR")[0, :, :samples])
    return np.asarray(recording.get_data(picks=chosen, stop=samples, verbose="ERROR"))


def _first_trial(path: Path, channels: int, names: Sequence[str]) -> dict[str, Any]:
    """Of a .set with several trials; mne would read all of them."""
    content = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)
    eeg = content.get("EEG") or SimpleNamespace(**content)  # both layouts are in use
    width, times, trials, rate = int(eeg.nbchan), int(eeg.pnts), int(eeg.trials), float(eeg.srate)
    places = np.atleast_1d(eeg.chanlocs)
    if len(places) != width:  # places of electrodes may be left out
        places = np.array([SimpleNamespace(labels=str(n + 1)) for n in range(width)])
    numbers = [n for n, place in enumerate(places) if str(getattr(place, "type", "")).upper() in ("EEG", "", "[]")]
    chosen = choose_channels([str(places[n].labels) for n in numbers], channels, names, path)
    check_rate(rate, str(path))
    if isinstance(eeg.data, str):
        part = path.parent / eeg.data
        if not part.exists() and path.with_suffix(part.suffix).is_file():
            part = path.with_suffix(part.suffix)  # both files were renamed
        _check_part(part, 4 * width * times * trials, path)
        with open_regular(part) as file:
            # a .fdt has all channels of one moment together, a .dat all moments of one channel
            data = (
                _first_of_each(file, width, times, trials)
                if part.suffix.lower() == ".dat"
                else np.frombuffer(file.read(4 * width * times), "<f4")
            )
    else:
        data = np.asarray(eeg.data).reshape(-1, order="F")[: width * times]
    first = data.reshape(width, times, order="F").astype(
        np.float64
    )  # trials come last, so that the first stands in front
    return {"data": first[[numbers[n] for n in chosen]], "rate": rate, "scale": 1.0}


def _first_of_each(file: BinaryIO, width: int, times: int, trials: int) -> np.ndarray:
    """The first trial of every channel, in the order of a .fdt: (times · width,)."""
    rows = []
    for channel in range(width):
        file.seek(4 * channel * times * trials)
        rows.append(np.frombuffer(file.read(4 * times), "<f4"))
    return np.stack(rows, 1).reshape(-1)


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
