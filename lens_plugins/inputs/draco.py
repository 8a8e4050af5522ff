"""Meshes packed by Draco, as glTF holds them: unpacked by the optional package DracoPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .._optional import require
from ..errors import InputError

__all__ = ["EXTENSION", "read_draco"]

EXTENSION = "KHR_draco_mesh_compression"
_PER_BYTE = 64  # vertices or faces packed into one byte at most; a flat grid, the best case met, has 28
_METADATA = 0x8000


def read_draco(data: bytes, ids: dict[str, int], path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Attributes by name, each (V, width) float64, and faces (F, 3) int64.

    Args:
        data: one Draco mesh.
        ids: Draco's own number of each attribute that is wanted.
        path: the file, for messages.

    Raises:
        InputError: no mesh of Draco's, or one that declares more than its bytes can hold.
        MissingDependency: DracoPy is not installed.
    """
    draco = require("DracoPy", extra="draco", purpose=f"{path} is packed with {EXTENSION}; to read it")
    vertices, faces = _declared(data, path)
    if max(vertices, faces) > _PER_BYTE * len(data):
        raise InputError(
            f"{path} declares {vertices} vertices and {faces} faces in {len(data)} bytes of {EXTENSION}; it is damaged."
        )
    try:
        mesh = draco.decode(data)
        found = {name: mesh.get_attribute_by_unique_id(id_)["data"] for name, id_ in ids.items()}
    except Exception as error:  # DracoPy raises several kinds
        raise InputError(f"{path} has a damaged mesh of {EXTENSION} ({error}); save it without.") from error
    attributes = {name: np.asarray(values, np.float64).reshape(len(values), -1) for name, values in found.items()}
    return attributes, np.asarray(mesh.faces, np.int64).reshape(-1, 3)


def _declared(data: bytes, path: Path) -> tuple[int, int]:
    """The counts of vertices and faces in the header."""
    mesh, edgebreaker = data[7:8] == b"\1", data[8:9] == b"\1"
    flags = int.from_bytes(data[9:11], "little")
    if data[:5] != b"DRACO" or not mesh or data[5] != 2 or flags & _METADATA:
        raise InputError(
            f"{path} has data of {EXTENSION} that are no Draco mesh of version 2 without metadata; save it without."
        )
    first, at = _varint(data, 12 if edgebreaker else 11, path)
    second, _ = _varint(data, at, path)
    return (first, second) if edgebreaker else (second, first)


def _varint(data: bytes, at: int, path: Path) -> tuple[int, int]:  # 7 bits a byte, the lowest first
    value = shift = 0
    for place in range(at, min(at + 5, len(data))):
        value |= (data[place] & 127) << shift
        shift += 7
        if data[place] < 128:
            return value, place + 1
    raise InputError(f"{path} has a damaged header in its data of {EXTENSION}; save it without.")
