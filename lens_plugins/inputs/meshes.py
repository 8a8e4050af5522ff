"""Meshes and scenes through trimesh: world-space triangles, and points spread evenly over them."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np

from ..errors import InputError
from ..files.opening import parsing, read_bytes

if TYPE_CHECKING:
    from trimesh import Scene

__all__ = ["MAX_TRIANGLES", "MESH_SUFFIXES", "read_mesh", "sample_surface"]

MESH_SUFFIXES = (".ply", ".obj", ".glb", ".gltf", ".stl", ".off")
MAX_TRIANGLES = 10_000_000
_MAX_BUFFERS = 512 * 2**20  # bytes of all files that a .gltf names
_PLY_ELEMENT = re.compile(rb"^element\s+(\w+)\s+(\d+)", re.MULTILINE)


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Everything in a mesh file, every node of its scene in world space.

    Textures and materials are not read. Files that a .gltf names are read from its own folder only.

    Returns:
        triangles (F, 3, 3) and, where there are none, points (P, 3); float64.

    Raises:
        InputError: not a whole file of its kind, nothing in it, or more than `MAX_TRIANGLES`.
    """
    content = read_bytes(path)
    resolver = _check_declared(content, path)
    with parsing(str(path), f"{path.suffix} file"):
        scene = _load(content, resolver, path.suffix[1:].lower())
        triangles = _joined(_world_triangles(scene, path), (0, 3, 3))
        points = np.zeros((0, 3)) if len(triangles) else _joined(_world_points(scene), (0, 3))
    if not len(triangles) and not len(points):
        raise InputError(f"{path} holds no triangles and no points; it is empty or truncated.")
    _check_complete(content, points, path)
    return triangles, points


def sample_surface(triangles: np.ndarray, n: int, seed: int, name: str) -> np.ndarray:
    """`n` points on triangles (F, 3, 3), shared out by area: (n, 3) float64, in the order of the triangles.

    One random place in each n-th part of the summed area, so that no region is over- or under-represented by chance.

    Raises:
        InputError: corners that are not finite, or no area at all.
    """
    if not np.isfinite(triangles).all():
        raise InputError(f"{name} has corners that are NaN or infinite; all must be finite.")
    origin, first, second = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    reach = np.cumsum(np.linalg.norm(np.cross(first, second), axis=1))  # twice the area so far
    if not 0 < reach[-1] < np.inf:
        raise InputError(
            f"{name} has {len(triangles)} triangles with an area of {reach[-1] / 2:g}; it needs a surface."
        )
    random = np.random.default_rng(seed)
    places = (np.arange(n) + random.random(n)) / n * reach[-1]
    faces = np.minimum(np.searchsorted(reach, places, side="right"), len(triangles) - 1)
    u, v = random.random((2, n, 1))
    outside = u + v > 1  # the other half of the parallelogram folds back
    u, v = np.where(outside, 1 - u, u), np.where(outside, 1 - v, v)
    return origin[faces] + u * first[faces] + v * second[faces]


def _load(content: bytes, resolver: Mapping[str, bytes], kind: str) -> Scene:
    import trimesh

    # the kind is given, so trimesh never guesses: it would open archives
    return trimesh.load_scene(BytesIO(content), file_type=kind, resolver=resolver, process=False, skip_materials=True)


def _world_triangles(scene: Scene, path: Path) -> Iterator[np.ndarray]:
    total = 0
    for shape, transform in _nodes(scene):
        faces = getattr(shape, "faces", ())
        total += len(faces)
        if total > MAX_TRIANGLES:
            raise InputError(f"{path} has over {MAX_TRIANGLES} triangles ({total} so far); simplify it.")
        if len(faces):
            yield _moved(np.asarray(shape.vertices, np.float64), transform)[np.asarray(faces)]


def _world_points(scene: Scene) -> Iterator[np.ndarray]:
    for shape, transform in _nodes(scene):
        yield _moved(np.asarray(shape.vertices, np.float64).reshape(-1, 3), transform)


def _nodes(scene: Scene) -> Iterator[tuple[Any, np.ndarray]]:
    for node in scene.graph.nodes_geometry:
        transform, geometry = scene.graph[node]
        yield scene.geometry[geometry], transform


def _moved(points: np.ndarray, transform: np.ndarray) -> np.ndarray:  # (P, 3), (4, 4) -> (P, 3)
    if np.array_equal(transform, np.eye(4)):
        return points
    return points @ transform[:3, :3].T + transform[:3, 3]


def _joined(parts: Iterator[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([np.zeros(empty), *parts])


def _check_declared(content: bytes, path: Path) -> Mapping[str, bytes]:
    """Refuse counts that the file cannot hold; return what a .gltf names, read from its folder."""
    suffix = path.suffix.lower()
    if suffix == ".ply":
        for element, count in _ply_elements(content).items():
            if count > len(content):
                raise InputError(f"{path} declares {count} of {element} in {len(content)} bytes; it is damaged.")
    if suffix not in (".glb", ".gltf"):
        return {}
    tree = _gltf_tree(content, path)
    with parsing(str(path), f"{path.suffix} file"):
        counts = [int(accessor["count"]) for accessor in tree.get("accessors", [])]
        uris = [str(buffer["uri"]) for buffer in tree.get("buffers", []) if "uri" in buffer]
    if sum(counts) > 12 * MAX_TRIANGLES:
        raise InputError(
            f"{path} declares {sum(counts)} values in its accessors; at most {12 * MAX_TRIANGLES} are read."
        )
    files = _gltf_files(uris, path)
    held = len(content) + sum(map(len, files.values()))
    if counts and not 0 <= min(counts) <= max(counts) <= held:  # without a buffer an accessor is that many zeros
        raise InputError(f"{path} declares accessors of {min(counts)} to {max(counts)} values in {held} bytes.")
    return files


def _ply_elements(content: bytes) -> dict[str, int]:
    header = content[: content.find(b"end_header") + 1]
    return {name.decode(): int(count[:18]) for name, count in _PLY_ELEMENT.findall(header)}


def _check_complete(content: bytes, points: np.ndarray, path: Path) -> None:
    declared = _ply_elements(content).get("vertex", 0) if path.suffix.lower() == ".ply" else 0
    if len(points) and len(points) < declared:
        raise InputError(f"{path} declares {declared} points but has {len(points)}; it is truncated.")


def _gltf_tree(content: bytes, path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".glb":  # magic, version, length, then the first chunk: its length, "JSON", text
        if len(content) < 20 or content[:4] != b"glTF":
            raise InputError(f"{path} is not a .glb file: it does not start with glTF.")
        (length,) = struct.unpack_from("<I", content, 12)
        content = content[20 : 20 + length]
    with parsing(str(path), f"{path.suffix} file"):
        tree = json.loads(content)
    if not isinstance(tree, dict):
        raise InputError(f"{path} is not a {path.suffix} file: its JSON is a {type(tree).__name__}, not an object.")
    return tree


def _gltf_files(uris: list[str], path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = _MAX_BUFFERS
    for uri in uris:
        if uri.startswith("data:") or uri in files:
            continue
        with parsing(str(path), f"{path.suffix} file"):  # urlsplit refuses "http://[", resolve a NUL byte
            parts = urlsplit(uri)
            target = (path.parent / unquote(parts.path)).resolve()  # follows links, so that a link cannot lead out
        if parts.scheme or parts.netloc or not target.is_relative_to(path.parent.resolve()):
            raise InputError(
                f"{path} names the file {uri!r}, which is not inside its own folder {path.parent}; "
                "put it there, or save the scene as .glb."
            )
        files[uri] = read_bytes(target, left)
        left -= len(files[uri])
    return files
