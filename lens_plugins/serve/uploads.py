"""What a client sent, as bytes with a name: they live in memory and are never written to a disk."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from ..errors import InputError, LensPluginsError
from ..inputs.objects import suffix_of

if TYPE_CHECKING:
    from ..inputs import ModalityInput

__all__ = ["Upload", "as_file", "read_upload"]

T = TypeVar("T")
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Upload:
    """The content of one file.

    Args:
        content: its bytes.
        name: what the client calls it; only its ending counts, and it is never opened as a path.
        modality: what it is, where neither ending nor content says it.
    """

    content: bytes
    name: str = ""
    modality: str | None = None

    @property
    def label(self) -> str:
        """What errors call it: the last part of its name, with the ending that its content tells where it has none.

        Raises:
            InputError: nothing tells what it is.
        """
        given = PurePosixPath(self.name.replace("\\", "/")).name
        safe = re.sub(r"[^\w.-]", "_", given).lstrip(".-")[-_LONGEST_NAME:]
        if PurePosixPath(safe).suffix:
            return safe
        suffix = suffix_of(self.content)
        if not suffix:
            raise InputError(
                f"The {len(self.content)} bytes of {safe or 'a file'} do not say what they are; give a file name with "
                "an ending, such as chair.ply."
            )
        return f"{safe or 'file'}{suffix}"


@contextmanager
def as_file(content: bytes, name: str) -> Iterator[Path]:
    """A path that reads as the content, for readers that want one; gone with the block.

    On Linux the bytes stay in memory: the path is a link to an anonymous file, so even a killed process leaves no
    more than a link that leads nowhere. Elsewhere they are in a private folder until the block ends.
    """
    with TemporaryDirectory(prefix="lens-plugins-") as folder:
        path = Path(folder) / name
        if not hasattr(os, "memfd_create"):
            path.write_bytes(content)
            yield path
            return
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(content)
            path.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")
            yield path
        finally:
            os.close(descriptor)


def read_upload(upload: Upload, read: Callable[[Path, str | None], ModalityInput]) -> ModalityInput:
    """Read an upload.

    Args:
        upload: what to read.
        read: takes a path and a modality, such as `Host.read`.

    Raises:
        InputError: it is empty, nothing tells what it is, or it cannot be read; the sentence names the upload.
    """
    if not upload.content:
        raise InputError(f"{upload.name or 'A file'} is empty (0 bytes); give a file with data in it.")
    with as_file(upload.content, upload.label) as path:
        try:
            found = read(path, upload.modality)
        except LensPluginsError as error:
            raise type(error)(str(error).replace(f"{path.parent}{os.sep}", "")) from error
    return replace(found, source=upload.label)
