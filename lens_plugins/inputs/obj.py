"""Wavefront .obj: vertices and faces. Materials, textures and normals are passed over; no other file is opened."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..errors import InputError
from .rows import Rows, chunks, parse_rows, plain_text, without_comments

__all__ = ["read_obj"]

_VERTEX, _FACE = (b"v ", b"v\t", b"V ", b"V\t"), (b"f ", b"f\t", b"F ", b"F\t")
_OLD_FACE = (b"fo ", b"fo\t")  # of version 2, which the specification still reads as f
_FREE_FORM = re.compile(rb"^[ \t]*(surf|curv2?)[ \t]", re.MULTILINE)


def read_obj(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64, corners (M,) int64 counted from 0, and how many corners each face has (F,).

    Negative indices count back from the vertices above their line.

    Raises:
        InputError: a line that holds fewer numbers than it needs, words for numbers, or free-form surfaces alone.
    """
    text = without_comments(plain_text(content, path))
    if b"\\" in text:
        text = re.sub(rb"\\[ \t]*\n", b" ", text)  # a line goes on in the next one
    vertices, corners, counts, above = [np.zeros((0, 3))], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for chunk in chunks(text, path):
        vertex_lines, face_lines, held = _lines(chunk, above)
        vertices.append(_vertices(vertex_lines, above, path))
        faces = _faces(face_lines, sum(map(len, counts)), path)
        corners.append(_counted_from_zero(faces, held, path))
        counts.append(faces.counts)
        above += len(vertex_lines)
    _check_last_line(text, path)
    if above and not sum(map(len, counts)) and _FREE_FORM.search(text):
        raise InputError(f"{path} holds free-form surfaces and no faces; save it as polygons.")
    return np.concatenate(vertices), np.concatenate(corners), np.concatenate(counts)


def _check_last_line(text: bytes, path: Path) -> None:
    """Faces of two corners are edges, which have no area; as the last line they are a file cut off."""
    words = text[max(0, len(text) - 4096) :].rstrip().rpartition(b"\n")[2].split()
    if words[:1] in ([b"f"], [b"F"], [b"fo"]) and len(words) < 4:
        raise InputError(f"{path} ends in a face of {len(words) - 1} corners, which needs 3; it is truncated.")


def _lines(chunk: bytes, above: int) -> tuple[list[bytes], list[bytes], list[int]]:
    """What stands behind each v and each f, and how many vertices stand above each f."""
    vertices: list[bytes] = []
    faces: list[bytes] = []
    held: list[int] = []
    for line in chunk.split(b"\n"):
        line = line.lstrip()
        word = line[:2]
        if word in _VERTEX:
            vertices.append(line[2:])
        elif word in _FACE or line[:3] in _OLD_FACE:
            faces.append(line[2:] if word in _FACE else line[3:])
            held.append(above + len(vertices))
    return vertices, faces, held


def _vertices(lines: list[bytes], above: int, path: Path) -> np.ndarray:  # -> (V, 3)
    if not lines:
        return np.zeros((0, 3))
    return _rows(lines, "vertex", above, np.float64, path).columns([0, 1, 2], path)


def _faces(lines: list[bytes], above: int, path: Path) -> Rows:
    if any(b"/" in line for line in lines):  # 7/1/2 is vertex 7, its texture and its normal
        lines = re.sub(rb"/[^\s]*", b"", b"\n".join(lines)).split(b"\n")
    return _rows(lines, "face", above, np.int64, path)


def _rows(lines: list[bytes], what: str, above: int, dtype: type, path: Path) -> Rows:
    rows = parse_rows(b"\n".join(lines), path, what, above + 1, dtype)
    if len(rows.counts) < len(lines):
        empty = next(i for i, line in enumerate(lines) if not line.strip())
        raise InputError(f"{path} has nothing in {what} {above + empty + 1}; it needs at least 3 numbers.")
    return rows


def _counted_from_zero(faces: Rows, held: list[int], path: Path) -> np.ndarray:  # -> (M,)
    indices = faces.values
    if not np.array_equal(indices, np.rint(indices)) or (indices == 0).any():
        raise InputError(
            f"{path} has a face with index 0 or a fraction; indices are whole numbers from 1, or negative."
        )
    return np.where(indices > 0, indices - 1, indices + np.repeat(held, faces.counts)).astype(np.int64)
