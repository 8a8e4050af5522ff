"""How much a file declares to hold, read from its head before anything is decoded."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from .refusals import TooLarge
from .uploads import Upload

if TYPE_CHECKING:
    from .settings import ServeSettings

__all__ = ["check_declared"]

_HEAD = 65536  # bytes in which a text header is looked for
_PLY = re.compile(rb"^element\s+vertex\s+(\d{1,19})\s*$", re.MULTILINE)
_PCD = re.compile(rb"^POINTS\s+(\d{1,19})\s*$", re.MULTILINE)


def check_declared(upload: Upload, settings: ServeSettings) -> None:
    """Refuse a file whose head says that it holds more than the server reads.

    What does not say it, or is damaged, is left to its reader, which has bounds of its own.

    Raises:
        InputError: nothing tells what the file is.
        TooLarge: more pixels, points or seconds than the settings allow.
    """
    name = upload.label
    for suffixes, count, most, what in (
        (_SOUND, _seconds, settings.max_seconds, "seconds"),
        (_POINTS, _points, settings.max_points, "points"),
        (_PICTURES, _pixels, settings.max_pixels, "pixels"),
    ):
        if PurePosixPath(name).suffix.lower() in suffixes:
            found = _declared(count, upload.content)
            if found is not None and found > most:
                raise TooLarge(f"{name} has {found:g} {what}; at most {most:g} are read.")


_PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_POINTS = (".ply", ".pcd", ".npy")
_SOUND = (".wav", ".flac", ".ogg", ".opus")


def _declared(count: Callable[[bytes], float | None], content: bytes) -> float | None:
    try:
        return count(content)
    except Exception:  # noqa: BLE001 - parsers raise all sorts of things; the reader says what is wrong
        return None


def _pixels(content: bytes) -> float | None:
    from PIL import Image

    with Image.open(BytesIO(content)) as picture:
        return float(picture.width * picture.height)


def _points(content: bytes) -> float | None:
    if content.startswith(b"\x93NUMPY"):
        import numpy as np

        file = BytesIO(content)
        read = np.lib.format.read_array_header_1_0 if np.lib.format.read_magic(file) == (1, 0) else None
        shape = (read or np.lib.format.read_array_header_2_0)(file)[0]
        return float(shape[0]) if len(shape) == 2 else None
    found = _PLY.search(content[:_HEAD]) or _PCD.search(content[:_HEAD])
    return float(found[1]) if found else None


def _seconds(content: bytes) -> float | None:
    import soundfile

    told = soundfile.info(BytesIO(content))
    return float(told.frames) / float(told.samplerate)
