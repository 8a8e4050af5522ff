"""sha256 of files, computed once a process for a file that stays as it is."""

from __future__ import annotations

import hashlib
import os
import threading

from ..errors import InputError, LensPluginsError
from .opening import open_regular

__all__ = ["sha256_of"]

_known: dict[tuple[str, int, int, int], str] = {}
_lock = threading.Lock()
_MOST = 100_000  # digests kept; the oldest go first


def sha256_of(path: str | os.PathLike[str], *, error: type[LensPluginsError] = InputError) -> str:
    """The sha256 of a file's bytes, hexadecimal; kept by path, size, time of change and inode.

    Raises:
        error: no regular file, or none that may be read.
    """
    with open_regular(path, None, error=error) as file:
        status = os.fstat(file.fileno())
        stamp = (os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ino)
        with _lock:
            if stamp in _known:
                return _known[stamp]
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    with _lock:
        _known[stamp] = digest.hexdigest()
        while len(_known) > _MOST:
            del _known[next(iter(_known))]
    return digest.hexdigest()
