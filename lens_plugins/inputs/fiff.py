"""FIFF files (.fif) looked through before their reader is let in: the chain of tags must end."""

from __future__ import annotations

import os
import struct

from ..errors import InputError
from ..files.opening import open_regular

__all__ = ["check_tags"]

_TAG = struct.Struct(">iIii")  # kind, type, size of the data, position of the next tag
_FOLLOWS = 0  # the next tag comes right behind the data; below 0: there is none


def check_tags(path: str | os.PathLike[str]) -> None:
    """Refuse a file whose tags lead back to one of them, which its reader follows for ever, and one that is cut off.

    Where the chain leaves the file it ends; the reader says what is missing.

    Raises:
        InputError: names the position of the tag that comes twice, or that holds less than it declares.
    """
    seen: set[int] = set()
    with open_regular(path) as file:
        position, end = 0, os.fstat(file.fileno()).st_size - _TAG.size
        while 0 <= position <= end:
            if position in seen:
                raise InputError(f"{path} is not a whole .fif recording: its tag at byte {position} comes twice.")
            seen.add(position)
            file.seek(position)
            _, _, size, following = _TAG.unpack(file.read(_TAG.size))
            if size > end - position:
                raise InputError(
                    f"{path} is not a whole .fif recording: its tag at byte {position} declares {size} bytes but has "
                    f"{end - position}; it is truncated."
                )
            if size < 0 or following < _FOLLOWS:
                return
            position = following or position + _TAG.size + size
