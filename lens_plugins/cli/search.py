"""lens-plugins search"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..catalog import find_modality, modalities, modality_of_suffix
from ..errors import InputError
from .options import BatchSize, InputOptions, Json, TextHostOptions, spelled_out
from .output import print_json, progress
from .session import Session

if TYPE_CHECKING:
    from torch import Tensor

    from ..hosts.messages import Text
    from ..inputs import ModalityInput

__all__ = ["query_text", "search"]


@spelled_out
def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A file of any modality, or a text in quotes.")],
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Whose files are ranked.")],
    host: TextHostOptions,
    reading: InputOptions,
    top: Annotated[int, typer.Option(min=1, help="How many files to show.")] = 10,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders inside it too.")] = False,
    space: Annotated[
        Literal["vision", "text"] | None,
        typer.Option(help="Compare ViT features, or what the text head makes of them; text where the host has one."),
    ] = None,
    batch_size: BatchSize = 16,
    json: Json = False,
) -> None:
    """Rank the files of a folder by their likeness to a file or a text.

    Files of every modality that the host reads or has a lens for take part. Those that cannot be read are reported on
    stderr and left out, and the exit code is 2. The score is the cosine. QUERY is a text where no such file exists, or
    with text: in front. tactile:FOLDER reads all its files as tactile images; depth: and the others do likewise.

    \b
    Example:
      lens-plugins search "a wooden chair" things
      lens-plugins search dog.wav things --recursive --top 5
    """
    session = Session(host, reading)
    text = query_text(query)
    names = _names(session, folder, recursive, None if text else query)
    asked = text or session.read(query)
    wanted = session.host.embed(asked, space)[0]  # a text without a text tower is refused before files are read
    inputs, vectors = _index(session, names, space, batch_size)
    if vectors is None:
        raise InputError(f"0 of the {len(names)} files in {folder} can be read; at least 1 is needed.")
    if len(inputs) < len(names):
        typer.echo(f"skipped {len(names) - len(inputs)} of {len(names)} files", err=True)
    _print(query, wanted, inputs, vectors, top, session.name if json else None)
    raise typer.Exit(InputError.exit_code if len(inputs) < len(names) else 0)


def _print(
    query: str, wanted: Tensor, inputs: Sequence[ModalityInput], vectors: Tensor, top: int, host: str | None
) -> None:
    from ..hosts.retrieval import rank

    for place, (number, score) in enumerate(rank(wanted, vectors, top), start=1):
        found = inputs[number]
        if host is None:
            typer.echo(f"{score:.3f}  {found.source}")
        else:
            answer = {"query": query, "rank": place, "file": found.source, "modality": found.modality}
            print_json({**answer, "score": round(score, 6), "host": host})


def _index(
    session: Session, names: Sequence[str], space: str | None, batch_size: int
) -> tuple[list[ModalityInput], Tensor | None]:
    """The inputs that could be read, without their tensors, and their vectors (N, E); None where there are none."""
    import torch

    from ..inputs import ModalityInput

    inputs: list[ModalityInput] = []
    vectors = []
    for start in range(0, len(names), batch_size):
        read, _ = session.read_each(names[start : start + batch_size])
        if read:
            with progress(f"looking at files {start + 1} to {start + len(read)} of {len(names)}"):
                vectors.append(session.host.embed(read, space))
            inputs += [ModalityInput(each.modality, torch.empty(0), each.source) for each in read]
    return inputs, torch.cat(vectors) if vectors else None


def query_text(query: str) -> Text | None:
    """The text that a query is; None where it means a file."""
    from ..hosts.messages import Text

    return Text.of(query) or (None if _means_a_file(query) else Text(query))


def _means_a_file(query: str) -> bool:
    """Whether there is such a file, or its prefix or ending says that there should be one."""
    prefix, colon, _ = query.partition(":")
    known = {ending for row in modalities().values() for ending in (*row.suffixes, *row.also)}
    named = bool(colon) and prefix in modalities()
    return named or os.path.isfile(os.path.expanduser(query)) or Path(query).suffix.lower() in known


def _names(session: Session, folder: str, recursive: bool, query: str | None) -> list[str]:
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
        raise InputError(f"{folder} holds 0 files to rank by their endings; {session.name} reads {', '.join(reads)}.")
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
