"""Polygon File Format (.ply), ASCII and binary: vertices, faces of any size and triangle strips."""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from ..errors import InputError
from .rows import RowReader, Rows, ragged, truncated

__all__ = ["PlyContent", "read_ply", "read_ply_fields"]

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "int64": "i8", "uint64": "u8", "float32": "f4", "float64": "f8",
}  # fmt: skip
_Order: TypeAlias = Literal["=", "<", ">"]
_ORDERS: dict[str, _Order] = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_CORNERS = ("vertex_indices", "vertex_index", "vertex_indexes", "vertex_indicies", "indices")
_MAX_HEADER = 2**20
_MAX_RAGGED = 20_000_000  # rows that are walked one by one


@dataclass(frozen=True)
class _Property:
    name: str
    dtype: np.dtype
    length: np.dtype | None = None  # of a list: the type of the number in front of it


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: list[_Property]

    def find(self, names: tuple[str, ...]) -> int | None:
        """The place of the first property that has one of these names."""
        return next((i for name in names for i, p in enumerate(self.properties) if p.name == name), None)


@dataclass(frozen=True, eq=False)
class PlyContent:
    """Vertices (V, 3) float64, corners (M,), corners of each face (F,), and single numbers by property name."""

    vertices: np.ndarray
    corners: np.ndarray
    counts: np.ndarray
    of_vertices: dict[str, np.ndarray]  # (V,) each, as stored
    of_faces: dict[str, np.ndarray]  # (F,) each


def read_ply(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64, corners (M,) int64 counted from 0, and how many corners each face has (F,).

    Other elements and properties are passed over, and so are bytes after the last element.

    Raises:
        InputError: a header that is none, no x, y and z, faces without indices, or fewer elements than declared.
    """
    found = read_ply_fields(content, path, ())
    return found.vertices, found.corners, found.counts


def read_ply_fields(content: bytes, path: Path, names: Collection[str]) -> PlyContent:
    """`read_ply` with further properties: those of vertices and faces that are single numbers and have these names.

    Args:
        content: the file.
        path: its name, for messages.
        names: in small letters, as property names are compared; those that the file lacks are passed over.

    Raises:
        InputError: as `read_ply`.
    """
    content = content.removeprefix(b"\xef\xbb\xbf")
    elements, order, start, lines = _read_header(content, path)
    wanted = {element.name: _wanted(element, path, names) for element in elements}
    if "vertex" not in wanted:
        raise InputError(f"{path} has no element vertex; its elements are {', '.join(wanted) or 'none'}.")
    reader: _TextReader | _BinaryReader
    if order == "=":
        reader = _TextReader(content[start:], lines, path)
    else:
        reader = _BinaryReader(content, start, order, path)
    vertices, corners, counts = np.zeros((0, 3)), [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    fields: dict[str, dict[str, np.ndarray]] = {"vertex": {}, "face": {}}
    for element in elements:
        found = reader.take(element, wanted[element.name])
        own = 3 if element.name == "vertex" else 1
        if element.name == "vertex":
            vertices = np.stack([values.astype(np.float64) for values, _ in found[:3]], 1)
        elif found:
            faces = _strips(*found[0]) if element.name == "tristrips" else found[0]
            corners.append(_whole(faces[0], path))
            counts.append(faces[1])
        for place, (values, _) in zip(wanted[element.name][own:], found[own:]):
            fields[element.name][element.properties[place].name] = values
    return PlyContent(vertices, np.concatenate(corners), np.concatenate(counts), fields["vertex"], fields["face"])


def _read_header(content: bytes, path: Path) -> tuple[list[_Element], _Order, int, int]:
    """The elements, their byte order ("=": text), where the data begins, and how many lines stand above it."""
    first = re.match(rb"ply[ \t]*(\r\n|\n|\r)", content)
    if first is None:
        raise InputError(f"{path} is not a .ply file: it does not start with ply.")
    newline = b"\r" if first[1] == b"\r" else b"\n"
    elements: list[_Element] = []
    order: _Order | None = None
    start = lines = 0
    while True:
        end = content.find(newline, start, _MAX_HEADER)
        if end < 0:
            raise InputError(f"{path} is not a .ply file: its header has no line end_header.")
        words = content[start:end].decode("utf-8", "replace").split() or ["comment"]
        start, lines = end + 1, lines + 1
        if words[0] == "end_header":
            break
        try:
            order = _ORDERS[words[1]] if words[0] == "format" else order
            _read_header_line(words, elements)
        except (KeyError, ValueError, IndexError) as error:
            raise InputError(
                f"{path} has a wrong .ply header in line {lines}: {' '.join(words)[:80]!r} is no line of one."
            ) from error
    names = [element.name for element in elements]
    if order is None or len(set(names)) < len(names):
        raise InputError(f"{path} has a wrong .ply header: no line format, or two elements of one name.")
    return elements, order, start, lines


def _read_header_line(words: list[str], elements: list[_Element]) -> None:
    if words[0] == "element":
        if not words[2].isdecimal():
            raise ValueError
        elements.append(_Element(words[1].lower(), int(words[2][:18]), []))
    elif words[0] == "property" and words[1] == "list":
        length = np.dtype(_TYPES[words[2]])
        if length.kind == "f":
            raise ValueError
        elements[-1].properties.append(_Property(words[4].lower(), np.dtype(_TYPES[words[3]]), length))
    elif words[0] == "property":
        elements[-1].properties.append(_Property(words[2].lower(), np.dtype(_TYPES[words[1]])))
    elif words[0] not in ("ply", "format", "comment", "obj_info"):
        raise ValueError


def _wanted(element: _Element, path: Path, names: Collection[str]) -> list[int]:
    """Which properties are read: x, y, z of vertices or the corners of faces and strips, then those with `names`."""
    all_names = [p.name for p in element.properties]
    extra = [i for i, p in enumerate(element.properties) if p.name in names and p.length is None]
    if element.name == "vertex":
        places = [element.find((axis,)) for axis in "xyz"]
        if any(place is None or element.properties[place].length is not None for place in places):
            raise InputError(f"{path} has vertices without x, y and z; their properties are {', '.join(all_names)}.")
        return [place for place in places if place is not None] + extra
    if element.name not in ("face", "tristrips") or not element.count:
        return []
    lists = [i for i, p in enumerate(element.properties) if p.length is not None]
    named = [i for i in lists if all_names[i] in _CORNERS]
    lists = [i for i in lists if element.properties[i].dtype.kind in "iu"]
    if not named and len(lists) != 1:
        raise InputError(f"{path} has faces without vertex_indices; their properties are {', '.join(all_names)}.")
    return (named or lists)[:1] + (extra if element.name == "face" else [])


_Values: TypeAlias = tuple[np.ndarray, np.ndarray]  # values, one element after another; how many each has


# of a list: bytes in front of it, how its length is read, the width of the length and of a value
_Step: TypeAlias = "tuple[int, Callable[[bytes, int], tuple[int, ...]], int, int]"


class _TextReader:
    """Elements of an ASCII file: one line each."""

    def __init__(self, body: bytes, lines: int, path: Path) -> None:
        self._rows = RowReader(body.replace(b"\r", b"\n"), path, lines + 1)
        self._path = path

    def take(self, element: _Element, wanted: list[int]) -> list[_Values]:
        what = f"{element.name} elements"
        if not wanted:
            self._rows.skip(element.count if element.properties else 0, what)
            return []
        whole = all(p.dtype.kind in "iu" for p in element.properties)
        pieces = self._rows.take(element.count, what, np.int64 if whole else np.float64)
        found = [[(np.zeros(0), np.zeros(0, np.int64))] * len(wanted)]
        found += [_text_values(rows, element, wanted, self._path) for rows in pieces]
        return [
            (np.concatenate([values for values, _ in pieces]), np.concatenate([counts for _, counts in pieces]))
            for pieces in zip(*found)
        ]


def _text_values(rows: Rows, element: _Element, wanted: list[int], path: Path) -> list[_Values]:
    found: dict[int, _Values] = {}
    at, ends = rows.starts, rows.starts + rows.counts
    for i, prop in enumerate(element.properties):
        counts = np.ones_like(at)
        short = at >= ends
        if prop.length is not None and not short.any():
            lengths, at = rows.values[at], at + 1
            short = ~((lengths >= 0) & (lengths <= ends - at))
            counts = np.where(short, 0, lengths).astype(np.int64)
        if short.any():
            row = int(np.flatnonzero(short)[0])
            raise InputError(
                f"{path} has {rows.counts[row]} numbers in line {rows.lines[row]}, too few for the property "
                f"{prop.name} of {element.name}; it is truncated or damaged."
            )
        if i in wanted:
            found[i] = rows.values[ragged(at, counts)], counts
        at = at + counts
    return [found[i] for i in wanted]


class _BinaryReader:
    """Elements of a binary file, from a position on."""

    def __init__(self, content: bytes, start: int, order: _Order, path: Path) -> None:
        self._content, self._at, self._order, self._path = content, start, order, path

    def take(self, element: _Element, wanted: list[int]) -> list[_Values]:
        left = len(self._content) - self._at
        sizes = self._first_lengths(element)
        fields = [_fields(i, p, size, self._order) for i, (p, size) in enumerate(zip(element.properties, sizes))]
        record = np.dtype([field for both in fields for field in both])
        has_lists = any(p.length is not None for p in element.properties)
        if not has_lists and element.count * record.itemsize > left:
            raise truncated(self._path, element.count, f"{element.name} elements", left // record.itemsize)
        if element.count * record.itemsize <= left and record.itemsize:
            # one length for all lists, as in a mesh of triangles: rows of one size
            rows = np.frombuffer(self._content, record, element.count, self._at)
            if all((rows[f"n{i}"] == sizes[i]).all() for i, p in enumerate(element.properties) if p.length is not None):
                self._at += element.count * record.itemsize
                return [(rows[str(i)].reshape(-1), np.full(element.count, sizes[i])) for i in wanted]
        return self._take_ragged(element, wanted) if has_lists else []

    def _first_lengths(self, element: _Element) -> list[int]:
        """How many values each property of the first row has; 1 where it cannot be told."""
        sizes, at = [], self._at
        for p in element.properties:
            count = 1
            if p.length is not None and element.count and at + p.length.itemsize <= len(self._content):
                count = int(np.frombuffer(self._content, p.length.newbyteorder(self._order), 1, at)[0])
                at += p.length.itemsize
                count = count if 0 <= count * p.dtype.itemsize <= len(self._content) - at else 1
            sizes.append(count)
            at += count * p.dtype.itemsize
        return sizes

    def _take_ragged(self, element: _Element, wanted: list[int]) -> list[_Values]:
        at, lengths = self._walk(element)
        columns = iter(lengths.T)
        found: dict[int, _Values] = {}
        for i, p in enumerate(element.properties):
            counts = np.ones_like(at)
            if p.length is not None:
                at, counts = at + p.length.itemsize, next(columns)
            if i in wanted:
                dtype = p.dtype.newbyteorder(self._order)
                # a view of the bytes that begins at every one of them, so that values at odd places are picked
                shape = (len(self._content) - dtype.itemsize + 1,)
                everywhere: np.ndarray = np.ndarray(shape, dtype, self._content, 0, (1,))
                places = np.repeat(at, counts) + dtype.itemsize * ragged(np.zeros_like(counts), counts)
                found[i] = everywhere[places], counts
            at = at + counts * p.dtype.itemsize
        self._at = int(at[-1])
        return [found[i] for i in wanted]

    def _walk(self, element: _Element) -> tuple[np.ndarray, np.ndarray]:
        """Where each row begins (R,), and the length of each of its lists (R, L)."""
        if element.count > _MAX_RAGGED:
            raise InputError(f"{self._path} declares {element.count} rows of {element.name}; at most {_MAX_RAGGED}.")
        steps, tail = self._steps(element)
        content, at, end = self._content, self._at, len(self._content)
        begins, lengths = array("q"), array("q")
        for row in range(element.count):
            begins.append(at)
            for lead, unpack, width, size in steps:
                at += lead + width
                if at > end:
                    raise truncated(self._path, element.count, f"{element.name} elements", row)
                (length,) = unpack(content, at - width)
                if length < 0:
                    raise InputError(f"{self._path} has a list of {length} values in {element.name} {row + 1}.")
                lengths.append(length)
                at += length * size
            at += tail
            if at > end:
                raise truncated(self._path, element.count, f"{element.name} elements", row)
        return np.array(begins), np.array(lengths).reshape(element.count, len(steps))

    def _steps(self, element: _Element) -> tuple[list[_Step], int]:
        """How each list of a row is reached, and how many bytes follow the last."""
        steps: list[_Step] = []
        lead = 0
        for p in element.properties:
            if p.length is None:
                lead += p.dtype.itemsize
            else:
                code = "bBhHiIqQ"[2 * (p.length.itemsize.bit_length() - 1) + (p.length.kind == "u")]
                unpack = struct.Struct(self._order + code).unpack_from
                steps.append((lead, unpack, p.length.itemsize, p.dtype.itemsize))
                lead = 0
        return steps, lead


def _fields(place: int, p: _Property, length: int, order: _Order) -> list[tuple[str, np.dtype, tuple[int, ...]]]:
    values = (str(place), p.dtype.newbyteorder(order), (length,))
    return [values] if p.length is None else [(f"n{place}", p.length.newbyteorder(order), ()), values]


def _whole(values: np.ndarray, path: Path) -> np.ndarray:
    """Corners as whole numbers, also where a program stores them as floats."""
    whole = values.astype(np.int64) if values.dtype.kind in "iu" or np.isfinite(values).all() else None
    if whole is None or (whole != values).any():
        raise InputError(f"{path} has a face whose corners are no whole numbers.")
    return whole


def _strips(values: np.ndarray, counts: np.ndarray) -> _Values:
    """Triangle strips, -1 between them, as faces of three corners: (3 T,), (T,)."""
    cuts = values == -1
    strip = np.cumsum(cuts) + np.repeat(np.arange(len(counts)), counts)
    first = np.flatnonzero((strip[:-2] == strip[2:]) & ~cuts[:-2])
    return values[first[:, None] + np.arange(3)].reshape(-1), np.full(len(first), 3)
