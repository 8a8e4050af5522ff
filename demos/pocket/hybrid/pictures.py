"""Pictures from packages and folders, each with its name, its licence and what it may be used for, in one pack.

What is trained on is CC0, public domain, CC-BY, Apache or MIT, or made by the recipe itself. Pictures under the GPL or
share-alike terms are for measuring only.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from lens_plugins.errors import LensPluginsError
from lens_plugins.files.writing import replacing

from ..data import classes, sweethome
from ..data.pictures import clipart, emoji, stamps, vocabulary
from ..data.sound_files import rcc_files

__all__ = ["SOURCES", "Pack", "Picture", "Source", "collect", "write_pack"]

LONGEST = 256  # pixels of the longer side in the pack
MAX_PIXELS = 20_000_000
QUALITY = 88


@dataclass(frozen=True)
class Source:
    """Where pictures come from. `use` is "train" or "measure"."""

    name: str
    what: str
    licence: str
    use: str


SOURCES = (
    Source("emoji", "npm: three styles of emoji, names of emojibase", "MIT, Apache-2.0, CC-BY-4.0", "train"),
    Source("clipart", "Debian openclipart-png", "public domain", "train"),
    Source("icons", "Debian sweethome3d-furniture: the catalogues' own icons", "CC-BY-3.0, CC0-1.0", "train"),
    Source("generated", "objects of Infinigen's factories, rendered", "made by the recipe", "train"),
    Source("market", "thumbnails of pmndrs/market-assets", "CC0-1.0", "train"),
    Source("catalogue", "held-out objects of the catalogue, four views", "CC-BY-3.0, CC0-1.0", "measure"),
    Source("gcompris", "Debian gcompris-qt-data: photographs", "mixed, share-alike among it", "measure"),
    Source("stamps", "Debian tuxpaint-stamps-default", "GPL-2.0-only", "measure"),
    Source("samples", "photographs of users", "for measuring", "measure"),
)
TRAINED = frozenset(source.name for source in SOURCES if source.use == "train")


@dataclass(frozen=True)
class Picture:
    """A picture that is yet to be opened; `name` None: not known."""

    id: str
    source: str
    name: str | None
    licence: str
    content: Path | bytes
    box: tuple[int, int, int, int] | None = None  # part of the picture


def _emoji_and_clipart(downloads: Path) -> Iterator[Picture]:
    table = classes.CLASSES
    found = list(emoji(downloads, table))
    known = vocabulary(downloads, [*table, *(picture.name or "" for picture in found)])
    for picture in (*found, *clipart(downloads, table, known)):
        yield Picture(picture.id, picture.source, picture.name, picture.licence, picture.path)


def _icons(downloads: Path, held_out: frozenset[str]) -> Iterator[Picture]:
    """The catalogue's icons, but for the held-out objects."""
    for path in sorted(downloads.rglob("*.sh3f")):
        with zipfile.ZipFile(path) as archive:
            members = frozenset(archive.namelist())
            text = archive.read(sweethome.PROPERTIES).decode("latin-1")
            icons = dict(re.findall(r"^icon#(\d+)\s*=\s*/?(.*?)\s*$", text, re.MULTILINE))
            for model in sweethome.read_catalogue(path):
                icon = icons.get(model.id.split(f"{path.stem}-")[1].split("-")[0])
                if model.id in held_out or icon not in members:
                    continue
                name = classes.clean_name(model.name, model.category, model.tags)
                yield Picture(f"icon-{model.id}", "icons", name, model.licence, archive.read(icon))


def _generated(folder: Path) -> Iterator[Picture]:
    for path in sorted(folder.glob("*/*/view*.webp")):
        key = f"generated-{path.parent.name}-{path.stem}"
        yield Picture(key, "generated", path.parent.parent.name.replace("_", " "), "made by the recipe", path)


def _market(folder: Path) -> Iterator[Picture]:
    for path in sorted(folder.glob("*/thumbnail.png")):
        name = json.loads((path.parent / "info.json").read_text("utf-8"))["name"]
        name = re.sub(r"[^a-z ]+", " ", name.lower()).strip()
        yield Picture(f"market-{path.parent.name}", "market", re.sub(r" +", " ", name) or None, "CC0-1.0", path)


def _catalogue(folder: Path) -> Iterator[Picture]:
    """Held-out objects as they ship: four views in a strip."""
    for line in (folder / "index.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        with Image.open(folder / row["strip"]) as strip:
            side, count = strip.height, strip.width // strip.height
        for view in range(count):
            box = (view * side, 0, (view + 1) * side, side)
            key = f"catalogue-{row['object']}-{view}"
            yield Picture(key, "catalogue", row["class"], row["licence"], folder / row["strip"], box)


GCOMPRIS = {"categorization": "images/(?!alphabets|numbers|others/|living)", "explore_farm_animals": "animals/",
            "explore_world_animals": "animals/", "erase": ""}  # fmt: skip


def _gcompris(downloads: Path) -> Iterator[Picture]:
    root = next(downloads.rglob("gcompris-qt/rcc"))
    for activity, wanted in GCOMPRIS.items():
        for member, content in sorted(rcc_files(root / f"{activity}.rcc").items()):
            inside = member.split("resource/")[-1]
            if not inside.endswith((".webp", ".png", ".jpg")) or not re.match(wanted, inside):
                continue
            stem = re.sub(r"[\d_]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", Path(inside).stem)).strip().lower()
            yield Picture(f"gcompris-{activity}-{inside}", "gcompris", stem, "see its copyright file", content)


def _stamps(downloads: Path) -> Iterator[Picture]:
    for picture in stamps(downloads, classes.CLASSES):
        yield Picture(picture.id, "stamps", picture.name, picture.licence, picture.path)


def _samples(folders: Iterable[Path]) -> Iterator[Picture]:
    for path in sorted(path for folder in folders for path in folder.glob("*.jpg")):
        yield Picture(f"sample-{path.stem}", "samples", re.sub(r"\d", "", path.stem), "for measuring", path)


def collect(
    downloads: Path, objects: Path, models: Path, heldout: Path, samples: Iterable[Path]
) -> dict[str, list[Picture]]:
    """Every picture, by source.

    Args:
        downloads: the unpacked packages.
        objects: generated objects, as `data.generate` writes them.
        models: folders of models with thumbnails.
        heldout: held-out objects of the catalogue, which stay out of training.
        samples: folders of photographs for measuring.
    """
    lines = (heldout / "index.jsonl").read_text("utf-8").splitlines()
    held_out = frozenset(json.loads(line)["object"] for line in lines)
    drawn = list(_emoji_and_clipart(downloads))
    found: dict[str, Iterable[Picture]] = {
        "emoji": [picture for picture in drawn if picture.source == "emoji"],
        "clipart": [picture for picture in drawn if picture.source == "clipart"],
        "icons": _icons(downloads, held_out),
        "generated": _generated(objects),
        "market": _market(models),
        "catalogue": _catalogue(heldout),
        "gcompris": _gcompris(downloads),
        "stamps": _stamps(downloads),
        "samples": _samples(samples),
    }
    return {name: list(pictures) for name, pictures in found.items()}


def _open(picture: Picture) -> Image.Image | None:
    """RGBA, cropped to what is drawn, the longer side at most `LONGEST`; None if it can't be used."""
    source = io.BytesIO(picture.content) if isinstance(picture.content, bytes) else picture.content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are checked here
            with Image.open(source) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    return None
                rgba = opened.convert("RGBA")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return None
    rgba = rgba.crop(picture.box) if picture.box else rgba
    drawn = rgba.getchannel("A").point(lambda v: 255 * (v > 16)).getbbox()
    if drawn is None or min(drawn[2] - drawn[0], drawn[3] - drawn[1]) < 12:
        return None
    rgba = rgba.crop(drawn)
    scale = min(LONGEST / max(rgba.size), 4.0)
    size = (max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale)))
    return rgba.resize(size, Image.Resampling.LANCZOS)


def write_pack(pictures: Iterable[Picture], folder: Path) -> int:
    """Write the usable pictures as WebP in one file beside their index; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with replacing(folder / "pictures.bin") as part, part.open("wb") as file:
        for picture in pictures:
            opened = _open(picture)
            if opened is None:
                continue
            first = file.tell()
            opened.save(file, "WEBP", quality=QUALITY, method=2)
            row = asdict(picture) | {"first": first, "bytes": file.tell() - first}
            rows.append({key: value for key, value in row.items() if key not in {"content", "box"}})
    with replacing(folder / "index.jsonl") as part:
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


class Pack:
    """A written pack: its rows, and each picture when asked for."""

    def __init__(self, folder: Path) -> None:
        index = folder / "index.jsonl"
        if not index.is_file():
            raise LensPluginsError(f"{folder} has no index.jsonl; run the stage `pictures` first.")
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in index.read_text("utf-8").splitlines()]
        self._bytes = np.memmap(folder / "pictures.bin", mode="r", dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.rows)

    def picture(self, number: int) -> Image.Image:
        """The picture as RGBA."""
        row = self.rows[number]
        content = self._bytes[row["first"] : row["first"] + row["bytes"]].tobytes()
        return Image.open(io.BytesIO(content)).convert("RGBA")
