"""glTF files built piece by piece."""

import json
import struct
from typing import Any

import numpy as np

_COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class Gltf:
    """A tree and its one buffer; arrays become accessors, and everything else is written into the tree."""

    def __init__(self, **tree: Any) -> None:
        self.tree: dict[str, Any] = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": [], **tree}
        self.data = b""

    def view(self, content: bytes, **more: Any) -> int:
        self.data += bytes(-len(self.data) % 4)
        self.tree["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content), **more})
        self.data += content
        return len(self.tree["bufferViews"]) - 1

    def accessor(self, values: Any, dtype: str = "f4", stride: int = 0, **more: Any) -> int:
        array = np.asarray(values, f"<{dtype}")
        array = array.reshape(len(array), -1) if array.size else array.reshape(0, 1)
        rows = [row.tobytes().ljust(stride, b"\xee") for row in array]
        view = self.view(b"".join(rows), **({"byteStride": stride} if stride else {}))
        entry = {"bufferView": view, "componentType": _COMPONENTS[dtype], "count": len(array)}
        self.tree["accessors"].append({**entry, "type": _TYPES[array.shape[1]], **more})
        return len(self.tree["accessors"]) - 1

    def primitive(self, positions: Any, faces: Any = None, **more: Any) -> dict[str, Any]:
        entry: dict[str, Any] = {"attributes": {"POSITION": self.accessor(positions)}}
        if faces is not None:
            entry["indices"] = self.accessor(np.ravel(faces), "u2")
        return {**entry, **more}

    def show(self, *primitives: dict[str, Any], **node: Any) -> "Gltf":
        """One node with one mesh of these primitives."""
        self.tree.setdefault("meshes", []).append({"primitives": list(primitives)})
        self.tree.setdefault("nodes", []).append({"mesh": len(self.tree["meshes"]) - 1, **node})
        self.tree["scenes"] = [{"nodes": list(range(len(self.tree["nodes"])))}]
        return self

    def glb(self) -> bytes:
        data = self.data + bytes(-len(self.data) % 4)
        tree = {"buffers": [{"byteLength": len(data)}], **self.tree} if data else self.tree
        text = json.dumps(tree).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I", len(text)) + b"JSON" + text
        chunks += struct.pack("<I", len(data)) + b"BIN\0" + data if data else b""
        return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks
