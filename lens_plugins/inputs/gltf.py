"""glTF 2.0 scenes (.glb, .gltf): the geometry of the default scene, every node in world space.

Materials, textures, cameras, lights and animations are passed over. A required extension that may change geometry is
applied or refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .draco import EXTENSION as DRACO
from .draco import read_draco
from .gltf_data import GltfData, read_parts
from .polygons import check_triangles

__all__ = ["read_gltf"]

_INSTANCES, _VISIBILITY = "EXT_mesh_gpu_instancing", "KHR_node_visibility"
_APPLIED = {DRACO, _INSTANCES, _VISIBILITY, "KHR_mesh_quantization"}
_NO_GEOMETRY = re.compile(  # these say how things look, sound, move or are called, not where they are
    r"(KHR|EXT|ADOBE|MSFT|GOOGLE|FB|NV)_(materials|texture|lights|environment|audio|techniques)_?\w*"
    r"|KHR_xmp(_json_ld)?|KHR_animation_pointer|KHR_interactivity|KHR_node_(selectability|hoverability)"
    r"|MSFT_(lod|packing_\w+)|EXT_(mesh_features|instance_features|structural_metadata|mesh_manifold)"
    r"|CESIUM_primitive_outline|VRM\w*"
)
_POINTS, _LINES, _TRIANGLES, _STRIP, _FAN = 0, (1, 2, 3), 4, 5, 6  # modes of primitives
_Matrix = np.ndarray  # (4, 4) float64, for columns
_HERE: _Matrix = np.eye(4)


def read_gltf(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (F, 3, 3) and single points (P, 3), float64.

    Raises:
        InputError: not a whole glTF 2.0 file, or an extension or a form of geometry that is not read, by its name.
    """
    tree, binary = read_parts(content, path)
    version = str(tree.get("asset", {}).get("version", "2.0"))
    if not version.startswith("2"):
        raise InputError(f"{path} is glTF {version}; version 2.0 is read: convert it.")
    for name in map(str, tree.get("extensionsRequired", [])):
        if name not in _APPLIED and not _NO_GEOMETRY.fullmatch(name):
            raise InputError(f"{path} requires the extension {name}, which is not read; save it without.")
    return _Scene(GltfData(tree, binary, len(content), path), tree.get("scene"), path).geometry()


@dataclass(frozen=True)
class _Part:
    """A primitive: `positions` (V, 3); `faces` (F, 3) of them, or None for single points; joints (V, J), weights."""

    positions: np.ndarray
    faces: np.ndarray | None
    joints: np.ndarray | None = None
    weights: np.ndarray | None = None

    def placed(self, positions: np.ndarray, matrix: _Matrix) -> np.ndarray:  # -> (F, 3, 3) or (V, 3)
        corners = positions if self.faces is None else positions[self.faces]
        return corners if (matrix == _HERE).all() else corners @ matrix[:3, :3].T + matrix[:3, 3]


class _Scene:
    """The nodes of a file and what hangs on them."""

    def __init__(self, data: GltfData, scene: int | None, path: Path) -> None:
        self._data, self._path = data, path
        self._nodes = data.table("nodes")
        self._parents = self._find_parents()
        self._roots = self._find_roots(scene)
        self._worlds = self._find_worlds()
        self._meshes: dict[tuple[int, tuple[float, ...]], list[_Part | None]] = {}

    def geometry(self) -> tuple[np.ndarray, np.ndarray]:
        """Triangles (F, 3, 3) and single points (P, 3) of everything that is shown."""
        triangles, points, lines, count = [np.zeros((0, 3, 3))], [np.zeros((0, 3))], False, 0
        for node, part in self._shown():
            lines |= part is None
            for placed in self._placed(node, part) if part else ():
                if placed.ndim == 3:
                    count += len(placed)
                    check_triangles(count, self._path)
                (triangles if placed.ndim == 3 else points).append(placed)
        if lines and len(triangles) == len(points) == 1:
            raise InputError(f"{self._path} holds lines and no surface; save it with triangles or points.")
        return np.concatenate(triangles), np.concatenate(points)

    def _find_parents(self) -> dict[int, int]:
        parents: dict[int, int] = {}
        for index, node in enumerate(self._nodes):
            for child in node.get("children", []):
                self._data.item("nodes", child)
                if child in parents:
                    raise InputError(f"{self._path} has node {child} below nodes {parents[child]} and {index}.")
                parents[child] = index
        return parents

    def _find_worlds(self) -> dict[int, _Matrix]:
        """The matrix of every node into world space, parents first; joints may stand outside the scene."""
        worlds: dict[int, _Matrix] = {}
        tops = set(self._roots)  # what a scene names stands in world space, whatever lists it as a child
        open_nodes = [index for index in range(len(self._nodes)) if index not in self._parents]
        while open_nodes:
            index = open_nodes.pop()
            parent = None if index in tops else self._parents.get(index)
            local = _local(self._nodes[index])
            worlds[index] = local if parent is None else worlds[parent] @ local
            open_nodes += self._nodes[index].get("children", [])
        lost = next((index for index in range(len(self._nodes)) if index not in worlds), None)
        if lost is not None:
            raise InputError(f"{self._path} has node {lost} among its own descendants; it is damaged.")
        return worlds

    def _find_roots(self, scene: int | None) -> list[int]:
        scenes = self._data.table("scenes")
        if scene is None and not scenes:
            return [index for index in range(len(self._nodes)) if index not in self._parents]
        return list(self._data.item("scenes", 0 if scene is None else scene).get("nodes", []))

    def _shown(self) -> Iterator[tuple[dict[str, Any] | None, _Part | None]]:
        """Nodes and the parts of their meshes, None for lines. A file without nodes shows its meshes."""
        if not self._nodes:
            for index in range(len(self._data.table("meshes"))):
                yield from ((None, part) for part in self._parts(index, ()))
        seen: set[int] = set()
        open_nodes = list(self._roots)
        while open_nodes:
            index = open_nodes.pop()
            node = self._data.item("nodes", index)
            visible = node.get("extensions", {}).get(_VISIBILITY, {}).get("visible", True)
            if index in seen or not visible:
                continue
            seen.add(index)
            if "mesh" in node:
                weights = tuple(map(float, node.get("weights", ())))
                yield from (({**node, "index": index}, part) for part in self._parts(node["mesh"], weights))
            open_nodes += node.get("children", [])

    def _placed(self, node: dict[str, Any] | None, part: _Part) -> Iterator[np.ndarray]:
        """A part in world space, once for each of its instances."""
        size = 9 * len(part.faces) if part.faces is not None else 3 * len(part.positions)
        if node is None:
            yield part.placed(part.positions, _HERE)
            return
        world = self._worlds[node["index"]]
        instances = node.get("extensions", {}).get(_INSTANCES)
        if "skin" in node and part.joints is not None:
            if instances:
                raise InputError(f"{self._path} has a skin under {_INSTANCES}, which is not read; save it without.")
            yield part.placed(self._skinned(part, node["skin"]), _HERE)  # joints replace the node's own place
            return
        for matrix in [world] if instances is None else self._instances(instances, world):
            self._data.spend(size)
            yield part.placed(part.positions, matrix)

    def _instances(self, extension: dict[str, Any], world: _Matrix) -> np.ndarray:  # -> (I, 4, 4)
        widths, given = {"TRANSLATION": 3, "ROTATION": 4, "SCALE": 3}, extension.get("attributes", {})
        found = {name: self._data.accessor(given[name], width) for name, width in widths.items() if name in given}
        counts = {len(values) for values in found.values()}
        if len(counts) > 1:
            raise InputError(f"{self._path} has {min(counts)} and {max(counts)} values for the same instances.")
        return world @ _matrices(max(counts, default=1), *(found.get(name) for name in widths))

    def _parts(self, mesh: int, weights: tuple[float, ...]) -> list[_Part | None]:
        key = mesh, weights
        if key not in self._meshes:
            entry = self._data.item("meshes", mesh)
            given = weights or tuple(map(float, entry.get("weights", ())))
            self._meshes[key] = [self._part(primitive, given) for primitive in entry["primitives"]]
        return self._meshes[key]

    def _part(self, primitive: dict[str, Any], weights: tuple[float, ...]) -> _Part | None:
        mode = primitive.get("mode", _TRIANGLES)
        if mode in _LINES:
            return None
        if mode not in (_POINTS, _TRIANGLES, _STRIP, _FAN):
            raise InputError(f"{self._path} has a primitive of mode {mode}, which glTF 2.0 does not know.")
        attributes, indices = self._attributes(primitive)
        if "POSITION" not in attributes:
            return _Part(np.zeros((0, 3)), None)
        positions = self._morphed(attributes["POSITION"], primitive.get("targets", []), weights)
        if indices is None:
            indices = np.arange(len(positions))
        elif len(indices) and not (indices.min() >= 0 and indices.max() < len(positions)):
            raise InputError(f"{self._path} names vertex {indices.max():g} (counted from 0) of {len(positions)}.")
        if mode == _TRIANGLES and len(indices) % 3:
            raise InputError(f"{self._path} has triangles of {len(indices)} corners in all, no multiple of 3.")
        faces = _faces(indices.astype(np.int64), mode)
        check_triangles(len(faces), self._path)
        joints, blends = (_joined(attributes, name) for name in ("JOINTS", "WEIGHTS"))
        if mode == _POINTS:
            chosen = faces[:, 0]
            joints, blends = (None if values is None else values[chosen] for values in (joints, blends))
            return _Part(positions[chosen], None, joints, blends)
        return _Part(positions, faces, joints, blends)

    def _attributes(self, primitive: dict[str, Any]) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """What geometry needs of a primitive's attributes, by name, and its indices (M,)."""
        names = re.compile("POSITION|(JOINTS|WEIGHTS)_[0-9]")
        ids = {name: index for name, index in primitive.get("attributes", {}).items() if names.fullmatch(name)}
        packed = primitive.get("extensions", {}).get(DRACO)
        if packed and ids and "bufferView" not in self._data.item("accessors", ids["POSITION"]):
            own = {name: packed["attributes"][name] for name in ids}
            found, faces = read_draco(self._data.view_bytes(packed["bufferView"]), own, self._path)
            return {name: self._data.unpacked(ids[name], values) for name, values in found.items()}, faces.reshape(-1)
        attributes = {name: self._data.accessor(id_, 3 if name == "POSITION" else 4) for name, id_ in ids.items()}
        indices = self._data.accessor(primitive["indices"], 1)[:, 0] if "indices" in primitive else None
        return attributes, indices

    def _morphed(self, positions: np.ndarray, targets: list[dict[str, Any]], weights: tuple[float, ...]) -> np.ndarray:
        for target, weight in zip(targets, weights):
            if weight and "POSITION" in target:
                self._data.spend(positions.size)
                offsets = self._data.accessor(target["POSITION"], 3)
                if len(offsets) != len(positions):
                    raise InputError(
                        f"{self._path} moves {len(offsets)} of {len(positions)} vertices by a morph target."
                    )
                positions = positions + weight * offsets
        return positions

    def _skinned(self, part: _Part, index: int) -> np.ndarray:
        """Positions (V, 3) in world space, each moved by its joints as they stand without animation."""
        skin = self._data.item("skins", index)
        for joint in skin["joints"]:
            self._data.item("nodes", joint)
        matrices = np.stack([self._worlds[joint] for joint in skin["joints"]])  # (J, 4, 4)
        if "inverseBindMatrices" in skin:
            inverse = self._data.accessor(skin["inverseBindMatrices"], 16)[: len(matrices)]
            matrices = matrices @ inverse.reshape(-1, 4, 4).transpose(0, 2, 1)  # stored column by column
        joints, weights = part.joints, part.weights
        if joints is None or weights is None or joints.shape != weights.shape or len(joints) != len(part.positions):
            raise InputError(f"{self._path} has a skin whose joints and weights do not match its vertices.")
        if joints.size and joints.max() >= len(matrices):
            raise InputError(f"{self._path} names joint {joints.max():g} of skin {index}, which has {len(matrices)}.")
        self._data.spend(12 * joints.size)
        total = weights.sum(1, keepdims=True)
        weights = np.where(total > 0, weights / np.where(total > 0, total, 1), np.eye(weights.shape[1])[0])
        moved = np.zeros_like(part.positions)
        for column, share in zip(joints.astype(np.int64).T, weights.T):
            chosen = matrices[column]  # (V, 4, 4)
            moved += share[:, None] * (np.einsum("vij,vj->vi", chosen[:, :3, :3], part.positions) + chosen[:, :3, 3])
        return moved


def _joined(attributes: dict[str, np.ndarray], name: str) -> np.ndarray | None:  # JOINTS_0, JOINTS_1, … side by side
    found = [attributes[key] for key in sorted(attributes) if key.startswith(name)]
    return np.concatenate(found, 1) if found else None


def _faces(indices: np.ndarray, mode: int) -> np.ndarray:  # (M,) -> (F, 3); of single points (M, 1)
    if mode == _POINTS:
        return indices[:, None]
    if mode == _STRIP:
        return np.stack([indices[:-2], indices[1:-1], indices[2:]], 1)
    if mode == _FAN:
        return np.stack([np.broadcast_to(indices[:1], len(indices[2:])), indices[1:-1], indices[2:]], 1)
    return indices.reshape(-1, 3)


def _local(node: dict[str, Any]) -> _Matrix:
    """The matrix of a node into its parent's space."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T  # stored column by column
    given = [node.get(name) for name in ("translation", "rotation", "scale")]
    if not any(given):
        return _HERE
    return _matrices(1, *(None if value is None else np.array([value], np.float64) for value in given))[0]


def _matrices(
    count: int, translation: np.ndarray | None, rotation: np.ndarray | None, scale: np.ndarray | None
) -> np.ndarray:
    """Translations (I, 3), quaternions x y z w (I, 4) and scales (I, 3) as matrices (I, 4, 4)."""
    matrices = np.tile(_HERE, (count, 1, 1))
    if rotation is not None:
        lengths = np.linalg.norm(rotation, axis=1, keepdims=True)
        x, y, z, w = (rotation / np.where(lengths > 0, lengths, 1)).T  # four zeros turn nothing
        matrices[:, :3, :3] = np.stack([
            1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
            2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
            2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
        ], 1).reshape(-1, 3, 3)  # fmt: skip
    if scale is not None:
        matrices[:, :3, :3] *= scale[:, None]
    if translation is not None:
        matrices[:, :3, 3] = translation
    return matrices
