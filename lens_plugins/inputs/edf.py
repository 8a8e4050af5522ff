"""EDF and BDF recordings: 16 and 24 bits of each sample, with the range and the unit of each channel in the header.

mne reads these too, but gives neither the records that a header declares, nor what it made of units that it does not
know, nor gaps: it joins them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError
from ..files.opening import MAX_FILE_BYTES, open_regular, parsing
from .arrays import MAX_VALUES
from .electrodes import Choose, Signals, check_rate, microvolts

__all__ = ["read_edf"]

_MAX_BYTES = 8 * MAX_FILE_BYTES  # hours of 128 channels; only their beginning is read
_WIDTHS = {"label": 16, "sensor": 80, "unit": 8, "low": 8, "high": 8, "least": 8, "most": 8, "filter": 80, "samples": 8}
_RANGES = ("low", "high", "least", "most")  # physical, physical, digital, digital
_BLOCK = 2**24  # bytes read at a time
_SLACK = 0.002  # seconds that the time of a record may be off: programs round it


@dataclass(frozen=True)
class _Header:
    labels: list[str]
    units: list[str]
    gains: list[float]  # physical units of one digital one
    offsets: list[float]  # physical units
    samples: list[int]  # of each channel in a record
    records: int
    seconds: float  # of a record
    start: int  # bytes before the first record
    width: int  # bytes of a sample
    broken: bool  # EDF+D: records need not follow each other

    @property
    def places(self) -> list[int]:
        """The first byte of each channel in a record, and at the end the bytes of a whole one."""
        return list(accumulate((count * self.width for count in self.samples), initial=0))


def read_edf(path: Path, choose: Choose, seconds: float) -> Signals:
    """The first seconds of a recording, up to its first gap.

    Args:
        path: a .edf or .bdf file, plain, EDF+C or EDF+D.
        choose: which of the channels, by their labels; those of another unit than voltage are not among them.
        seconds: how many are read.

    Raises:
        InputError: no such recording, truncated, or what `choose` raises.
    """
    with open_regular(path, _MAX_BYTES) as file, parsing(str(path), f"{path.suffix} recording"):
        header = _read_header(file, path)
        signals = [number for number, label in enumerate(header.labels) if not label.endswith(" Annotations")]
        voltages = [number for number in signals if microvolts(header.units[number])]
        unnamed = [number for number in signals if not header.units[number]]
        # a file whose channels all have other units means something by them; beside volts, degrees are no EEG
        candidates = sorted({*voltages, *unnamed}) if voltages else signals
        chosen = [candidates[number] for number in choose([header.labels[number] for number in candidates])]
        rates = [header.samples[number] / header.seconds for number in chosen]
        for rate in rates:
            check_rate(rate, str(path))
        records = min(header.records, max(1, round(seconds / header.seconds)))
        values = records * sum(header.samples[number] for number in chosen)
        if values > MAX_VALUES:
            raise InputError(f"{path} has {values} values in {records} records; at most {MAX_VALUES} are read.")
        rows, times = _read_records(file, header, chosen, records)
        whole = _before_gap(times, header) if header.broken else records
        if whole < records:
            rows = [row[: whole * header.samples[number]] for row, number in zip(rows, chosen)]
    until = f", up to its gap after {whole * header.seconds:g} s," if whole < records else ""
    return Signals(rows, rates, [microvolts(header.units[number]) for number in chosen], until)


def _read_header(file: BinaryIO, path: Path) -> _Header:
    fixed = file.read(256)
    count = _whole(fixed[252:256])
    fields = {name: _strings(file.read(width * count), width) for name, width in _WIDTHS.items()}
    kind, seconds, samples = fixed[192:236], _number(fixed[244:252]), [_whole(text) for text in fields["samples"]]
    start, width = 256 * (count + 1), 3 if fixed[:1] == b"\xff" else 2  # b"\xffBIOSEMI", whatever the name says
    record = sum(samples) * width
    if min(samples, default=-1) < 0 or record == 0 or not seconds > 0:
        raise InputError(
            f"{path} has {count} channels in records of {record} bytes and {seconds:g} s; all must be above 0."
        )
    held = max(os.fstat(file.fileno()).st_size - start, 0) // record
    declared = _whole(fixed[236:244])
    if declared > held or held == 0:
        raise InputError(f"{path} declares {declared} records of {seconds:g} s but holds {held}; it is truncated.")
    low, high, least, most = ([_number(text or "0") for text in fields[name]] for name in _RANGES)
    # a channel without a range, such as an annotation's, keeps its digital values, as other readers have it
    gains = [(b - a) / (d - c) if b != a and d != c else 1.0 for a, b, c, d in zip(low, high, least, most)]
    offsets = [a - gain * c for a, gain, c in zip(low, gains, least)]
    labels, units = fields["label"], fields["unit"]
    return _Header(labels, units, gains, offsets, samples, held, seconds, start, width, kind[3:5] == b"+D")


def _strings(content: bytes, width: int) -> list[str]:
    return [content[at : at + width].decode("latin-1").strip(" \0\t\r\n") for at in range(0, len(content), width)]


def _whole(text: str | bytes) -> int:
    return int((text.decode("latin-1") if isinstance(text, bytes) else text).strip(" \0"))


def _number(text: str | bytes) -> float:
    return float((text.decode("latin-1") if isinstance(text, bytes) else text).strip(" \0").replace(",", "."))


def _read_records(
    file: BinaryIO, header: _Header, chosen: Sequence[int], records: int
) -> tuple[np.ndarray | list[np.ndarray], list[float | None]]:  # rows; when each record begins, in seconds
    places, counts = header.places, [header.samples[number] for number in chosen]
    rows: np.ndarray | list[np.ndarray]
    if len(set(counts)) == 1:
        rows = np.empty((len(counts), records * counts[0]))
    else:
        rows = [np.empty(records * count) for count in counts]
    clock = next((number for number, label in enumerate(header.labels) if label.endswith(" Annotations")), None)
    times: list[float | None] = []
    file.seek(header.start)
    at_once = max(1, _BLOCK // places[-1])
    for first in range(0, records, at_once):
        block = np.frombuffer(file.read(min(at_once, records - first) * places[-1]), np.uint8).reshape(-1, places[-1])
        for row, number, count in zip(rows, chosen, counts):
            digital = _integers(block[:, places[number] : places[number + 1]], header.width)  # (records, samples)
            here = row[first * count : (first + len(block)) * count].reshape(digital.shape)
            np.multiply(digital, header.gains[number], out=here)
            here += header.offsets[number]
        if clock is not None:
            times += [_onset(record.tobytes()) for record in block[:, places[clock] : places[clock + 1]]]
    return rows, times


def _integers(block: np.ndarray, width: int) -> np.ndarray:  # (records, bytes) -> (records, samples)
    if width == 2:
        return np.ascontiguousarray(block).view("<i2")
    wide = np.zeros((*block.shape[:1], block.shape[1] // 3, 4), np.uint8)
    wide[..., 1:] = block.reshape(len(block), -1, 3)  # as the upper three bytes, so that the sign is theirs
    return wide.view("<i4")[..., 0] >> 8


def _onset(annotations: bytes) -> float | None:
    """When a record begins: the first of its annotations is "+12.5\\x14\\x14\\0"."""
    text = annotations.partition(b"\x14")[0]
    try:
        return float(text)
    except ValueError:
        return None


def _before_gap(times: Sequence[float | None], header: _Header) -> int:
    """How many records follow each other without a gap."""
    if not times:
        return header.records
    for number, (before, after) in enumerate(pairwise(times), start=1):
        if before is not None and after is not None and abs(after - before - header.seconds) > _SLACK:
            return number
    return len(times)
