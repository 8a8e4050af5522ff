"""Clouds as columns of text (.xyz): headers, separators and decimal commas as programs write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files.opening import read_bytes
from .rows import chunks, parse_rows, plain_text, truncated

__all__ = ["read_xyz"]

_COMMENT = re.compile(rb"\s*(?:#|//|%)")
_MARKS = (b"#", b"/", b"%")
_COMMA_NUMBER = re.compile(rb"[+-]?\d+(?:,\d+)?(?:[eE][+-]?\d+)?")
_LEADING_ZERO = re.compile(rb"(?:^|,)[ \t]*[+-]?0\d", re.MULTILINE)
_UNIT = re.compile(rb"\s*[\[(][^\])]*[\])]")  # x [m]
# X_coord, coord_x, PositionX, $x; ParaView's Points:0
_AXIS = re.compile(
    rb"\$?(?:(?:points?|coord(?:inate)?s?|pos(?:ition)?s?)[ _.:]?)?([xyz])"
    rb"(?:[ _]?(?:coord(?:inate)?|pos(?:ition)?|mm|m))?"
    rb"|points?[:_]([012])"
)
_LABEL = re.compile(rb"^[^,;:]*:\s+")  # columns: x y z
_ATOM = re.compile(rb"\s*[A-Z][a-z]?(?:\s+[-+.\deE]+){3}\s*")
_WANTED = "lines of at least three numbers are read, and headers that name x, y and z"


@dataclass(frozen=True)
class _Layout:
    """How a row is cut: `separator` None is spaces and tabs; `columns` are those of x, y and z."""

    separator: bytes | None
    decimal_comma: bool
    width: int
    columns: tuple[int, ...]


def read_xyz(path: Path) -> np.ndarray:
    """The columns x, y and z of a text file: (P, 3) float64.

    One separator a file: semicolons, commas, or spaces and tabs. Commas are decimal commas where semicolons or spaces
    separate. Columns that a header, or a comment above the numbers, calls x, y and z are taken by name, in any order
    and case, else the first three. A whole number alone above the numbers is the count of points. Comments begin with
    # // or %.

    Raises:
        InputError: no text, a header without x, y and z, atoms of a molecule, an empty cell or a word among the
            coordinates, rows of different lengths, or another count of points than declared; with the line.
    """
    text = plain_text(read_bytes(path), path)
    layout, declared, start, lines = _read_head(text, path)
    found = []
    for chunk in chunks(text[start:], path):
        found.append(_read_rows(chunk, layout, lines, path))
        lines += chunk.count(b"\n")
    points = np.concatenate(found)
    if declared is not None and len(points) < declared:
        raise truncated(path, declared, "points", len(points))
    if declared is not None and len(points) > declared:
        raise InputError(f"{path} declares {declared} points but has {len(points)}; give one scan a file.")
    return points


def _read_head(text: bytes, path: Path) -> tuple[_Layout, int | None, int, int]:
    """The layout of the rows, the declared count, where the rows begin and how many lines stand above them."""
    names: list[bytes] = []
    declared: int | None = None
    said, start, lines = False, 0, 0  # whether the names stand in a header of their own
    while start < len(text):
        end = text.find(b"\n", start) + 1 or len(text)
        line, lines = text[start:end].strip(), lines + 1
        comment = _COMMENT.match(line)
        if comment or not line:
            told = _LABEL.sub(b"", line[comment.end() :]) if comment and not said else b""
            names = _names(told) or names
        elif line.isdigit() and declared is None:
            declared = int(line[:18])
        elif not names and not said and _names(line):
            names, said = _names(line), True
        else:
            return _layout(line, names, said, lines, path), declared, start, lines - 1
        start = end
    raise InputError(f"{path} has no points; {_WANTED}.")


def _names(line: bytes) -> list[bytes]:
    """The names of columns, lower case; none where x, y and z are not among them."""
    line = _UNIT.sub(b"", line.lower())
    cells = line.split(b";" if b";" in line else b"," if b"," in line else None)
    names = [cell.strip().strip(b"\"'") for cell in cells]
    for found in (names, list(map(_axis, names))):  # plain names first
        if all(found.count(axis) == 1 for axis in (b"x", b"y", b"z")):
            return found
    return []


def _axis(name: bytes) -> bytes:
    """The axis that a column's name means, else the name."""
    found = _AXIS.fullmatch(name)
    if found is None:
        return name
    return found[1] or b"xyz"[int(found[2]) :][:1]


def _layout(line: bytes, names: list[bytes], said: bool, number: int, path: Path) -> _Layout:
    """The layout that the first row shows."""
    words = line.split()
    comma_numbers = len(words) > 2 and all(map(_COMMA_NUMBER.fullmatch, words))  # 10,5 20 30,25
    separator = b";" if b";" in line else b"," if b"," in line and not comma_numbers else None
    cells = line.partition(b"#")[0].split(separator)
    width = len(cells)
    if said and len(names) != width:
        raise InputError(f"{path} names {len(names)} columns but has {width} in line {number}.")
    columns = tuple(map(names.index, (b"x", b"y", b"z"))) if len(names) == width else (0, 1, 2)
    if _ATOM.fullmatch(line) and columns == (0, 1, 2):
        raise InputError(f"{path} has {_shown(line)} in line {number}, an atom of a molecule; {_WANTED}.")
    if width < 3 or not any(_is_number(cells[place].replace(b",", b".")) for place in columns):
        raise InputError(f"{path} has {_shown(line)} in line {number}; {_WANTED}.")
    return _Layout(separator, separator == b";" or (comma_numbers and b"," in line), width, columns)


def _read_rows(chunk: bytes, layout: _Layout, lines: int, path: Path) -> np.ndarray:  # -> (R, 3)
    if layout.decimal_comma and b"," in chunk:
        if b"." in b"".join(line for line in chunk.split(b"\n") if not _COMMENT.match(line)):
            raise InputError(
                f"{path} has both commas and points in its numbers from line {lines + 1} on; write points only."
            )
        chunk = chunk.replace(b",", b".")
    if layout.separator == b"," and b"." not in chunk and _LEADING_ZERO.search(chunk):
        raise InputError(
            f"{path} separates by commas and may mean decimal commas too (a cell begins with 0, in line {lines + 1} or "
            "below); separate by semicolons."
        )
    numbers_alone = _read_numbers(chunk, layout, path)
    if numbers_alone is not None:
        return numbers_alone
    x, y, z = layout.columns
    cells: list[bytes] = []
    numbers: list[int] = []
    for number, line in enumerate(chunk.split(b"\n"), lines + 1):
        row = line.split(layout.separator)
        if len(row) != layout.width or row[0][:1] in _MARKS:
            row = line.partition(b"#")[0].split(layout.separator)
            if _COMMENT.match(line) or not line.strip():
                continue
            if len(row) != layout.width:
                raise InputError(f"{path} has {len(row)} columns in line {number}, but {layout.width} above.")
        cells += row[x], row[y], row[z]
        numbers.append(number)
    return _values(cells, numbers, path)


def _read_numbers(chunk: bytes, layout: _Layout, path: Path) -> np.ndarray | None:
    """Rows of numbers and nothing else: (R, 3), several times faster than cell by cell; None for any other."""
    if layout.separator:
        chunk = chunk.replace(layout.separator + b" ", layout.separator)
        if b" " in chunk or b"\t" in chunk:
            return None
        chunk = chunk.replace(layout.separator, b" ")  # an empty cell leaves a number too few
    try:
        rows = parse_rows(chunk, path)
    except InputError:
        return None
    if not len(rows.counts) or (rows.counts != layout.width).any():
        return None
    return rows.columns(list(layout.columns), path)


def _values(cells: list[bytes], numbers: list[int], path: Path) -> np.ndarray:  # (3 R,), (R,) -> (R, 3)
    try:
        if not any(b"_" in cell for cell in cells):  # Python reads 1_000
            return np.array(list(map(float, cells))).reshape(-1, 3)
    except ValueError:
        pass
    place = next(place for place, cell in enumerate(cells) if not _is_number(cell))
    what = _shown(cells[place]) if cells[place].strip() else "an empty cell"
    raise InputError(f"{path} has {what} in line {numbers[place // 3]}, where one of three numbers belongs.")


def _is_number(cell: bytes) -> bool:
    try:
        return isinstance(float(cell), float) and b"_" not in cell
    except ValueError:
        return False


def _shown(line: bytes) -> str:
    return repr(line[:60].decode("utf-8", "replace"))
