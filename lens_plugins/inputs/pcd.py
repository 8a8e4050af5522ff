"""Clouds of the Point Cloud Library (.pcd), versions .5 to .7: ascii, binary and binary_compressed."""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files.opening import parsing, read_bytes
from .rows import RowReader, truncated

__all__ = ["read_pcd"]

_log = logging.getLogger(__name__)
_DTYPES = {
    f"{letter}{size}": f"<{kind}{size}"
    for letter, kind, sizes in (("F", "f", (4, 8)), ("I", "i", (1, 2, 4, 8)), ("U", "u", (1, 2, 4, 8)))
    for size in sizes
}
_MAX_HEADER = 65536  # bytes
_MAX_COUNT = 65536  # values in one field of a point; the longest descriptors have some thousands
_MAX_LZF = 88  # bytes that one byte of LZF becomes at most: 264 of 3


@dataclass(frozen=True)
class _Header:
    names: list[str]
    formats: list[str]
    counts: list[int]
    points: int
    data: str  # "ascii", "binary" or "binary_compressed"
    lines: int

    def column(self, name: str) -> int:
        return sum(self.counts[: self.names.index(name)])

    def dtype(self, place: int) -> np.dtype:
        return np.dtype((self.formats[place], (self.counts[place],)))


def read_pcd(path: Path) -> np.ndarray:
    """x, y, z of a .pcd file: (P, 3) float64, in the sensor's own frame; its viewpoint is not applied.

    Points with NaN coordinates are left out: that is how the format marks pixels without a measurement.

    Raises:
        InputError: a header that is no PCD header, fewer points than declared, or none that was measured.
    """
    content = read_bytes(path)
    with parsing(str(path), ".pcd file"):
        header, body = _read_header(content.removeprefix(b"\xef\xbb\xbf"), path)
        points = {"ascii": _read_text, "binary": _read_binary, "binary_compressed": _read_compressed}[header.data](
            header, body, path
        )
    measured = points[~np.isnan(points).any(axis=1)]
    if not len(measured):
        raise InputError(f"{path} has {len(points)} points, all of them NaN; it needs at least 2 measured ones.")
    if len(measured) < len(points):
        _log.info("%s: %d of %d points are NaN and left out", path, len(points) - len(measured), len(points))
    return measured


def _read_header(content: bytes, path: Path) -> tuple[_Header, bytes]:
    entries: dict[str, list[str]] = {}
    position = lines = 0
    while "DATA" not in entries:
        end = content.find(b"\n", position, _MAX_HEADER)
        if end < 0:
            raise InputError(f"{path} is no .pcd file: its header has no DATA line.")
        key, *words = content[position:end].decode("ascii", "replace").split() or ["#"]
        entries[key.upper()] = words
        position, lines = end + 1, lines + 1
    try:
        return _header(entries, lines), content[position:]
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{path} has a wrong .pcd header ({error}); it needs FIELDS with x y z, SIZE, TYPE and POINTS."
        ) from error


def _header(entries: dict[str, list[str]], lines: int) -> _Header:
    names = [name.lower() for name in entries["COLUMNS" if "COLUMNS" in entries else "FIELDS"]]  # COLUMNS in version .5
    counts = [int(count) for count in entries.get("COUNT", ["1"] * len(names))]
    formats = [_DTYPES[letter.upper() + size] for letter, size in zip(entries["TYPE"], entries["SIZE"])]
    width, height = (int(entries[key][0]) if key in entries else None for key in ("WIDTH", "HEIGHT"))
    points = int(entries["POINTS"][0]) if "POINTS" in entries else (width or 0) * (1 if height is None else height)
    if width is not None and height is not None and width * height != points:
        raise ValueError(f"{width} × {height} are not {points} points")
    if not len(names) == len(counts) == len(formats) or not 1 <= min(counts) <= max(counts) <= _MAX_COUNT or points < 1:
        raise ValueError(
            f"{len(names)} fields, {len(formats)} types, {len(counts)} counts up to {max(counts)}, {points} points"
        )
    if any(names.count(axis) != 1 or counts[names.index(axis)] != 1 for axis in "xyz"):
        raise ValueError(f"fields {' '.join(names)}")
    data = entries["DATA"][0].lower()
    if data not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"DATA {data}")
    return _Header(names, formats, counts, points, data, lines)


def _read_text(header: _Header, body: bytes, path: Path) -> np.ndarray:  # -> (P, 3)
    rows = RowReader(body, path, header.lines + 1)
    columns, width = [header.column(axis) for axis in "xyz"], sum(header.counts)
    points = np.concatenate([piece.columns(columns, path, width) for piece in rows.take(header.points, "points")])
    if more := rows.left():
        raise InputError(f"{path} declares {header.points} points but has {header.points + more}; it is damaged.")
    return points


def _read_binary(header: _Header, body: bytes, path: Path) -> np.ndarray:  # -> (P, 3)
    record = np.dtype([(str(i), header.dtype(i)) for i in range(len(header.names))])
    if header.points * record.itemsize > len(body):
        raise truncated(path, header.points, f"points of {record.itemsize} bytes", len(body) // record.itemsize)
    records = np.frombuffer(body, record, count=header.points)
    return np.stack([records[str(header.names.index(axis))][:, 0] for axis in "xyz"], axis=1).astype(np.float64)


def _read_compressed(header: _Header, body: bytes, path: Path) -> np.ndarray:  # -> (P, 3)
    """Two sizes, then LZF: all values of the first field, then all of the second, and so on."""
    if len(body) < 8:
        raise truncated(path, header.points, "points", 0)
    packed, unpacked = struct.unpack_from("<II", body)
    if packed > len(body) - 8:
        raise truncated(path, packed, "packed bytes", len(body) - 8)
    sizes = [header.dtype(i).itemsize * header.points for i in range(len(header.names))]
    # padding, called _, is left out of what is packed by most writers
    kept = [size if unpacked == sum(sizes) or name != "_" else 0 for name, size in zip(header.names, sizes)]
    if unpacked != sum(kept) or unpacked > _MAX_LZF * packed:
        raise InputError(
            f"{path} declares {header.points} points of {sum(sizes) // header.points} bytes but {unpacked} bytes "
            f"unpacked from {packed}; it is damaged."
        )
    content = _unpack_lzf(body[8 : 8 + packed], unpacked, path)
    columns = []
    for axis in "xyz":
        place = header.names.index(axis)
        columns.append(np.frombuffer(content, header.formats[place], header.points, sum(kept[:place])))
    return np.stack(columns, axis=1).astype(np.float64)


def _unpack_lzf(packed: bytes, size: int, path: Path) -> bytes:
    """LibLZF's format: a byte below 32 announces literals, any other a copy of bytes that stand already."""
    found = bytearray()
    at, end = 0, len(packed)
    while at < end:
        control = packed[at]
        at += 1
        if control < 32:  # literals, one more than it says
            found += packed[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7 and at < end:  # a longer copy says so in a byte of its own
            length += packed[at]
            at += 1
        start = len(found) - ((control & 31) << 8) - (packed[at] if at < end else 0) - 1
        at += 1
        if start < 0 or len(found) > size:
            break
        whole = found[start : start + length + 2]
        while len(whole) < length + 2:  # a copy may run into itself: a pattern that repeats
            whole += whole[: length + 2 - len(whole)]
        found += whole
    if len(found) != size or at != end:
        raise InputError(f"{path} declares {size} unpacked bytes but has {len(found)}; it is truncated or damaged.")
    return bytes(found)
