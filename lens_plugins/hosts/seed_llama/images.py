"""Pictures to files, with what they were made of inside; and several pictures on one sheet."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from ...errors import InputError
from ...files.writing import replacing

__all__ = ["SUFFIXES", "check_target", "contact_sheet", "numbered", "read_notes", "save_pictures"]

SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_KEY = "lens-plugins"  # name of the text chunk in a PNG
_DESCRIPTION = 0x010E  # EXIF's ImageDescription, which JPEG and WebP carry
_QUALITY = 95  # of JPEG and WebP, in percent
_GAP = 8  # pixels between the pictures of a sheet


def check_target(path: str | os.PathLike[str]) -> Path:
    """Where a picture may be written, asked before anything is computed.

    Raises:
        InputError: an ending that is no picture format of ours, a folder that is absent, or a folder in its place.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} ends in {path.suffix!r}; pictures are written as {', '.join(SUFFIXES)}.")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}.")
    if path.is_dir():
        raise InputError(f"{path} cannot be written: it is a folder.")
    return path


def numbered(path: Path, number: int) -> Path:
    """`out.png` -> `out-1.png`."""
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def save_pictures(pictures: Mapping[Path, tuple[Image.Image, Mapping[str, Any]]]) -> None:
    """Write pictures with their notes; every file is complete before the first one takes its name.

    Args:
        pictures: by file, a picture and JSON values that say what it was made of.

    Raises:
        InputError: see `check_target`; or the disk refuses.
    """
    # every file is whole before the first takes its name
    with ExitStack() as waiting:
        for path, (picture, notes) in pictures.items():
            temporary = waiting.enter_context(replacing(check_target(path), error=InputError, make_folder=False))
            temporary.write_bytes(_encoded(picture, path, notes))


def read_notes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a picture was made of, as `save_pictures` wrote it: prompt, codes, seed.

    Raises:
        InputError: not a picture, or none of ours.
    """
    try:
        with Image.open(path) as picture:
            text = picture.info.get(_KEY) or picture.getexif().get(_DESCRIPTION)
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path} cannot be opened as a picture: {error}.") from error
    try:
        notes = json.loads(text or "")
    except ValueError as error:
        raise InputError(f"{path} does not say what it was made of; `lens-plugins imagine` writes that.") from error
    return dict(notes)


def contact_sheet(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size in a grid as near to a square as it goes, row by row, on white.

    Raises:
        InputError: there are none.
    """
    if not pictures:
        raise InputError("A contact sheet of 0 pictures cannot be made; it needs at least 1.")
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    width, height = (max(side) for side in zip(*(picture.size for picture in pictures)))
    sheet = Image.new("RGB", (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP), "white")
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(picture, (column * (width + _GAP), row * (height + _GAP)))
    return sheet


def _encoded(picture: Image.Image, path: Path, notes: Mapping[str, Any]) -> bytes:
    text = json.dumps(dict(notes))  # ASCII: neither format has another encoding for sure
    how = SUFFIXES[path.suffix.lower()]
    options: dict[str, Any]
    if how == "PNG":
        chunk = PngInfo()
        chunk.add_text(_KEY, text)
        options = {"pnginfo": chunk}
    else:
        exif = Image.Exif()
        exif[_DESCRIPTION] = text
        options = {"exif": exif.tobytes(), "quality": _QUALITY}
    data = BytesIO()
    picture.convert("RGB").save(data, how, **options)
    return data.getvalue()
