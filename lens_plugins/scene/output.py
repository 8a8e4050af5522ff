"""A ranking as files: a coloured .ply for any viewer of clouds, and an .rrd for rerun's viewer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .._optional import require
from ..errors import InputError
from ..files.opening import brief, local_path
from ..files.writing import replacing
from ..inputs.pictures import open_picture
from .data import Geometry, Scene
from .ranking import Found

__all__ = ["rank_colours", "target_path", "write_ply", "write_rrd"]

_RAMP = np.array(
    [(215, 25, 28), (253, 174, 97), (255, 255, 191), (171, 217, 233), (44, 123, 182)], float
)  # ColorBrewer
_REST = np.array([110, 110, 110], np.uint8)  # what no instance owns, where the scan has no colours
_DIM = 0.35  # of the scan's own colours, for the same
_MOST_SHOWN = 10  # crops and boxes that are named in the viewer


def rank_colours(count: int) -> np.ndarray:
    """A colour for each rank, (count, 3) uint8: the first red, the middle yellow, the last blue."""
    places = np.linspace(0, len(_RAMP) - 1, count) if count > 1 else np.zeros(count)
    return np.stack([np.interp(places, np.arange(len(_RAMP)), shade) for shade in _RAMP.T], 1).round().astype(np.uint8)


def write_ply(path: str | os.PathLike[str], scene: Scene, found: Sequence[Found]) -> None:
    """The scan, coloured by rank, as binary .ply: x, y, z, colours, and for each vertex instance, rank and score.

    Coordinates are metres along the scan's axes. A vertex without an instance has instance -1, rank 0 and score 0.

    Raises:
        InputError: the scene has no points, or the path does not end in .ply.
        LensPluginsError: the disk refuses.
    """
    target = target_path(path, ".ply")
    geometry = _geometry(scene)
    colours, ids, ranks, scores = _by_vertex(geometry, found)
    vertices = np.empty(
        len(ids),
        [*((axis, "<f4") for axis in "xyz"), *((shade, "u1") for shade in ("red", "green", "blue")),
         ("instance", "<i4"), ("rank", "<i4"), ("score", "<f4")],
    )  # fmt: skip
    for axis, values in zip("xyz", geometry.points.T):
        vertices[axis] = values
    for shade, values in zip(("red", "green", "blue"), colours.T):
        vertices[shade] = values
    vertices["instance"], vertices["rank"], vertices["score"] = ids, ranks, scores
    faces = np.empty(len(geometry.faces), [("count", "u1"), ("corners", "<i4", (3,))])
    faces["count"], faces["corners"] = 3, geometry.faces
    kinds = {"<f4": "float", "|u1": "uchar", "<i4": "int"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    header += [f"property {kinds[vertices.dtype[name].str]} {name}" for name in vertices.dtype.names or ()]
    if len(faces):
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    with replacing(target, make_folder=False) as temporary, open(temporary, "wb") as file:
        file.write("\n".join([*header, "end_header", ""]).encode())
        file.write(vertices.tobytes())
        file.write(faces.tobytes())


def write_rrd(path: str | os.PathLike[str], scene: Scene, found: Sequence[Found]) -> None:
    """A recording for rerun's viewer: the scan coloured by rank, boxes around the best, and their best crops.

    Raises:
        InputError: the path does not end in .rrd.
        MissingDependency: rerun-sdk is not installed.
        LensPluginsError: the disk refuses.
    """
    rr = require("rerun", extra="scene", purpose="Writing a recording for rerun's viewer")
    target = target_path(path, ".rrd")
    shades = rank_colours(len(found))
    with replacing(target, make_folder=False) as temporary:
        recording = rr.RecordingStream("lens-plugins scene")
        recording.save(temporary)
        axes = rr.ViewCoordinates.RIGHT_HAND_Z_UP if scene.up == "z" else rr.ViewCoordinates.RIGHT_HAND_Y_UP
        recording.log("scan", axes, static=True)
        if scene.geometry is not None:
            recording.log("scan/points", _drawn(rr, scene.geometry, found), static=True)
        best = [each for each in found[:_MOST_SHOWN] if each.instance.points is not None]
        if best:
            recording.log(
                "scan/best",
                rr.Boxes3D(
                    centers=[each.instance.centre for each in best],
                    sizes=[each.instance.size for each in best],
                    colors=[shades[each.rank - 1] for each in best],
                    labels=[_title(each) for each in best],
                ),
                static=True,
            )
        for each in found[:_MOST_SHOWN]:
            if each.instance.crops:
                picture = each.instance.crops[0].picture
                shown = picture if isinstance(picture, Image.Image) else open_picture(picture, str(picture))
                recording.log(f"crops/{each.rank:02d}", rr.Image(np.asarray(shown.convert("RGB"))), static=True)
        lines = [f"| {each.rank} | {each.score:.3f} | {_title(each)} |" for each in found]
        table = "\n".join(["| rank | score | instance |", "| --- | --- | --- |", *lines])
        recording.log("ranking", rr.TextDocument(table, media_type="text/markdown"), static=True)
        recording.flush()
        recording.disconnect()  # closes the file


def _drawn(rr, geometry: Geometry, found: Sequence[Found]):  # type: ignore[no-untyped-def]  # rerun is optional
    colours = _by_vertex(geometry, found)[0]
    if len(geometry.faces):
        return rr.Mesh3D(vertex_positions=geometry.points, triangle_indices=geometry.faces, vertex_colors=colours)
    return rr.Points3D(geometry.points, colors=colours, radii=0.01)


def _title(found: Found) -> str:
    label = f" {found.instance.label}" if found.instance.label else ""
    return f"{found.rank}: instance {found.instance.id}{label}".replace("|", "/").replace("\n", " ")


def _by_vertex(geometry: Geometry, found: Sequence[Found]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Colours (V, 3), ids (V,), ranks (V,) and scores (V,) of every vertex."""
    ids = np.full(len(geometry.points), -1) if geometry.ids is None else geometry.ids
    colours = np.tile(_REST, (len(ids), 1))
    if geometry.colours is not None:
        colours = (geometry.colours * _DIM).astype(np.uint8)
    order = sorted(found, key=lambda each: each.instance.id)
    names = np.array([each.instance.id for each in order], np.int64)
    at = np.minimum(np.searchsorted(names, ids), max(len(names) - 1, 0))
    known = names[at] == ids if len(names) else np.zeros(len(ids), bool)
    ranks, scores = np.zeros(len(ids), np.int64), np.zeros(len(ids))
    ranks[known] = np.array([each.rank for each in order], np.int64)[at[known]]
    scores[known] = np.array([each.score for each in order])[at[known]]
    colours[known] = rank_colours(len(found))[ranks[known] - 1]
    return colours, ids, ranks, scores


def _geometry(scene: Scene) -> Geometry:
    if scene.geometry is None:
        raise InputError(
            f"{scene.name} has {len(scene.instances)} instances and no points, so no .ply can be drawn; give a scan "
            "with a cloud, a mesh or depth."
        )
    return scene.geometry


def target_path(path: str | os.PathLike[str], ending: str) -> Path:
    """The file to write.

    Raises:
        InputError: it has another ending, or its folder is not there.
    """
    target = local_path(path)
    if not target.parent.is_dir():
        raise InputError(f"There is no folder {brief(target.parent)} to write {target.name} to; make it.")
    if target.suffix.lower() != ending:
        raise InputError(f"{target} ends in {target.suffix!r}; it must end in {ending}.")
    return target
