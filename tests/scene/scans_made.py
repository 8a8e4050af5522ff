"""Small scans in the layouts that others write: by hand, so that what is read can be compared with what was meant."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from lens_plugins.hosts.messages import Text

PLY_TYPES = {"float": "<f4", "uchar": "u1", "int": "<i4", "ushort": "<u2"}


def box(middle, side: float = 0.5, count: int = 200, seed: int = 0) -> np.ndarray:
    """Points in a box around a middle: (count, 3)."""
    return np.random.default_rng(seed).uniform(-side / 2, side / 2, (count, 3)) + np.asarray(middle, float)


def write_ply(path: Path, columns: dict[str, tuple[str, np.ndarray]], faces=None, of_faces=None) -> Path:
    """A binary little-endian .ply: columns by name as (type, values), triangles (F, 3), a number for each of them."""
    count = len(next(iter(columns.values()))[1])
    rows = np.zeros(count, [(name, PLY_TYPES[kind]) for name, (kind, _) in columns.items()])
    for name, (_, values) in columns.items():
        rows[name] = values
    lines = ["ply", "format binary_little_endian 1.0", "comment VCGLIB generated", f"element vertex {count}"]
    lines += [f"property {kind} {name}" for name, (kind, _) in columns.items()]
    body = rows.tobytes()
    if faces is not None:
        own = [("extra", "<i4")] if of_faces is not None else []
        table = np.zeros(len(faces), [("n", "u1"), ("corners", "<i4", (3,)), *own])
        table["n"], table["corners"] = 3, faces
        lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        if of_faces is not None:
            table["extra"] = of_faces
            lines += ["property int object_id"]
        body += table.tobytes()
    path.write_bytes("\n".join([*lines, "end_header", ""]).encode("ascii") + body)
    return path


def xyz(points: np.ndarray) -> dict[str, tuple[str, np.ndarray]]:
    return {axis: ("float", points[:, i]) for i, axis in enumerate("xyz")}


def write_scannet(folder: Path, points: np.ndarray, segments, groups, scan: str = "scene0000_00") -> Path:
    """ScanNet's three files: colours with alpha as its meshes have them; returns the mesh."""
    folder.mkdir(parents=True, exist_ok=True)
    shades = {name: ("uchar", np.arange(len(points)) % 256) for name in ("red", "green", "blue", "alpha")}
    faces = np.arange(len(points) // 3 * 3).reshape(-1, 3)
    mesh = write_ply(folder / f"{scan}_vh_clean_2.ply", {**xyz(points), **shades}, faces)
    parameters = {"kThresh": "0.0001", "segMinVerts": "20", "minPoints": "750"}
    value = {"params": parameters, "sceneId": scan, "segIndices": [int(each) for each in segments]}
    (folder / f"{scan}_vh_clean_2.0.010000.segs.json").write_text(json.dumps(value))
    rows = [
        {"id": number, "objectId": number, "segments": parts, "label": label}
        for number, (parts, label) in enumerate(groups)
    ]
    value = {"sceneId": f"scannet.{scan}", "appId": "Aggregator.v2", "segGroups": rows, "segmentsFile": "scannet.x"}
    (folder / f"{scan}.aggregation.json").write_text(json.dumps(value))
    return mesh


def write_frames(folder: Path, frames, color_size=(64, 48), depth_size=(32, 24), focal: float = 40.0) -> Path:
    """Posed frames in ScanNet's exported layout.

    Each frame is (pose (4, 4), {id: (left, top, right, bottom, metres, rgb)}) in pixels of the colour picture.
    """
    for name in ("color", "depth", "pose", "intrinsic", "instance-filt"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for kind, size in (("color", color_size), ("depth", depth_size)):
        scale = size[0] / color_size[0]
        rows = [[focal * scale, 0, size[0] / 2, 0], [0, focal * scale, size[1] / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        np.savetxt(folder / "intrinsic" / f"intrinsic_{kind}.txt", rows)
    shrink = color_size[0] // depth_size[0]
    for number, (pose, things) in enumerate(frames):
        picture = np.full((color_size[1], color_size[0], 3), 200, np.uint8)
        mask = np.zeros(picture.shape[:2], np.uint8)
        depth = np.zeros(picture.shape[:2], np.uint16)
        for own, (left, top, right, bottom, metres, shade) in things.items():
            there = np.s_[top:bottom, left:right]
            picture[there], mask[there], depth[there] = shade, own, round(1000 * metres)
        Image.fromarray(picture).save(folder / "color" / f"{number}.jpg", quality=100, subsampling=0)
        Image.fromarray(mask).save(folder / "instance-filt" / f"{number}.png")
        Image.fromarray(depth[::shrink, ::shrink]).save(folder / "depth" / f"{number}.png")
        np.savetxt(folder / "pose" / f"{number}.txt", pose)
    return folder


class Colours:
    """A host that embeds by hand: pictures by their mean colour, clouds by the sides of their box, texts by table."""

    name = "colours"

    def __init__(self, texts=None, lenses=("point_cloud",)) -> None:
        self.texts, self.lenses, self.batches = texts or {}, dict.fromkeys(lenses), []

    def read(self, source, modality=None):
        from lens_plugins.errors import Unsupported
        from lens_plugins.files.opening import check_file

        if modality == "audio":
            raise Unsupported("colours has no lens for an audio clip.")
        check_file(source)
        return source

    def vector(self, source, modality) -> np.ndarray:
        if isinstance(source, Text):
            source = f"text:{source.text}"
        if isinstance(source, str):
            found = np.asarray(self.texts[source], float)
        elif modality == "point_cloud":
            found = np.ptp(np.asarray(source), axis=0)
        else:
            image = source if isinstance(source, Image.Image) else Image.open(source)
            found = np.asarray(image.convert("RGB"), float).mean((0, 1))
        return found / np.linalg.norm(found)

    def embed(self, inputs, space=None, *, modality=None):
        import torch

        sources = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        self.batches.append(len(sources))
        return torch.from_numpy(np.stack([self.vector(each, modality) for each in sources])).float()
