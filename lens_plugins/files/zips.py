"""Zip archives: the directory is bounded before it is read, what members declare is compared with what is there."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ..errors import InputError, LensPluginsError

__all__ = ["data_offset", "is_zip", "open_zip"]

MAX_DIRECTORY_BYTES = 8 * 2**20  # some 100,000 members
_TAIL = 22 + 65535  # the directory's end, and the longest comment behind it
_LOCAL_HEADER = struct.Struct("<4s22x2H")


def is_zip(file: BinaryIO) -> bool:
    """Whether an open file begins as a zip archive does; it stands at its start afterwards."""
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    return start == b"PK\x03\x04"


@contextmanager
def open_zip(
    file: BinaryIO, name: str, max_bytes: int | None = None, *, error: type[LensPluginsError] = InputError
) -> Iterator[zipfile.ZipFile]:
    """An archive whose directory and unpacked members are bounded.

    Args:
        file: opened for reading bytes.
        name: stands in the error.
        max_bytes: of all members unpacked; None: no more than the file itself (nothing may be compressed).

    Raises:
        error: the directory is too big, members unpack to more, or two members have one name.
        zipfile.BadZipFile: damaged.
    """
    directory = _directory_bytes(file)
    if directory > MAX_DIRECTORY_BYTES:
        raise error(f"{name} lists its members in {directory} bytes; at most {MAX_DIRECTORY_BYTES} are read.")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        size = os.fstat(file.fileno()).st_size
        limit = size if max_bytes is None else max_bytes
        unpacked = sum(member.file_size for member in members)
        if unpacked > limit:
            raise error(f"{name} unpacks to {unpacked} bytes; at most {limit} are read.")
        if len({member.filename for member in members}) < len(members):
            raise error(f"{name} has two members of one name; save it again.")
        yield archive


def data_offset(file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin, if they are stored as they are and lie inside the file.

    Raises:
        zipfile.BadZipFile: they are compressed or encrypted, or lie outside the file.
    """
    file.seek(member.header_offset)
    signature, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    start = member.header_offset + _LOCAL_HEADER.size + name + extra
    stored = member.compress_type == zipfile.ZIP_STORED and member.compress_size == member.file_size
    if signature != b"PK\x03\x04" or not stored or member.flag_bits & 1:
        raise zipfile.BadZipFile(f"{member.filename} is not stored as it is")
    if start + member.file_size > os.fstat(file.fileno()).st_size:
        raise zipfile.BadZipFile(f"{member.filename} ends behind the end of the file")
    return start


def _directory_bytes(file: BinaryIO) -> int:
    """The size that the archive's end states for its directory; 0 where there is no end, which zipfile tells."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL - 20 - 56))
    tail = file.read()
    file.seek(0)
    found = [
        struct.unpack_from(code, tail, at + skip)[0]
        for mark, code, skip, whole in ((b"PK\x05\x06", "<I", 12, 22), (b"PK\x06\x06", "<Q", 40, 56))
        if 0 <= (at := tail.rfind(mark)) <= len(tail) - whole
    ]
    return max((value for value in found if value != 0xFFFFFFFF), default=0)
