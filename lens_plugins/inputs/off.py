"""Object File Format (.off, ASCII): vertices and faces; colours and normals are passed over."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..errors import InputError
from .rows import RowReader, Rows, plain_text, ragged, without_comments

__all__ = ["read_off"]

# ModelNet40 glues the counts to the keyword: OFF490 518 0
_HEADER = re.compile(
    rb"\s*(?P<word>(?:ST)?C?N?4?n?OFF)?\s*"
    rb"(?P<counts>\d+[ \t]+\d+(?:[ \t]+\d+)?|\d+[ \t]*\n\s*\d+[ \t]*\n\s*\d+(?=[ \t]*\n))[^\n]*\n?"
)


def read_off(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64, corners (M,) int64 counted from 0, and how many corners each face has (F,).

    Raises:
        InputError: a header that is none, the binary or four-dimensional form, or fewer rows than it declares.
    """
    if re.match(rb"\s*\w*OFF\s+BINARY", content):
        raise InputError(f"{path} is a binary .off file, which is not read; save it as text or as .ply.")
    text = without_comments(plain_text(content, path))
    header = _HEADER.match(text)
    if header is None:
        raise InputError(
            f"{path} is not an .off file: it does not start with OFF and the counts of vertices and faces."
        )
    word = (header["word"] or b"OFF").decode()
    if "4" in word or "n" in word:
        raise InputError(f"{path} is {word}, with other than three coordinates; save it as OFF.")
    declared = [int(count[:18]) for count in header["counts"].split()]
    lines = text[: header.end()].count(b"\n") + 1
    rows = RowReader(text[header.end() :], path, lines)
    vertices = [piece.columns([0, 1, 2], path) for piece in rows.take(declared[0], "vertices")]
    faces = [_face_rows(piece, path) for piece in rows.take(declared[1], "faces", np.int64)]
    return (
        np.concatenate([np.zeros((0, 3)), *vertices]),
        np.concatenate([np.zeros(0, np.int64), *(corners for corners, _ in faces)]),
        np.concatenate([np.zeros(0, np.int64), *(counts for _, counts in faces)]),
    )


def _face_rows(rows: Rows, path: Path) -> tuple[np.ndarray, np.ndarray]:  # n, n corners, a colour -> (M,), (R,)
    counts = rows.columns([0], path)[:, 0].astype(np.int64)
    short = np.flatnonzero((counts < 0) | (counts >= rows.counts))
    if len(short):
        row = short[0]
        raise InputError(
            f"{path} declares {counts[row]} corners in line {rows.lines[row]} but has {rows.counts[row] - 1}; "
            "it is truncated."
        )
    return rows.values[ragged(rows.starts + 1, counts)], counts
