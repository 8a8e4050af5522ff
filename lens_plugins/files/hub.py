"""Files of the hub, one at a time; what goes wrong there is one sentence."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from ..errors import CheckpointError

__all__ = ["fetch", "fetch_optional", "hub_is_found", "is_hub_id"]

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)  # owner/name


def is_hub_id(name: str) -> bool:
    """Whether a name has the form owner/name; what looks like a path is none."""
    return len(name) <= 200 and _HUB_ID.fullmatch(name) is not None


def fetch(repository: str, file: str, *, revision: str | None = None) -> Path:
    """The path of a repository's file in the local cache, downloaded first where it is not there.

    Args:
        repository: "owner/name".
        file: its path inside the repository.
        revision: branch, tag or commit; None: the default branch.

    Raises:
        CheckpointError: no such repository, file or revision, no access, or the hub cannot be reached.
    """
    path = fetch_optional(repository, file, revision=revision)
    if path is None:
        raise CheckpointError(f"The hub's repository {repository} has no file {file}; check both names.")
    return path


def fetch_optional(repository: str, file: str, *, revision: str | None = None) -> Path | None:
    """`fetch`, with None where the repository is there and has no such file.

    Raises:
        CheckpointError: as `fetch`, apart from the absent file.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    how: dict[str, Any] = {} if revision is None else {"revision": revision}
    if not hub_is_found():  # asked in vain, huggingface_hub would try for half a minute
        how["local_files_only"] = True
    try:
        return Path(hf_hub_download(repository, file, **how))
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):  # not in the cache, and the hub was not asked
            raise _unreachable(repository, file, error) from error
        return None
    except (OSError, ValueError) as error:
        raise _unreachable(repository, file, error) from error


def hub_is_found() -> bool:
    """Whether the hub's name can be looked up within 2.5 s; behind a proxy that is the proxy's affair."""
    from huggingface_hub import constants

    where = urlsplit(constants.ENDPOINT)
    if constants.is_offline_mode() or getproxies() or where.hostname is None:
        return True
    found: list[object] = []
    asking = Thread(target=lambda: found.extend(_addresses(str(where.hostname))), daemon=True)
    asking.start()
    asking.join(2.5)
    return bool(found)


def _addresses(name: str) -> list[object]:
    try:
        return list(socket.getaddrinfo(name, None))
    except OSError:
        return []


def _unreachable(repository: str, file: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{repository}/{file} cannot be fetched from the hub ({type(error).__name__}). Check the name and the "
        "network; with HF_HUB_OFFLINE=1 only files already in the cache are found."
    )
