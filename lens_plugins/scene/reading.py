"""The door of this room: a folder of crops, a cloud or mesh, or posed RGB-D frames become a `Scene`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..catalog import modality_of_suffix
from ..errors import ConfigError, InputError
from ..files.opening import brief, check_file, local_path
from .clusters import cluster_points
from .data import MAX_INSTANCES, UNITS, Crop, Geometry, Instance, Scene, listed
from .frames import Frames, Seen, Sightings, find_frames, is_frames_folder
from .scans import SCAN_SUFFIXES, read_geometry

__all__ = ["read_scene"]

_LAYOUTS = (
    "a scan is a folder of pictures (one a thing, or a folder of pictures a thing), a folder with color/, depth/, "
    "pose/ and intrinsic/, or a folder with one cloud or mesh"
)
_UP = ("y", "z")


def read_scene(
    scan: str | os.PathLike[str],
    *,
    up: str = "z",
    unit: str = "m",
    field: str | None = None,
    zero: str = "auto",
    crops: int = 5,
    frames: int = 100,
    clusters: bool = False,
) -> Scene:
    """Read a scan and tell its instances apart, by what the scan itself says of them.

    Args:
        scan: a cloud or mesh; a folder of frames, which may hold one cloud or mesh beside them; or a folder of crops.
        up: the scan's axis that points up, "z" or "y". Scanners write z.
        unit: of the cloud's or mesh's coordinates: "m", "cm" or "mm". Frames are metres and millimetres as ScanNet's.
        field: the field with instance ids; None: any of the usual names.
        zero: what the id 0 means: "object", "none", or "auto", none unless some id is negative.
        crops: pictures kept of each instance, those in which most of it is seen.
        frames: at most so many are read, spread evenly.
        clusters: tell instances apart by distance even where ids are given.

    Returns:
        The scene; `found_by` and `notes` say how its instances came about.

    Raises:
        InputError: nothing that is a scan, or a file of it that cannot be read.
        ConfigError: another axis, unit, or a number below 1.
        MissingDependency: there are no ids, and scikit-learn is not installed.
    """
    path = local_path(scan)
    if up not in _UP or unit not in UNITS:
        raise ConfigError(f"up is {up!r} and unit {unit!r}; they must be one of y, z and one of {', '.join(UNITS)}.")
    if crops < 1 or frames < 1:
        raise ConfigError(f"crops is {crops} and frames {frames}; both must be at least 1.")
    if not path.is_dir():
        check_file(path, None)
    elif not path.name:
        path = path.resolve()
    mesh = _mesh_in(path) if path.is_dir() else path
    if mesh is not None:
        geometry = read_geometry(mesh, field=field, zero=zero)
        geometry = replace(geometry, points=geometry.points * UNITS[unit])
        folder = path if path.is_dir() and is_frames_folder(path) else None
        return _of_geometry(geometry, mesh, folder, up, crops, frames, clusters)
    if is_frames_folder(path):
        return _of_masks(path, up, crops, frames)
    return _of_crops(path, up, crops)


def _mesh_in(folder: Path) -> Path | None:
    """The one cloud or mesh of a folder; of ScanNet's several, the one that its ids are for."""
    found = [path for path in listed(folder) if path.suffix.lower() in SCAN_SUFFIXES and path.is_file()]
    scannet = [path for path in found if path.name.endswith("_vh_clean_2.ply")]
    if len(scannet or found) > 1:
        named = ", ".join(path.name for path in (scannet or found)[:5])
        raise InputError(f"{brief(folder)} holds {len(scannet or found)} clouds or meshes ({named}); name one of them.")
    return next(iter(scannet or found), None)


def _of_geometry(
    geometry: Geometry, mesh: Path, folder: Path | None, up: str, crops: int, frames: int, clusters: bool
) -> Scene:
    """The instances of a cloud or mesh, with crops where frames lie beside it."""
    found_by, notes = "ids", []
    if geometry.ids is None or clusters:
        found_by = "clusters"
        geometry = replace(geometry, ids=cluster_points(geometry.points, brief(mesh)), labels={})
        why = "names no instance ids" if not clusters else "is read without instance ids"
        notes.append(
            f"{mesh.name} {why}: geometric clusters (DBSCAN) stand in for a segmentation; things that touch are one."
        )
    of = _groups(geometry.ids, np.arange(len(geometry.points)))  # vertices of each instance
    of.pop(-1, None)
    if not of:
        raise InputError(f"{brief(mesh)} has {len(geometry.points)} points and 0 instances: every id means none.")
    points = {own: geometry.points[at] for own, at in of.items()}
    seen: Mapping[int, Seen] = {}
    if folder is not None:
        frames_found, more = _look(folder, frames)
        notes += more
        sightings = Sightings(frames_found, crops)
        if found_by == "ids" and frames_found.frames[0].mask is not None:
            seen = sightings.by_masks()
            _check_numbering(seen, points, folder, mesh)
        else:
            seen = sightings.of_points(points)
    triangles = _triangles(geometry)
    instances = [
        Instance(
            own, geometry.labels.get(own), cloud, triangles.get(own), tuple(seen[own].crops if own in seen else ())
        )
        for own, cloud in points.items()
    ]
    return Scene(mesh.name, instances, found_by, up, geometry, tuple(notes))


def _check_numbering(seen: Mapping[int, Seen], points: Mapping[int, np.ndarray], folder: Path, mesh: Path) -> None:
    if not seen.keys() & points.keys():
        raise InputError(
            f"{brief(folder)} has {len(seen)} instance ids in its masks, none of them among the {len(points)} of "
            f"{mesh.name}; give masks and mesh of one numbering (ScanNet: objectId + 1)."
        )


def _groups(ids: np.ndarray | None, values: np.ndarray) -> dict[int, np.ndarray]:
    """The values (M, ...) of each id (M,), in the order of ids."""
    if ids is None or not len(ids):
        return {}
    order = np.argsort(ids, kind="stable")
    names, starts = np.unique(ids[order], return_index=True)
    return dict(zip(names.tolist(), np.split(values[order], starts[1:])))


def _look(folder: Path, most: int) -> tuple[Frames, list[str]]:
    """The frames of a folder, and what is to be said of them."""
    found = find_frames(folder, most)
    notes = []
    if len(found.frames) + found.lost < found.total:
        notes.append(f"{len(found.frames)} of the {found.total} frames are read; --frames reads more.")
    if found.lost:
        notes.append(f"{found.lost} frames are left out: their poses were lost.")
    return found, notes


def _triangles(geometry: Geometry) -> dict[int, np.ndarray]:
    """Triangles all of whose corners are one instance's: (T, 3, 3) by id."""
    faces, ids = geometry.faces, geometry.ids
    if ids is None or not len(faces):
        return {}
    own = ids[faces]  # (F, 3)
    whole = (own[:, 0] == own[:, 1]) & (own[:, 1] == own[:, 2]) & (own[:, 0] >= 0)
    return {name: geometry.points[part] for name, part in _groups(own[whole, 0], faces[whole]).items()}


def _of_masks(folder: Path, up: str, crops: int, frames: int) -> Scene:
    found, notes = _look(folder, frames)
    seen = dict(sorted(Sightings(found, crops).by_masks().items()))
    if not seen:
        raise InputError(f"{brief(folder)} has 0 instances in the masks of {len(found.frames)} frames; 0 means none.")
    instances, points, colours, ids = [], [], [], []
    for own, each in seen.items():
        cloud = each.points[0] if each.points else None
        instances.append(Instance(own, None, cloud, None, tuple(each.crops)))
        if cloud is not None:
            points.append(cloud)
            colours.append(each.colours[0])
            ids.append(np.full(len(cloud), own))
    geometry = None
    if points:
        geometry = Geometry(np.concatenate(points), colours=np.concatenate(colours), ids=np.concatenate(ids))
    return Scene(folder.name, instances, "masks", up, geometry, tuple(notes))


def _of_crops(folder: Path, up: str, crops: int) -> Scene:
    """One instance for each picture, and one for each folder of pictures; numbered from 1 in the order of names."""
    instances: list[Instance] = []
    for entry in listed(folder):
        if entry.name.startswith("."):
            continue
        pictures = [entry] if entry.is_file() else listed(entry) if entry.is_dir() else []
        pictures = [path for path in pictures if path.is_file() and modality_of_suffix(path.suffix.lower()) == "image"]
        if pictures:
            kept = tuple(Crop(path, 0, str(path)) for path in pictures[:crops])
            instances.append(Instance(len(instances) + 1, entry.stem if entry.is_file() else entry.name, crops=kept))
    if not instances:
        raise InputError(f"{brief(folder)} is no scan, it holds 0 pictures and no cloud or mesh; {_LAYOUTS}.")
    if len(instances) > MAX_INSTANCES:
        raise InputError(f"{brief(folder)} holds {len(instances)} crops; at most {MAX_INSTANCES} are read.")
    return Scene(folder.name or str(folder), instances, "files", up)
