"""How a file is opened: regular files only, checked on the opened descriptor, with its size known before its data."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

from ..errors import InputError, LensPluginsError

__all__ = ["MAX_FILE_BYTES", "brief", "check_file", "local_path", "open_regular", "parsing", "read_bytes", "reason_of"]

MAX_FILE_BYTES = 512 * 2**20
_LONGEST_NAME = 300  # letters of a path in a sentence
# a FIFO opened with O_NONBLOCK does not wait for its writer
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def local_path(source: str | os.PathLike[str]) -> Path:
    """A path with ``~`` expanded; a file that is only called ``~.xyz`` keeps its name."""
    path = Path(source)
    try:
        return path.expanduser()
    except RuntimeError:  # there is no such user
        return path


def brief(path: str | os.PathLike[str]) -> str:
    """A path as a sentence shows it: the middle of a very long one is left out."""
    name = os.fspath(path)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 :]}"


def check_file(
    path: str | os.PathLike[str],
    max_bytes: int | None = MAX_FILE_BYTES,
    *,
    error: type[LensPluginsError] = InputError,
) -> int:
    """The size in bytes of a regular, readable file that is neither empty nor bigger than `max_bytes`.

    Raises:
        error: it is anything else; the sentence names the file and says which.
    """
    with open_regular(path, max_bytes, error=error) as file:
        return os.fstat(file.fileno()).st_size


@contextmanager
def open_regular(
    path: str | os.PathLike[str],
    max_bytes: int | None = MAX_FILE_BYTES,
    *,
    error: type[LensPluginsError] = InputError,
    empty: bool = False,
) -> Iterator[BinaryIO]:
    """A file opened for reading bytes, after `check_file`'s checks on the opened descriptor.

    Args:
        path: the file; symbolic links are followed.
        max_bytes: the largest size that is read; None: any.
        error: the class of what is raised.
        empty: whether a file of 0 bytes may be opened.

    Raises:
        error: absent, unreadable, empty, too big, a directory, a pipe or a device. A pipe is never waited for.
    """
    try:
        _refuse_special(os.stat(path), path, error)  # before opening: opening alone can act on a device
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as problem:  # ValueError: a NUL byte in the name
        _refuse(path, problem, error)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _refuse_special(status, path, error)
        if status.st_size == 0 and not empty:
            raise error(f"{brief(path)} is empty (0 bytes); give a file with data in it.")
        if max_bytes is not None and status.st_size > max_bytes:
            raise error(f"{brief(path)} has {status.st_size} bytes; at most {max_bytes} are read.")
        yield file


def _refuse_special(status: os.stat_result, path: str | os.PathLike[str], error: type[LensPluginsError]) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise error(f"{brief(path)} is a directory; give one file of it.")
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{brief(path)} is a pipe or a device; give a regular file.")


def _refuse(path: str | os.PathLike[str], problem: Exception, error: type[LensPluginsError]) -> NoReturn:
    name = brief(path)
    if isinstance(problem, (FileNotFoundError, NotADirectoryError)):
        raise error(f"There is no file {name}; check its name and folder.") from problem
    if isinstance(problem, PermissionError):
        raise error(f"{name} may not be read; give yourself permission (chmod u+r).") from problem
    if isinstance(problem, OSError) and problem.errno == errno.ENXIO:
        raise error(f"{name} is a pipe or a device; give a regular file.") from problem
    reason = problem.strerror if isinstance(problem, OSError) else problem
    raise error(f"{name} cannot be opened ({reason}); give the path of a readable file.") from problem


def read_bytes(
    path: str | os.PathLike[str],
    max_bytes: int = MAX_FILE_BYTES,
    *,
    error: type[LensPluginsError] = InputError,
) -> bytes:
    """The content of a file that passes `check_file`.

    Raises:
        error: see `check_file`; or the disk fails.
    """
    with open_regular(path, max_bytes, error=error) as file:
        try:
            return file.read(max_bytes)
        except OSError as problem:
            _refuse(path, problem, error)


def reason_of(problem: BaseException) -> str:
    """What another library says, in one line; its advice to let a file's code run is left out."""
    text = " ".join(str(problem).split())
    if "trust_remote_code" in text or "weights_only" in text:
        return "It comes with code of its own, which is never run."
    return text or type(problem).__name__


@contextmanager
def parsing(
    name: str, kind: str, cure: str = "save it again", *, error: type[LensPluginsError] = InputError
) -> Iterator[None]:
    """Whatever a library's parser raises on a damaged file becomes one `error`; our own errors pass.

    Parsers raise all sorts of things on bytes that they did not foresee (tokenize.TokenError from numpy,
    AssertionError from trimesh), so nothing narrower than Exception holds.
    """
    try:
        yield
    except LensPluginsError:
        raise
    except Exception as problem:
        reason = str(problem).strip().split("\n")[0].rstrip(".") or type(problem).__name__
        raise error(f"{name} is not a whole {kind} ({reason}); {cure}.") from problem
