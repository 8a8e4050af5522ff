"""Plain scans that trimesh does not read: .xyz (text columns) and .pcd (Point Cloud Library)."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files.opening import read_bytes

__all__ = ["read_pcd", "read_xyz"]

_DTYPES = {
    f"{letter}{size}": f"<{kind}{size}"
    for letter, kind, sizes in (("F", "f", (4, 8)), ("I", "i", (1, 2, 4, 8)), ("U", "u", (1, 2, 4, 8)))
    for size in sizes
}
_PCD_HEADER_BYTES = 65536


def read_xyz(path: Path) -> np.ndarray:
    """The first three columns of a text file: (P, 3) float64. Spaces, tabs, commas or semicolons; # comments.

    Raises:
        InputError: no text, fewer than three columns, or a word among the numbers.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text ({error}); an .xyz file has lines of three numbers.") from error
    return _columns(text.replace(",", " ").replace(";", " "), (0, 1, 2), path)


@dataclass(frozen=True)
class _PcdHeader:
    names: list[str]
    formats: list[str]
    counts: list[int]
    points: int
    data: str  # "ascii", "binary" or "binary_compressed"

    def column(self, name: str) -> int:
        return sum(self.counts[: self.names.index(name)])


def read_pcd(path: Path) -> np.ndarray:
    """x, y, z of a .pcd file (version 0.7, ascii or binary): (P, 3) float64, in the sensor's own frame.

    Points with NaN coordinates are left out: that is how the format marks pixels without a measurement.

    Raises:
        InputError: a header that is no PCD header, compressed data, or fewer points than declared.
    """
    content = read_bytes(path)
    header, body = _split_pcd(content, path)
    if header.data == "ascii":
        columns = tuple(header.column(axis) for axis in "xyz")
        points = _columns(body.decode("ascii", "replace"), columns, path)
    elif header.data == "binary":
        points = _binary_points(header, body, path)
    else:
        raise InputError(
            f"{path} has DATA {header.data}, which is not read; give ascii or binary: "
            f"pcl_convert_pcd_ascii_binary {path.name} out.pcd 1"
        )
    if len(points) < header.points:
        raise InputError(f"{path} declares {header.points} points but has {len(points)}; it is truncated.")
    points = points[: header.points]
    return points[~np.isnan(points).any(axis=1)]


def _split_pcd(content: bytes, path: Path) -> tuple[_PcdHeader, bytes]:
    entries: dict[str, list[str]] = {}
    position = 0
    while "DATA" not in entries:
        end = content.find(b"\n", position, _PCD_HEADER_BYTES)
        if end < 0:
            raise InputError(f"{path} is no .pcd file: its header has no DATA line.")
        key, *words = content[position:end].decode("ascii", "replace").split() or ["#"]
        entries[key] = words
        position = end + 1
    try:
        return _pcd_header(entries), content[position:]
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{path} has a wrong .pcd header ({error}); it needs FIELDS with x y z, SIZE, TYPE and POINTS."
        ) from error


def _pcd_header(entries: dict[str, list[str]]) -> _PcdHeader:
    names = entries["FIELDS"]
    counts = [int(count) for count in entries.get("COUNT", ["1"] * len(names))]
    formats = [_DTYPES[letter + size] for letter, size in zip(entries["TYPE"], entries["SIZE"])]
    points = int(entries["POINTS"][0])
    if not len(names) == len(counts) == len(formats) or min(counts) < 1 or points < 1:
        raise ValueError(f"{len(names)} fields, {len(formats)} types, {len(counts)} counts, {points} points")
    if any(names.count(axis) != 1 or counts[names.index(axis)] != 1 for axis in "xyz"):
        raise ValueError(f"fields {' '.join(names)}")
    return _PcdHeader(names, formats, counts, points, entries["DATA"][0].lower())


def _binary_points(header: _PcdHeader, body: bytes, path: Path) -> np.ndarray:
    record = np.dtype([(str(i), f, (c,)) for i, (f, c) in enumerate(zip(header.formats, header.counts))])
    if header.points * record.itemsize > len(body):
        raise InputError(
            f"{path} declares {header.points} points of {record.itemsize} bytes but has {len(body)} bytes of them; "
            "it is truncated."
        )
    records = np.frombuffer(body, record, count=header.points)
    return np.stack([records[str(header.names.index(axis))][:, 0] for axis in "xyz"], axis=1).astype(np.float64)


def _columns(text: str, columns: tuple[int, ...], path: Path) -> np.ndarray:
    if not text.strip():
        raise InputError(f"{path} has no points; give lines of at least three numbers.")
    try:
        return np.loadtxt(StringIO(text), usecols=columns, ndmin=2)
    except (ValueError, IndexError) as error:
        raise InputError(f"{path} is not lines of at least three numbers ({error}).") from error
