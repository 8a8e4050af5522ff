"""What a file is by its name: a modality in front, or its ending. Importing this needs no torch."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from ..catalog import modalities, modality_of_suffix
from ..errors import InputError
from ..files.opening import local_path

__all__ = ["modality_of", "parse_source"]


def parse_source(source: str) -> tuple[str | None, Path]:
    """Split "depth:room.png" into ("depth", Path("room.png")); without a prefix the first is None.

    One letter before the colon is a Windows drive. A file whose name starts with a modality and a colon is meant by
    "./depth:room.png".

    Raises:
        InputError: nothing there, a web address, or a prefix that is no modality (unless a file has that very name).
    """
    prefix, colon, rest = source.partition(":")
    if not colon or len(prefix) < 2 or not prefix.replace("_", "").replace("-", "").isalnum():
        prefix, rest = "", source
    if not rest.strip():
        raise InputError(f"The input {source!r} names no file; give a path, such as chair.ply or depth:room.png.")
    if rest.startswith("//"):
        raise InputError(f"{source} is a web address, which is not fetched; download it and give the file.")
    if not prefix:
        return None, local_path(rest)
    if prefix in modalities():
        return prefix, local_path(rest)
    if os.path.lexists(source):
        return None, Path(source)
    near = get_close_matches(prefix, modalities(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise InputError(f"The prefix {prefix!r} of {source} is no modality{hint} Known: {', '.join(modalities())}.")


def modality_of(source: str) -> str | None:
    """What a file is by its prefix or its ending; None where neither says it.

    Raises:
        InputError: as `parse_source`.
    """
    named, path = parse_source(source)
    return named or modality_of_suffix(path.suffix)
