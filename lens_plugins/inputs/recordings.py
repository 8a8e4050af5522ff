"""EEG recordings as mne reads them. Runs in a worker process (`files.isolated`): mne's and scipy's parsers trust files.

Nothing here imports torch, so that a worker starts in the time of importing mne.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import mne

from ..errors import InputError

__all__ = ["read_recording"]

_READERS = {
    ".edf": mne.io.read_raw_edf,
    ".bdf": mne.io.read_raw_bdf,
    ".fif": mne.io.read_raw_fif,
    ".set": mne.io.read_raw_eeglab,
}


def read_recording(file: str, channels: int, rates: tuple[float, float], seconds: float) -> dict[str, Any]:
    """The first seconds of a recording's EEG channels.

    Args:
        file: one of `_READERS`.
        channels: how many EEG channels there must be.
        rates: the lowest and the highest sample rate that is read, Hz.
        seconds: how much is read at most.

    Returns:
        ``data`` (C, time), in volts where the file says so; ``rate`` in Hz; ``samples`` of the whole recording.
        No ``data`` where the number of channels is another: ``channels`` says which.

    Raises:
        InputError: a sample rate outside `rates`, or a data file outside the recording's own folder.
    """
    path = Path(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about naming conventions, and annotations that we do not use
        raw = _READERS[path.suffix.lower()](path, preload=False, verbose="ERROR")
        picks = mne.pick_types(raw.info, meg=False, eeg=True, exclude=())
        rate = float(raw.info["sfreq"])
        if not rates[0] <= rate <= rates[1]:
            raise InputError(f"{path} has a sample rate of {rate} Hz; it must be {rates[0]} to {rates[1]}.")
        found = {"channels": len(picks), "samples": int(raw.n_times), "rate": rate}
        if len(picks) != channels:
            return found
        _check_data_files(raw, path)
        return {
            **found,
            "data": raw.get_data(picks=picks, stop=min(raw.n_times, round(seconds * rate)), verbose="ERROR"),
        }


def _check_data_files(raw: Any, path: Path) -> None:
    folder = path.parent.resolve()
    for part in raw.filenames:  # a .set may keep its data in a second file
        if part is not None and not Path(part).resolve().is_relative_to(folder):
            raise InputError(f"{path} names the data file {part}, which is not inside its own folder; put it there.")
