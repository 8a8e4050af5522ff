"""The data of a glTF 2.0 file: its JSON, buffers and accessors, read within bounds."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import numpy as np

from ..errors import InputError
from ..files.jsons import parse_json
from ..files.opening import parsing, read_bytes
from .polygons import MAX_TRIANGLES
from .rows import truncated

__all__ = ["GltfData", "read_parts"]

_MAX_FILES = 512 * 2**20  # bytes of all files that a .gltf names
_MAX_JSON = 8_000_000  # commas and brackets: some 600 MB once they are parsed
_MAX_VALUES = 12 * MAX_TRIANGLES  # numbers decoded or moved, over a whole file
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_HEADER = 20  # magic, version, length; the first chunk's length and kind


def read_parts(content: bytes, path: Path) -> tuple[dict[str, Any], bytes | None]:
    """The JSON object of a .gltf or .glb and, of a .glb, its binary chunk.

    Raises:
        InputError: no glTF 2.0, fewer bytes than declared, or JSON that is damaged or not an object.
    """
    binary = None
    if path.suffix.lower() == ".glb" or content[:4] == b"glTF":  # whatever it is called
        if len(content) < _HEADER or content[:4] != b"glTF":
            raise InputError(f"{path} is not a .glb file: it does not start with glTF.")
        version, declared, size = struct.unpack_from("<III", content, 4)
        if version != 2:
            raise InputError(f"{path} is glTF {version}; version 2.0 is read: convert it.")
        if declared > len(content):
            raise truncated(path, declared, "bytes", len(content))
        if content[16:20] != b"JSON" or _HEADER + size > declared:
            raise InputError(f"{path} declares {size} bytes of JSON in {declared} bytes of file; it is damaged.")
        start = _HEADER + size + 8
        if content[start - 4 : start] == b"BIN\0":
            (held,) = struct.unpack_from("<I", content, start - 8)
            binary = content[start : min(start + held, declared)]
        content = content[_HEADER : _HEADER + size]
    if sum(map(content.count, (b",", b"[", b"{"))) > _MAX_JSON:
        raise InputError(f"{path} has over {_MAX_JSON} values in its JSON; save its data in a file of their own.")
    tree = parse_json(content, str(path), error=InputError)
    if not isinstance(tree, dict):
        raise InputError(f"{path} is not a {path.suffix} file: its JSON is a {type(tree).__name__}, not an object.")
    return tree, binary


class GltfData:
    """The tables of a glTF file by index, and the numbers behind its accessors."""

    def __init__(self, tree: dict[str, Any], binary: bytes | None, size: int, path: Path) -> None:
        self._tree, self._binary, self._path = tree, binary, path
        self._held = size  # bytes that can stand behind what is declared
        self._left, self._files_left = _MAX_VALUES, _MAX_FILES
        self._buffers: dict[int, bytes] = {}
        self._accessors: dict[int, np.ndarray] = {}

    def table(self, name: str) -> list[dict[str, Any]]:
        """All entries of a table, none where it is absent."""
        return list(self._tree.get(name, []))

    def item(self, name: str, index: int) -> dict[str, Any]:
        """One entry of a table.

        Raises:
            InputError: an index that is not there.
        """
        entries = self._tree.get(name, [])
        if not isinstance(index, int) or not 0 <= index < len(entries):
            raise InputError(f"{self._path} names {index} of {name}, but has {len(entries)} of them.")
        return entries[index]

    def spend(self, values: int) -> None:
        """Count numbers that are decoded or moved, so that few bytes cannot ask for much work.

        Raises:
            InputError: over a hundred million in one file.
        """
        self._left -= values
        if self._left < 0:
            raise InputError(f"{self._path} needs over {_MAX_VALUES} values to be decoded; simplify it.")

    def accessor(self, index: int, width: int) -> np.ndarray:
        """The numbers of an accessor: (count, width) float64, normalised and sparse ones as they are meant.

        Raises:
            InputError: of another width, or more numbers declared than there are bytes.
        """
        if index not in self._accessors:
            self._accessors[index] = self._decode(self.item("accessors", index), f"accessor {index}")
        values = self._accessors[index]
        if values.shape[1] != width:
            raise InputError(f"{self._path} has {values.shape[1]} numbers a row in accessor {index}; it needs {width}.")
        return values

    def _decode(self, accessor: dict[str, Any], name: str) -> np.ndarray:
        dtype, count = np.dtype(_COMPONENTS[accessor["componentType"]]), _whole(accessor["count"])
        width = _WIDTHS[accessor["type"]]
        self.spend(count * width)
        sparse = accessor.get("sparse")
        places, changed = self._sparse(sparse, dtype, width, name) if sparse else (None, None)
        if "bufferView" in accessor:
            values = self._view(accessor, dtype, count, width, name)
        elif count > self._held:  # without a view an accessor is that many zeros
            raise InputError(f"{self._path} declares {count} zeros in {name} and has {self._held} bytes.")
        else:
            values = np.zeros((count, width))
        if places is not None:
            if len(places) and not 0 <= places.min() <= places.max() < count:
                raise InputError(f"{self._path} changes value {places.max():g} of {name}, which has {count}.")
            values[places] = changed
        return _normalised(values, accessor)

    def _sparse(self, sparse: dict[str, Any], dtype: np.dtype, width: int, name: str) -> tuple[np.ndarray, np.ndarray]:
        count = _whole(sparse["count"])
        self.spend(count * (width + 1))
        indices = np.dtype(_COMPONENTS[sparse["indices"]["componentType"]])
        places = self._view(sparse["indices"], indices, count, 1, f"the sparse indices of {name}")
        return places[:, 0].astype(np.int64), self._view(
            sparse["values"], dtype, count, width, f"the sparse values of {name}"
        )

    def _view(self, source: dict[str, Any], dtype: np.dtype, count: int, width: int, name: str) -> np.ndarray:
        view = self.item("bufferViews", source["bufferView"])
        content = self.buffer(view["buffer"])
        offset, size = _whole(view.get("byteOffset", 0)), width * dtype.itemsize
        start, stride = offset + _whole(source.get("byteOffset", 0)), _whole(view.get("byteStride", 0)) or size
        end = min(offset + _whole(view["byteLength"]), len(content))
        if count and start + stride * (count - 1) + size > end:
            raise truncated(self._path, count, f"values in {name}", max(0, (end - start - size) // stride + 1))
        if not count:
            return np.zeros((0, width))
        return np.ndarray((count, width), dtype, content, start, (stride, dtype.itemsize)).astype(np.float64)

    def unpacked(self, index: int, values: np.ndarray) -> np.ndarray:
        """Numbers (count, width) that were stored elsewhere for an accessor, as the accessor means them.

        Raises:
            InputError: another count than the accessor's.
        """
        accessor = self.item("accessors", index)
        if len(values) != accessor["count"]:
            raise truncated(self._path, accessor["count"], f"values in accessor {index}", len(values))
        self.spend(values.size)
        return _normalised(values, accessor)

    def view_bytes(self, index: int) -> bytes:
        """The bytes of a buffer view.

        Raises:
            InputError: fewer than it declares.
        """
        view = self.item("bufferViews", index)
        content, start, length = (
            self.buffer(view["buffer"]),
            _whole(view.get("byteOffset", 0)),
            _whole(view["byteLength"]),
        )
        if start + length > len(content):
            raise truncated(self._path, length, f"bytes in buffer view {index}", max(0, len(content) - start))
        return content[start : start + length]

    def buffer(self, index: int) -> bytes:
        """The bytes of a buffer: the .glb's own, from its URI, or from a file beside it.

        Raises:
            InputError: no data, fewer bytes than declared, or a file outside the folder.
        """
        if index not in self._buffers:
            entry = self.item("buffers", index)
            content, declared = self._load(entry, index), _whole(entry["byteLength"])
            if declared > len(content):
                raise truncated(self._path, declared, f"bytes in buffer {index}", len(content))
            self._buffers[index] = content
        return self._buffers[index]

    def _load(self, entry: dict[str, Any], index: int) -> bytes:
        uri = entry.get("uri")
        if uri is None:
            if index == 0 and self._binary is not None:
                return self._binary
            reason = f" (it needs {', '.join(entry['extensions'])})" if entry.get("extensions") else ""
            raise InputError(f"{self._path} has no data for buffer {index}{reason}; save it as plain .glb.")
        if uri.startswith("data:"):
            kind, _, body = uri.partition(",")
            if not kind.endswith(";base64"):
                return unquote_to_bytes(body)
            body = unquote(body) if "%" in body else body
            return base64.b64decode(body + "=" * (-len(body) % 4))
        content = self._beside(uri)
        self._held += len(content)
        return content

    def _beside(self, uri: str) -> bytes:
        folder = self._path.parent
        with parsing(str(self._path), f"{self._path.suffix} file"):  # urlsplit refuses "http://[", resolve a NUL byte
            parts = urlsplit(uri)
            target = (folder / unquote(parts.path)).resolve()  # follows links, so that a link cannot lead out
        if parts.scheme or parts.netloc or not target.is_relative_to(folder.resolve()):
            raise InputError(
                f"{self._path} names the file {uri[:200]!r}, which is not inside its own folder {folder}; "
                "put it there, or save the scene as .glb."
            )
        content = read_bytes(target, self._files_left)
        self._files_left -= len(content)
        return content


def _normalised(values: np.ndarray, accessor: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(_COMPONENTS[accessor["componentType"]])
    if not accessor.get("normalized") or dtype.kind == "f":
        return values
    return np.maximum(values / np.iinfo(dtype).max, -1)


def _whole(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{str(value)[:40]!r} where a whole number belongs")
    return value
