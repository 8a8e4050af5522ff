"""Writing so that a reader finds either the old file or the new one, never half of it."""

from __future__ import annotations

import os
import platform
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from ..errors import LensPluginsError
from .opening import brief, local_path

__all__ = ["replacing"]

_live: set[str] = set()  # temporaries of this process that are being written
_lock = threading.Lock()
_numbers = count()


@contextmanager
def replacing(
    path: str | os.PathLike[str], *, error: type[LensPluginsError] = LensPluginsError, make_folder: bool = True
) -> Iterator[Path]:
    """A temporary path beside `path`, moved over it when the block ends well and removed when it does not.

    The file's mode follows the umask, whatever the block writes it with. What a killed process left beside the
    same `path` is removed first.

    Args:
        path: the file to write.
        error: the class of what is raised.
        make_folder: make its folder where there is none.

    Raises:
        error: the disk refuses (full, read-only, no permission); nothing is left half-written.
    """
    path = local_path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{next(_numbers)}-{_machine()}")
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(path)
        with _lock:
            _live.add(temporary.name)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        mode = temporary.stat().st_mode & 0o777
        yield temporary
        os.chmod(temporary, mode)  # safetensors makes its files 0600
        os.replace(temporary, path)
    except OSError as problem:
        raise error(
            f"{brief(path)} cannot be written: {problem.strerror or problem}. Nothing was changed."
        ) from problem
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        with _lock:
            _live.discard(temporary.name)


def _machine() -> str:
    """A short mark of this machine: on a shared disk another machine's process cannot be asked for."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _remove_orphans(path: Path) -> None:
    start, end = f".{path.name}.", f"-{_machine()}"
    for entry in os.scandir(path.parent):
        if not (entry.name.startswith(start) and entry.name.endswith(end)):
            continue
        owner = entry.name[len(start) :].partition("-")[0]
        if owner.isdecimal() and not _alive(int(owner), entry.name):
            with suppress(OSError):
                os.unlink(entry.path)


def _alive(process: int, name: str) -> bool:
    if process == os.getpid():  # in a container every process may have the same number
        with _lock:
            return name in _live
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
