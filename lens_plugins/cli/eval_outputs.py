"""Files that an evaluation is to write, checked before hours of computing."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError

__all__ = ["check_outputs"]


def check_outputs(**files: Path | None) -> None:
    """Make the folders of files to be written, by option.

    Raises:
        InputError: one is a folder, two are one file, or the disk refuses its folder; names the option.
    """
    seen: dict[Path, str] = {}
    for option, file in files.items():
        if file is None:
            continue
        if file.is_dir():
            raise InputError(f"--{option} {file} is a folder; give the file to write.")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--{option} {file}: its folder cannot be made ({error.strerror or error}).") from error
        if not os.access(file.parent, os.W_OK | os.X_OK):
            raise InputError(f"--{option} {file}: nothing can be written in its folder; give another.")
        other = seen.setdefault(file.resolve(), option)
        if other != option:
            raise InputError(f"--{option} and --{other} are both {file}; give two files.")
