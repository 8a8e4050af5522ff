"""Clouds and meshes with instance ids: a field of a .ply or .npz file, or ScanNet's three files.

V vertices.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files.jsons import read_json_object
from ..files.opening import brief, parsing, read_bytes
from ..inputs.arrays import ARRAY_SUFFIXES, array_names, as_array, load_array
from ..inputs.meshes import MESH_SUFFIXES, read_mesh, sample_surface
from ..inputs.pcd import read_pcd
from ..inputs.ply import PlyContent, read_ply_fields
from ..inputs.polygons import check_triangles
from ..inputs.rows import ragged
from ..inputs.xyz import read_xyz
from .data import MAX_INSTANCES, MAX_POINTS, Geometry, whole_ids

__all__ = ["SCAN_SUFFIXES", "read_geometry", "scannet_files"]

SCAN_SUFFIXES = (*MESH_SUFFIXES, ".npz", ".npy", ".xyz", ".pcd")
_POINTS = ("points", "xyz", "coords", "coord", "pos", "positions", "vertices")
_COLOURS = ("colors", "colours", "color", "rgb")
_IDS = (
    "instance", "instance_id", "instance_ids", "instances", "instance_label", "instance_labels", "instanceid",
    "object_id", "object_ids", "objectid",
)  # fmt: skip
_RGB = ("red", "green", "blue")
_SCANNET = "_vh_clean_2"
_SURFACE = 200_000  # points taken from a mesh that has no vertices of its own order: .glb, .obj
_MAX_JSON = 64 * 2**20
_LONGEST_LABEL = 100


def read_geometry(path: Path, *, field: str | None = None, zero: str = "auto") -> Geometry:
    """A cloud or mesh, with the instance of each vertex where the file names it.

    Args:
        path: a file with one of `SCAN_SUFFIXES`. ScanNet's mesh takes its ids from the files beside it.
        field: the name of the field with the ids; None: any of the usual names.
        zero: as in `whole_ids`.

    Raises:
        InputError: not a file of its kind, no such field, ids of another length than the points, or over `MAX_POINTS`.
    """
    suffix = path.suffix.lower()
    scannet = scannet_files(path) if field is None else None
    if suffix == ".ply":
        found = _read_ply(path, field, zero)
    elif suffix == ".npz":
        found = _read_npz(path, field, zero)
    elif field is not None:
        raise InputError(f"{brief(path)} has no fields; instance ids are a field of a .ply or .npz file, not {suffix}.")
    else:
        found = Geometry(_check(_plain_points(path), path))
    if scannet is not None:
        return _with_scannet(found, path, *scannet)
    return found


def scannet_files(mesh: Path) -> tuple[Path, Path] | None:
    """The segments and the aggregation beside ScanNet's ``X_vh_clean_2.ply``; None where the mesh is called otherwise.

    Raises:
        InputError: one of the two is there without the other.
    """
    if not mesh.name.endswith(f"{_SCANNET}.ply"):
        return None
    scan = mesh.name.removesuffix(f"{_SCANNET}.ply")
    segments = sorted(mesh.parent.glob(f"{scan}{_SCANNET}*.segs.json"))
    aggregation = mesh.with_name(f"{scan}.aggregation.json")
    if not segments and not aggregation.exists():
        return None
    if not segments or not aggregation.exists():
        absent = aggregation.name if segments else f"{scan}{_SCANNET}.0.010000.segs.json"
        raise InputError(f"{brief(mesh)} has 1 of its 2 files of instances beside it; {absent} is missing.")
    return segments[0], aggregation


def _read_ply(path: Path, field: str | None, zero: str) -> Geometry:
    names = (field.lower(),) if field else _IDS
    with parsing(str(path), ".ply file"):
        content = read_ply_fields(read_bytes(path), path, {*names, *_RGB})
    points = _check(content.vertices, path)
    faces = _fan(content, path)
    ids = _field_of(content, names, len(points), path, zero)
    if ids is None and field:
        raise InputError(f"{brief(path)} has no field {field!r} of vertices or faces; leave --field out or name one.")
    colours = None
    if all(name in content.of_vertices for name in _RGB):
        colours = _bytes(np.stack([content.of_vertices[name] for name in _RGB], 1))
    return Geometry(points, faces, colours, ids)


def _field_of(content: PlyContent, names: Sequence[str], vertices: int, path: Path, zero: str) -> np.ndarray | None:
    """Ids of vertices, or those of faces handed on to their corners as Replica's meshes need it."""
    name = next((name for name in names if name in content.of_vertices), None)
    if name is not None:
        return whole_ids(content.of_vertices[name], f"{brief(path)}, field {name}", zero)
    name = next((name for name in names if name in content.of_faces), None)
    if name is None or len(content.of_faces[name]) != len(content.counts):  # triangle strips beside faces
        return None
    of_faces = whole_ids(content.of_faces[name], f"{brief(path)}, field {name}", zero)  # (F,)
    ids = np.full(vertices, -1, np.int64)
    ids[content.corners.astype(np.int64)] = np.repeat(of_faces, content.counts)
    return ids


def _fan(content: PlyContent, path: Path) -> np.ndarray:
    """Polygons as corners of triangles, (F, 3): good enough to look at and to sample from."""
    corners, counts = content.corners, content.counts
    inside = not len(corners) or (corners.min() >= 0 and corners.max() < len(content.vertices))
    if not inside or (corners != np.rint(corners)).any():
        raise InputError(
            f"{brief(path)} names vertices {corners.min()} to {corners.max()} (counted from 0) in its faces, but has "
            f"{len(content.vertices)}; it is damaged or truncated."
        )
    each = np.maximum(counts - 2, 0)
    check_triangles(int(each.sum()), path)
    first = np.repeat(np.cumsum(counts) - counts, each)  # where the polygon of each triangle begins
    step = ragged(np.ones_like(each), each)  # 1, 2, ... in every polygon
    return np.stack([corners[first], corners[first + step], corners[first + step + 1]], 1).astype(np.int64)


def _read_npz(path: Path, field: str | None, zero: str) -> Geometry:
    names = array_names(path)
    key = next((name for name in _POINTS if name in names), None)
    if key is None:
        listed = ", ".join(name[:40] for name in names[:8]) or "none"
        raise InputError(f"{brief(path)} holds the arrays {listed}; one of them must be {', '.join(_POINTS)}.")
    points = _check(as_array(load_array(path, (key,)), str(path)), path)
    chosen = next((name for name in ([field] if field else _IDS) if name in names), None)
    if field and chosen is None:
        raise InputError(f"{brief(path)} has no array {field!r}; its arrays are {', '.join(names[:8])}.")
    ids = None
    if chosen is not None:
        values = np.asarray(load_array(path, (chosen,)))
        ids = _as_long_as(whole_ids(values, f"{brief(path)}, array {chosen}", zero), points, path, chosen)
    shade = next((name for name in _COLOURS if name in names), None)
    colours = None
    if shade is not None:
        colours = _bytes(_as_long_as(np.asarray(load_array(path, (shade,))), points, path, shade))
    return Geometry(points, colours=colours, ids=ids)


def _as_long_as(values: np.ndarray, points: np.ndarray, path: Path, name: str) -> np.ndarray:
    if len(values) != len(points):
        raise InputError(f"{brief(path)} has {len(values)} rows in {name} for {len(points)} points; give one for each.")
    return values


def _bytes(colours: np.ndarray) -> np.ndarray | None:
    """(V, 3) of 0 to 255, or of 0 to 1, as uint8; None where the numbers are neither."""
    if colours.ndim != 2 or colours.shape[1] < 3 or colours.dtype.kind not in "iuf":
        return None
    values = colours[:, :3].astype(np.float64)
    if not np.isfinite(values).all() or not len(values) or values.min() < 0 or values.max() > 255:
        return None
    scale = 255 if colours.dtype.kind == "f" and values.max() <= 1 else 1
    return np.rint(values * scale).astype(np.uint8)


def _plain_points(path: Path) -> np.ndarray:
    """Points of a file that cannot name instances."""
    suffix = path.suffix.lower()
    if suffix in MESH_SUFFIXES:
        triangles, points = read_mesh(path)
        return sample_surface(triangles, _SURFACE, 0, str(path)) if len(triangles) else points
    if suffix in ARRAY_SUFFIXES:
        return as_array(load_array(path, _POINTS), str(path))
    if suffix in (".xyz", ".pcd"):
        return np.asarray(read_xyz(path) if suffix == ".xyz" else read_pcd(path))
    raise InputError(f"{brief(path)} has the ending {suffix!r}; a scan ends in {' '.join(SCAN_SUFFIXES)}.")


def _check(points: np.ndarray, path: Path) -> np.ndarray:
    """(V, 3) float64, finite, not too many."""
    if points.ndim != 2 or points.shape[1] < 3 or not len(points):
        raise InputError(f"{brief(path)} has points of shape {points.shape}; a scan is (points, 3), at least one.")
    if len(points) > MAX_POINTS:
        raise InputError(f"{brief(path)} has {len(points)} points; at most {MAX_POINTS} are read.")
    xyz = np.asarray(points[:, :3], np.float64)
    broken = int((~np.isfinite(xyz)).any(1).sum())
    if broken:
        raise InputError(
            f"{brief(path)} has {broken} of {len(xyz)} points that are NaN or infinite; all must be finite."
        )
    return xyz


def _with_scannet(found: Geometry, mesh: Path, segments: Path, aggregation: Path) -> Geometry:
    """Instance ids as ScanNet's own tools number them: objectId + 1, so that its masks name the same things."""
    of_vertices = _whole_list(_named(segments, "segIndices"), segments, "segIndices")  # (V,)
    if len(of_vertices) != len(found.points):
        raise InputError(
            f"{brief(segments)} has {len(of_vertices)} segIndices for the {len(found.points)} vertices of {mesh.name}; "
            "give the segments of this mesh."
        )
    groups = _named(aggregation, "segGroups")
    if not isinstance(groups, list) or len(groups) > MAX_INSTANCES:
        count = len(groups) if isinstance(groups, list) else 0
        raise InputError(f"{brief(aggregation)} has {count} segGroups; it must be a list of at most {MAX_INSTANCES}.")
    names, first = np.unique(of_vertices, return_inverse=True)  # segments that the mesh has
    of_segments = np.full(len(names), -1, np.int64)
    labels: dict[int, str] = {}
    seen: set[int] = set()
    for number, group in enumerate(groups, start=1):
        own, parts, label = _group(group, number, aggregation)
        if own in seen:
            raise InputError(f"{brief(aggregation)} has the objectId {own - 1} twice; each thing has its own.")
        seen.add(own)
        places = np.minimum(np.searchsorted(names, parts), len(names) - 1)
        # a segment in two groups belongs to the later, as in ScanNet's own reader
        of_segments[places[names[places] == parts]] = own
        if label:
            labels[own] = label
    return Geometry(found.points, found.faces, found.colours, of_segments[first], labels)


def _group(group: Any, number: int, path: Path) -> tuple[int, np.ndarray, str]:
    where = f"{brief(path)}, segGroups {number}:"
    if not isinstance(group, dict):
        raise InputError(f"{where} it is a {type(group).__name__}; it must have objectId, segments and label.")
    own = group.get("objectId", group.get("id"))
    if not isinstance(own, int) or isinstance(own, bool) or not 0 <= own < 2**31 - 1:
        raise InputError(f"{where} objectId is {str(own)[:40]!r}; it must be a whole number of 0 or more.")
    label = group.get("label") or ""
    if not isinstance(label, str):
        raise InputError(f"{where} label is a {type(label).__name__}; it must be a text.")
    return own + 1, _whole_list(group.get("segments"), path, f"segments of segGroups {number}"), label[:_LONGEST_LABEL]


def _named(path: Path, name: str) -> Any:
    value = read_json_object(path, error=InputError, max_bytes=_MAX_JSON)
    if name not in value:
        known = ", ".join(str(key)[:40] for key in list(value)[:8]) or "nothing"
        raise InputError(f"{brief(path)} has no {name}; it has {known}.")
    return value[name]


def _whole_list(values: Any, path: Path, name: str) -> np.ndarray:
    whole = isinstance(values, list) and all(type(value) is int and abs(value) < 2**62 for value in values)
    if not whole:
        what = "a list with something else in it" if isinstance(values, list) else f"a {type(values).__name__}"
        raise InputError(f"{brief(path)}: {name} is {what}; it must be a list of whole numbers.")
    return np.array(values, np.int64)
