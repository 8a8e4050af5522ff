"""Named pictures from packages, brought to one size with transparency: emoji in three styles, stamps, clip art."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from . import classes, pack
from .render import SIDE
from .split import hash01

__all__ = ["Picture", "clipart", "emoji", "fit", "pack_pictures", "stamps"]

MARGIN = 4  # px left free around a fitted picture
MAX_PIXELS = 20_000_000  # clip art of 169 megapixels exists; it is passed over before it is decoded
PAPER = 244  # a channel at least this bright in all three is paper
HELD_OUT = 0.05  # of the things, not of the pictures

# emojibase's numbers. Groups kept: animals and nature, food, travel and places, activities, objects.
GROUPS = frozenset({3, 4, 5, 6, 7})
MAMMALS, FLOWERS = 34, 40
LEFT_OUT = frozenset({58, 66})  # clock faces; sound symbols
TIMEPIECES = frozenset({"hourglass done", "watch", "alarm clock", "stopwatch", "timer clock", "mantelpiece clock"})
NOT_THINGS = re.compile(r"\b(suit|medal|button|sign|pictogram|paw prints|dizzy|sparkles|droplet)\b|^(fog|joker)$")
# Phrases that end in a class's word and are something else.
ELSE = re.compile(
    r" (and|with|in|on|of) |(hot|corn) dog$|teddy bear$|(traffic|police car) lights?$|plug$|(railway|cable|tram) car$"
    r"|(card file|post) box$|(magnif\w+|looking|^)\s?glass$|pressure cooker$|pepper grinder$|trophy cup$"
    r"|(honey|pasta) pot$|man face$"
)


@dataclass(frozen=True)
class Picture:
    """A picture file and what it shows; `name` None: not known, of use without a label only."""

    id: str
    path: Path
    name: str | None
    caption: str | None
    label: str | None
    source: str
    style: str
    licence: str


def fit(picture: Image.Image) -> np.ndarray | None:
    """Crop to what is drawn and fit into (SIDE, SIDE, 4) uint8; None where next to nothing is.

    A picture without transparency loses the paper that touches its border; one that is not on white keeps its frame.
    """
    pixels = np.array(picture.convert("RGBA"))
    if pixels[..., 3].min() == 255:
        pixels[..., 3] = np.where(_paper(pixels[..., :3]), 0, 255)
    rows, columns = np.nonzero(pixels[..., 3] > 16)
    if not len(rows):
        return None
    cropped = Image.fromarray(pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], "RGBA")
    inner = SIDE - 2 * MARGIN
    scale = inner / max(cropped.size)
    size = tuple(max(round(v * scale), 1) for v in cropped.size)
    canvas = Image.new("RGBA", (SIDE, SIDE))
    canvas.paste(cropped.resize(size, Image.Resampling.LANCZOS), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    fitted = np.array(canvas)
    return fitted if (fitted[..., 3] > 127).mean() > 0.01 else None


def _paper(rgb: np.ndarray) -> np.ndarray:
    """The bright pixels that hang together with the border, (H, W) bool; none if they are all there is."""
    bright = (rgb >= PAPER).all(-1)
    regions, _ = ndimage.label(bright)
    edge = np.unique(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
    outside = np.isin(regions, edge[edge > 0])
    return outside if outside.mean() < 0.985 else np.zeros_like(outside)


def _label(name: str, table: Iterable[str]) -> str | None:
    return None if ELSE.search(name) else classes.class_of_noun(name.removesuffix(" face"), table)


def emoji(folder: Path, table: Collection[str]) -> Iterator[Picture]:
    """Things among the emoji, each in up to three styles.

    Args:
        folder: holds the unpacked npm packages, each in a folder that starts with the package's name.
        table: the classes of the closed set.
    """
    data = json.loads(next(folder.glob("emojibase-data-*/package/en/data.json")).read_text("utf-8"))
    styles = [_style(folder, *style) for style in STYLES]
    for entry in data:
        name, group, subgroup = entry["label"].lower(), entry.get("group"), entry.get("subgroup")
        if group not in GROUPS or NOT_THINGS.search(name) or (subgroup in LEFT_OUT and name not in TIMEPIECES):
            continue
        name = re.sub(r"[“”’]", "", name)
        label = "animal" if subgroup == MAMMALS else "flower" if subgroup == FLOWERS else _label(name, table)
        for style, licence, files in styles:
            path = files.get(_code(entry["hexcode"]))
            if path is not None:
                key = f"emoji-{style}-{entry['hexcode'].lower()}"
                yield Picture(key, path, name, classes.with_article(name), label, "emoji", style, licence)


STYLES = (
    ("fluent", "MIT", "lobehub-fluent-emoji-3d-*/package/assets/*.webp"),
    ("noto", "Apache-2.0", "emoji-datasource-google-*/package/img/google/64/*.png"),
    ("twemoji", "CC-BY-4.0", "emoji-datasource-twitter-*/package/img/twitter/64/*.png"),
)


def _code(hexcode: str) -> str:
    """A sequence of code points without the variation selector, by which the packages differ."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def _style(folder: Path, style: str, licence: str, pattern: str) -> tuple[str, str, dict[str, Path]]:
    return style, licence, {_code(path.stem): path for path in sorted(folder.glob(pattern))}


def stamps(folder: Path, table: Collection[str]) -> Iterator[Picture]:
    """Tux Paint's stamps: the first line of NAME.txt says what NAME.png shows. Symbols and mirror images stay out."""
    root = next(folder.rglob("tuxpaint/stamps"))
    for path in sorted(root.rglob("*.png")):
        text = path.with_suffix(".txt")
        inside = path.relative_to(root)
        if inside.parts[0] == "symbols" or re.search(r"_(mirror|flip|mirror_flip)$", path.stem) or not text.exists():
            continue
        lines = text.read_text("utf-8", errors="replace").splitlines()
        name = _stamp_name(lines[0]) if lines else None
        name = name or re.sub(r"[\W\d_]+", " ", path.stem).strip().lower()
        label = "animal" if inside.parts[:2] == ("animals", "mammals") else _label(name, table)
        key = "stamp-" + str(inside.with_suffix("")).replace("/", "-")
        yield Picture(key, path, name, classes.with_article(name), label, "stamps", "photo or drawing", "GPL-2.0-only")


def _stamp_name(line: str) -> str | None:
    """ "A badger." -> "badger"; None for a sentence ("A fast APC like this gets you to battle")."""
    found = re.match(r"^(?:an?|the|some|two|three)\s+(.+?)[.!]?$", line.strip(), re.IGNORECASE)
    if not found or len(found[1].split()) > 4 or re.search(r"[.,!?()]", found[1]):
        return None
    return found[1].lower()


CLIPART_FOLDERS = (
    "animals", "buildings", "containers", "decorations", "education", "electronics", "food", "office", "people",
    "plants", "recreation", "tools", "transportation",
)  # fmt: skip
CLIPART_LEFT_OUT = re.compile(r"roadsigns|aiga|signs|symbols|flags?|logo|icons?/|nautical|cards?/")
SMALL_WORDS = frozenset(
    {"a", "an", "and", "at", "by", "d", "de", "del", "di", "e", "for", "from", "in", "i", "la", "le", "il", "of", "on",
     "or", "over", "s", "the", "to", "up", "with", "without"}
)  # fmt: skip


def clipart(folder: Path, table: Collection[str], vocabulary: Collection[str]) -> Iterator[Picture]:
    """Clip art from the folders of things.

    File names end in their makers' names, so only words of `vocabulary` are believed. A picture of which no word is
    known keeps no name.
    """
    root = next(folder.rglob("openclipart/png"))
    for top in CLIPART_FOLDERS:
        for path in sorted((root / top).rglob("*.png")):
            inside = path.relative_to(root)
            if CLIPART_LEFT_OUT.search(str(inside)):
                continue
            name = _clipart_name(path.stem, vocabulary)
            caption, label = (classes.with_article(name), _label(name, table)) if name else (None, None)
            key = "clipart-" + str(inside.with_suffix("")).replace("/", "-")
            yield Picture(key, path, name, caption, label, "clipart", "drawing", "public domain")


def _clipart_name(stem: str, vocabulary: Collection[str]) -> str | None:
    """ "hot_dog_juliane_krug_r" -> "hot dog": known words up to the first unknown one after them."""
    kept: list[str] = []
    for word in re.findall(r"[a-z]+", stem.lower()):
        if word in vocabulary or (kept and word in SMALL_WORDS):
            kept.append(word)
        elif kept:
            break
    while kept and (kept[-1] in SMALL_WORDS or len(kept) > 4):
        kept.pop()
    return " ".join(kept) or None


def vocabulary(folder: Path, names: Iterable[str]) -> frozenset[str]:
    """Words that name things: emoji labels of the kept groups, and every name given."""
    data = json.loads(next(folder.glob("emojibase-data-*/package/en/data.json")).read_text("utf-8"))
    labels = [entry["label"] for entry in data if entry.get("group") in GROUPS]
    words = {word for text in [*labels, *names] for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 2}
    return frozenset(words - SMALL_WORDS - NAMES)


# Words of thing names that are also first or last names of clip-art makers.
NAMES = frozenset(["mike", "bob", "jack", "park", "dan", "gray", "martin", "ben"])


def pack_pictures(pictures: Iterable[Picture], out: Path) -> int:
    """Write the pack of one source; returns how many pictures were usable."""
    found = list(pictures)

    def drawn() -> Iterator[tuple[dict[str, Any], np.ndarray, None]]:
        for picture in found:
            pixels = _open(picture.path)
            if pixels is not None:
                yield _index_row(picture), pixels, None

    temporary = out.with_name(out.name + ".part")
    count, _ = pack.write_images(temporary, drawn(), len(found))
    pack.publish(temporary, out)
    return count


def _index_row(picture: Picture) -> dict[str, Any]:
    side = "test" if picture.name and hash01(f"{picture.source} {picture.name}") < HELD_OUT else "train"
    return {
        "object": picture.id,
        "class": picture.label,
        "name": picture.name,
        "caption": picture.caption,
        "split": side,
        "source": picture.source,
        "licence": picture.licence,
        "view": 0,
        "style": picture.style,
    }


def _open(path: Path) -> np.ndarray | None:
    """A fitted picture, or None for one that is too large, broken or empty."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked here, below its limit
            with Image.open(path) as picture:
                return fit(picture) if picture.width * picture.height <= MAX_PIXELS else None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return None
