"""Which files of a folder a command is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..catalog import find_modality, modality_of_suffix
from ..errors import InputError
from .session import Session

if TYPE_CHECKING:
    from ..hosts.base import Host

__all__ = ["host_for", "names_in"]


def names_in(session: Session, folder: str, recursive: bool, query: str | None = None) -> list[str]:
    """Files of the folder that the host or a lens may read, without the query's own.

    Raises:
        InputError: there is no such folder, or there are no such files in it.
    """
    from ..inputs import parse_source

    named, path = parse_source(folder)
    reads, left_out, names = session.modalities, Counter[str](), []
    for file in _files(path, recursive):
        modality = _modality(file, named)
        if modality in reads and not (query and _is(query, named, file)):
            names.append(f"{named}:{file}" if named else str(file))
        elif modality is not None and modality not in reads:
            left_out[modality] += 1
    for modality, count in left_out.items():
        typer.echo(f"left out {count} {modality} files: no lens; give one with --lens {modality}=PATH", err=True)
    if not names:
        raise InputError(f"{folder} holds 0 files to read by their endings; {session.name} reads {', '.join(reads)}.")
    return names


def _modality(file: Path, named: str | None) -> str | None:
    """What a file is by its ending; `named` where that can be."""
    if named is None:
        return modality_of_suffix(file.suffix)
    row = find_modality(named)
    return named if file.suffix.lower() in (*row.suffixes, *row.also) else None


def _is(query: str, named: str | None, file: Path) -> bool:
    """Whether the query is this file, read as the same modality."""
    from ..inputs import parse_source

    asked, path = parse_source(query)
    return asked == named and path.resolve() == file.resolve()


def _files(folder: Path, recursive: bool) -> list[Path]:
    if not folder.is_dir():
        what = "is a file; give its folder" if folder.exists() else "is not there; give a folder"
        raise InputError(f"{folder} {what}.")
    try:
        found = folder.rglob("*") if recursive else folder.iterdir()
        return sorted(
            file
            for file in found
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        )
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror or error}.") from error


def host_for(session: Session, names: Sequence[str]) -> Host:
    """The host with the lenses that the files need, as far as there are some."""
    from ..inputs.names import modality_of

    for modality in sorted(filter(None, set(map(modality_of, names)))):
        session.plug(modality)
    session.tell_unused()
    return session.host
