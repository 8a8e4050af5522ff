"""OBJ models as triangles by material: what the renderer draws and what point clouds are sampled from. Uses VTK."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lens_plugins._optional import require
from lens_plugins.errors import InputError

__all__ = ["Material", "Mesh", "Part", "read_mtl", "read_obj"]

NO_MATERIAL = "NO_MATERIAL"  # VTK's word
TEXTURE_SIDE = 512  # px; larger pictures are shrunk, a rendered view is far smaller


@dataclass(frozen=True)
class Material:
    """Colour (sRGB, 0 to 1), opacity, gloss and picture of one surface."""

    name: str = ""
    colour: tuple[float, float, float] = (0.8, 0.8, 0.8)
    opacity: float = 1.0
    specular: float = 0.0
    shininess: float = 10.0
    texture: Path | None = None


@dataclass(frozen=True)
class Part:
    """Triangles of one material: points (V, 3) float32, triangles (F, 3) int64, uv (V, 2) float32 or None."""

    points: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray | None
    material: Material


@dataclass(frozen=True)
class Mesh:
    """A model, y up, in the units of its file."""

    parts: tuple[Part, ...]

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of the triangles' points, each (3,)."""
        used = [part.points[np.unique(part.triangles)] for part in self.parts]
        return np.min([p.min(0) for p in used], axis=0), np.max([p.max(0) for p in used], axis=0)

    def turned(self, rotation: np.ndarray) -> Mesh:
        """Every point p becomes rotation @ p; `rotation` is (3, 3)."""
        turn = np.asarray(rotation, np.float32).reshape(3, 3).T
        return Mesh(tuple(replace(part, points=part.points @ turn) for part in self.parts))

    def triangles(self) -> np.ndarray:
        """All corners, (F, 3, 3) float32."""
        return np.concatenate([part.points[part.triangles] for part in self.parts])


def _find(folder: Path, name: str) -> Path | None:
    """The file `name` in `folder`, whatever its case; None where there is none."""
    name = name.replace("\\", "/").split("/")[-1]
    exact = folder / name
    if exact.is_file():
        return exact
    return next((p for p in folder.iterdir() if p.name.lower() == name.lower()), None)


def _numbers(text: str) -> list[float]:
    return [float(v) for v in re.findall(r"[-+0-9.eE]+", text)]


def read_mtl(path: Path) -> dict[str, Material]:
    """Materials by name. A texture that is not there is left out; unknown statements are ignored."""
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text("latin-1").splitlines():
        key, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if key == "newmtl":
            found[rest] = current = {"name": rest}
        elif not found:
            continue
        elif key == "Kd":
            current["colour"] = tuple(min(max(v, 0.0), 1.0) for v in _numbers(rest)[:3])
        elif key == "Ks":
            current["specular"] = min(max(float(np.mean(_numbers(rest)[:3])), 0.0), 0.5)
        elif key == "Ns":
            current["shininess"] = min(max(_numbers(rest)[0], 1.0), 100.0)
        elif key == "d":
            current["opacity"] = min(max(_numbers(rest)[0], 0.0), 1.0)
        elif key == "map_Kd":
            current["texture"] = _find(path.parent, rest)
    return {name: Material(**values) for name, values in found.items()}


def read_obj(path: Path) -> Mesh:
    """Read an OBJ file with the materials it names; polygons become triangles.

    Raises:
        InputError: the file holds no faces.
    """
    io, filters = (
        require("vtkmodules.vtkIOGeometry", extra="pocket"),
        require("vtkmodules.vtkFiltersCore", extra="pocket"),
    )
    reader = io.vtkOBJReader()
    reader.SetFileName(str(path))
    cut = filters.vtkTriangleFilter()
    cut.SetInputConnection(reader.GetOutputPort())
    cut.PassLinesOff()
    cut.PassVertsOff()
    cut.Update()
    data = cut.GetOutput()
    if data.GetNumberOfPolys() == 0:
        raise InputError(f"{path.name} holds 0 faces; a model needs at least 1.")
    return Mesh(tuple(_parts(data, *_statements(path))))


def _statements(path: Path) -> tuple[dict[str, Material], str]:
    """The materials of the files that an OBJ names in `mtllib` (or of the one beside it), and the first one used.

    VTK calls the faces of the first material "NO_MATERIAL", though it keeps their texture coordinates under its name.
    """
    text = path.read_text("latin-1")
    names = re.findall(r"^mtllib[ \t]+(.+?)\s*$", text, re.MULTILINE) or [path.stem + ".mtl"]
    files = [file for name in names if (file := _find(path.parent, name))]
    first_face = re.search(r"^f\s", text, re.MULTILINE)
    before = re.findall(r"^usemtl[ \t]+(.+?)\s*$", text[: first_face.start() if first_face else 0], re.MULTILINE)
    return {name: m for file in files for name, m in read_mtl(file).items()}, before[-1] if before else ""


def _parts(data: Any, library: dict[str, Material], first: str) -> list[Part]:
    """Split VTK's polygons by material; each material has texture coordinates of its own, named like it."""
    to_numpy = require("vtkmodules.util.numpy_support", extra="pocket").vtk_to_numpy
    points = to_numpy(data.GetPoints().GetData()).astype(np.float32)
    faces = to_numpy(data.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int64)
    which = to_numpy(data.GetCellData().GetArray("MaterialIds")).astype(int)
    names = data.GetFieldData().GetAbstractArray("MaterialNames")
    parts = []
    for number in np.unique(which):
        name = names.GetValue(int(number)) if 0 <= number < names.GetNumberOfValues() else NO_MATERIAL
        name = first if name == NO_MATERIAL else name
        used, triangles = np.unique(faces[which == number], return_inverse=True)
        coordinates = data.GetPointData().GetArray(name) if name else None
        uv = to_numpy(coordinates).astype(np.float32)[used] if coordinates is not None else None
        parts.append(Part(points[used], triangles.reshape(-1, 3), uv, library.get(name, Material(name))))
    return parts


def read_texture(path: Path) -> np.ndarray:
    """A texture as (H, W, 4) uint8, bottom row first as graphics libraries want it, alpha either 0 or 255."""
    with Image.open(path) as picture:
        picture.thumbnail((TEXTURE_SIDE, TEXTURE_SIDE))
        pixels = np.array(picture.convert("RGBA"))
    pixels[..., 3] = np.where(pixels[..., 3] < 128, 0, 255)  # leaves are cut out, so they need no depth sorting
    return np.ascontiguousarray(pixels[::-1])
