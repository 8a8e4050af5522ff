"""What every reader does before it looks inside a file: is it there, readable, not empty, not too big?"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError, LensPluginsError

__all__ = ["MAX_FILE_BYTES", "check_file", "parsing", "read_bytes"]

MAX_FILE_BYTES = 512 * 2**20


def check_file(path: Path, max_bytes: int = MAX_FILE_BYTES) -> int:
    """The size in bytes of a regular, readable file that is neither empty nor bigger than `max_bytes`.

    Raises:
        InputError: it is anything else; the sentence names the file and says which.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path} is a directory; give one file of it.")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is a pipe or a device; give a regular file.")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}; check its name and folder.") from error
    except PermissionError as error:
        raise InputError(f"{path} may not be read; give yourself permission (chmod u+r).") from error
    except (OSError, ValueError) as error:  # a name that is too long, a NUL byte in it, a broken disk
        raise InputError(f"{path} cannot be opened ({error}); give the path of a readable file.") from error
    if status.st_size == 0:
        raise InputError(f"{path} is empty (0 bytes); give a file with data in it.")
    if status.st_size > max_bytes:
        raise InputError(f"{path} has {status.st_size} bytes; at most {max_bytes} are read.")
    return status.st_size


def read_bytes(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The content of a file that passes `check_file`.

    Raises:
        InputError: see `check_file`.
    """
    check_file(path, max_bytes)
    with path.open("rb") as file:
        return file.read(max_bytes)


@contextmanager
def parsing(name: str, kind: str, cure: str = "save it again") -> Iterator[None]:
    """Whatever a library's parser raises on a damaged file becomes one `InputError`; our own errors pass.

    Parsers raise all sorts of things on bytes that they did not foresee (tokenize.TokenError from numpy,
    AssertionError from trimesh), so nothing narrower than Exception holds.
    """
    try:
        yield
    except LensPluginsError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise InputError(f"{name} is not a whole {kind} ({reason}); {cure}.") from error
