"""Stereolithography .stl, binary and ASCII: triangles. Names, normals and colours are passed over."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np

from ..errors import InputError
from .polygons import check_triangles
from .rows import chunks, parse_rows, plain_text, truncated

__all__ = ["read_stl"]

_HEADER, _RECORD = 84, np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_SOLID = re.compile(rb"^[ \t]*(end[ \t]*)?solid\b[^\n]*", re.MULTILINE)
_NEW_LINE = re.compile(
    rb"[ \t]+(?=(?:facet[ \t]+normal|outer[ \t]+loop|vertex|endloop|endfacet|endsolid)\b)", re.IGNORECASE
)


def read_stl(content: bytes, path: Path) -> np.ndarray:
    """Triangles (F, 3, 3) float64. Bytes after the declared triangles of a binary file are passed over.

    Raises:
        InputError: fewer triangles than declared, an ASCII file without its end, or words for numbers.
    """
    if _is_text(content):
        return _read_text(plain_text(content, path), path)
    if len(content) < _HEADER:
        raise InputError(f"{path} is not an .stl file: it has {len(content)} bytes and no facet; {_HEADER} at least.")
    (declared,) = struct.unpack_from("<I", content, _HEADER - 4)
    held = (len(content) - _HEADER) // _RECORD.itemsize
    if declared > held:
        raise truncated(path, declared, "triangles", held)
    check_triangles(declared, path)
    return np.frombuffer(content, _RECORD, declared, _HEADER)["corners"].astype(np.float64)


def _is_text(content: bytes) -> bool:
    """Binary files may start with the word solid too, but no text holds a zero byte."""
    start = content[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith(b"solid") and b"\0" not in content[:_HEADER] and (b"facet" in start or b"endsolid" in start)


def _read_text(text: bytes, path: Path) -> np.ndarray:  # -> (F, 3, 3)
    if text.count(b"\n") < 3:  # the keywords tell the lines of a file that has none
        text = _NEW_LINE.sub(b"\n", text)
    corners, above, facets, solids, ends = [np.zeros((0, 3))], 0, 0, 0, 0
    for chunk in chunks(text, path):
        chunk = chunk.lower()
        if b"solid" in chunk:
            found = _SOLID.findall(chunk)
            ends += sum(end != b"" for end in found)
            solids += found.count(b"")
            chunk = _SOLID.sub(b"", chunk)  # a name may hold any word
        facets += chunk.count(b"facet") - chunk.count(b"endfacet")
        lines = [b" ".join(part.split(None, 3)[:3]) for part in chunk.split(b"vertex")[1:]]
        if lines and len(lines[-1].split()) < 3:
            raise truncated(path, facets, "facets", (above + len(lines) - 1) // 3)
        if lines:
            corners.append(parse_rows(b"\n".join(lines), path, "vertex", above + 1).columns([0, 1, 2], path))
            above += len(lines)
    if above != 3 * facets:
        raise truncated(path, facets, "facets", above // 3)
    if not ends:
        raise InputError(f"{path} has {facets} facets and no endsolid after them; it is truncated.")
    if ends < solids:
        raise InputError(f"{path} begins {solids} solids and ends {ends} of them; it is truncated.")
    check_triangles(facets, path)
    return np.concatenate(corners).reshape(-1, 3, 3)
