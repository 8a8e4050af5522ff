"""Sweet Home 3D's furniture catalogues (`.sh3f`): zip files with a properties table, OBJ models and their textures."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lens_plugins.errors import InputError

__all__ = ["CatalogueModel", "extract", "licence_of", "read_catalogue", "read_catalogues"]

PROPERTIES = "PluginFurnitureCatalog.properties"
ROW = re.compile(r"^\s*(\w+)#(\d+)\s*[=:]\s*(.*?)\s*$")
BAD_FACE = re.compile(rb"^f[ \t]+\S+([ \t]+\S+)?[ \t]*\r?\n", re.MULTILINE)
HEADER = re.compile(r"^\s*(\w+)\s*[=:]\s*(.*?)\s*$")
MAKER_TAGS = {"Blend Swap", "SCPTS"}  # tags that say where a model comes from, not what it is


@dataclass(frozen=True)
class CatalogueModel:
    """One row of a catalogue. `rotation` turns the OBJ's coordinates to y up, facing +z (row-major 3 x 3)."""

    id: str  # "Scopia-161-cat": catalogue, row, model file
    catalogue: str
    name: str
    category: str
    tags: tuple[str, ...]
    creator: str
    licence: str
    member: str  # path of the OBJ inside the catalogue
    size: tuple[float, float, float]  # width, height, depth in centimetres
    rotation: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def licence_of(catalogue: str, header: str) -> str:
    """The licence's short name from the catalogue's own `license` line."""
    if "public domain" in header.lower():
        return "CC0-1.0"
    if "united states" in header.lower():
        return "CC-BY-3.0-US"
    if "attribution 3.0" in header.lower() or "attribution" in header.lower():
        return "CC-BY-3.0"
    raise InputError(
        f"Catalogue {catalogue!r} states the licence {header!r}; known are CC0, CC-BY 3.0 and CC-BY 3.0 US."
    )


def _unescape(text: str) -> str:
    """Java properties write other alphabets as backslash-u escapes."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text).replace("\\", "")


def read_catalogue(path: Path) -> list[CatalogueModel]:
    """The models of one `.sh3f` file, in the order of its table.

    Raises:
        InputError: not a zip file, no properties table, or a model that the zip lacks.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(PROPERTIES).decode("latin-1")
            members = set(archive.namelist())
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise InputError(
            f"{path.name} is not a furniture catalogue: {error}. Expected a zip with {PROPERTIES}."
        ) from error
    header: dict[str, str] = {}
    rows: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        if row := ROW.match(line):
            rows.setdefault(int(row[2]), {})[row[1]] = _unescape(row[3])
        elif (pair := HEADER.match(line)) and not line.startswith("#"):
            header[pair[1]] = pair[2]
    licence = licence_of(path.stem, header.get("license", ""))
    models = [_model(path.stem, number, row, licence) for number, row in sorted(rows.items()) if "model" in row]
    absent = [model.member for model in models if model.member not in members]
    if absent:
        raise InputError(f"{path.name} lists {len(models)} models but lacks the files of {len(absent)}: {absent[0]}, …")
    return models


def _model(catalogue: str, number: int, row: dict[str, str], licence: str) -> CatalogueModel:
    member = row["model"].lstrip("/")
    tags = tuple(tag for tag in (t.strip() for t in row.get("tags", "").split(",")) if tag and tag not in MAKER_TAGS)
    rotation = (
        tuple(float(v) for v in row["modelRotation"].split())
        if row.get("modelRotation")
        else (1, 0, 0, 0, 1, 0, 0, 0, 1)
    )
    return CatalogueModel(
        id=f"{catalogue}-{number}-{PurePosixPath(member).stem}",
        catalogue=catalogue,
        name=row["name"],
        category=row.get("category", ""),
        tags=tags,
        creator=row.get("creator", ""),
        licence=licence,
        member=member,
        size=tuple(float(row[key]) for key in ("width", "height", "depth")),
        rotation=rotation,
    )


def read_catalogues(folder: Path) -> list[CatalogueModel]:
    """The models of every `.sh3f` under `folder`, by catalogue name.

    Raises:
        InputError: there is none.
    """
    paths = sorted(folder.rglob("*.sh3f"))
    if not paths:
        raise InputError(f"{folder} holds 0 furniture catalogues; expected at least 1 file ending in .sh3f.")
    return [model for path in paths for model in read_catalogue(path)]


def extract(folder: Path, out: Path) -> Iterator[Path]:
    """Unpack every catalogue under `folder` to `out/<catalogue>/`; yields each of those folders."""
    for path in sorted(folder.rglob("*.sh3f")):
        target = out / path.stem
        with zipfile.ZipFile(path) as archive:
            wanted = [m for m in archive.namelist() if m.lower().endswith((".obj", ".mtl", ".png", ".jpg", ".jpeg"))]
            archive.extractall(target, wanted)
        for model in target.rglob("*.obj"):
            _drop_bad_faces(model)
        yield target


def _drop_bad_faces(path: Path) -> None:
    """Take out faces of one or two corners: VTK's reader gives up on the whole file at the first of them."""
    text = path.read_bytes()
    kept = BAD_FACE.sub(b"", text)
    if kept != text:
        path.write_bytes(kept)
