"""Files of the hub, one at a time; what goes wrong there is one sentence."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import CheckpointError

__all__ = ["fetch", "fetch_optional", "is_hub_id"]

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

    try:
        if revision is None:
            return Path(hf_hub_download(repository, file))
        return Path(hf_hub_download(repository, file, revision=revision))
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):  # not in the cache, and the hub was not asked
            raise _unreachable(repository, file, error) from error
        return None
    except (OSError, ValueError) as error:
        raise _unreachable(repository, file, error) from error


def _unreachable(repository: str, file: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{repository}/{file} cannot be fetched from the hub ({type(error).__name__}). Check the name and the "
        "network; with HF_HUB_OFFLINE=1 only files already in the cache are found."
    )
