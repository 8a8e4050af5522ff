"""lens-plugins search"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..catalog import find_modality, modalities
from ..errors import CheckpointError, ConfigError, InputError
from .folder import host_for, names_in
from .options import BatchSize, InputOptions, Json, TextHostOptions, spelled_out
from .output import complain, print_json, progress
from .session import Session

if TYPE_CHECKING:
    from torch import Tensor

    from ..hosts.messages import Text
    from ..hosts.vectors import FeatureCache

__all__ = ["query_text", "search"]

_CACHE = "LENS_PLUGINS_VECTORS"  # names another folder for them
_MOST_KEPT = 200_000  # vectors in the user's cache: some 300 MB


@spelled_out
def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A file of any modality, or a text in quotes.")],
    host: TextHostOptions,
    reading: InputOptions,
    folder: Annotated[str | None, typer.Argument(metavar="FOLDER", help="Whose files are ranked.")] = None,
    db: Annotated[
        str | None, typer.Option(metavar="INDEX", help="Rank the files of an index instead; see `index build`.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="MODALITY", help="With --db: files of this modality; repeatable.")
    ] = None,
    path: Annotated[
        str | None, typer.Option(metavar="PATTERN", help='With --db: files of a folder, or of a pattern as "sounds/*".')
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many files to show.")] = 10,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders inside it too.")] = False,
    space: Annotated[
        Literal["vision", "text"] | None,
        typer.Option(help="Compare ViT features, or what the text head makes of them; text where the host has one."),
    ] = None,
    batch_size: BatchSize = 16,
    json: Json = False,
) -> None:
    """Rank the files of a folder or an index by their likeness to a file or a text.

    Files of every modality that the host reads or has a lens for take part. Those that cannot be read are reported on
    stderr and left out, and the exit code is 2. The score is the cosine. QUERY is a text where no such file exists, or
    with text: in front. tactile:FOLDER reads all its files as tactile images; depth: and the others do likewise.

    \b
    Example:
      lens-plugins search "a wooden chair" things
      lens-plugins search dog.wav things --recursive --top 5
      lens-plugins search dog.wav --db things.lance --only image
    """
    if (folder is None) == (db is None):
        raise ConfigError("search takes a FOLDER or --db INDEX, one of them.")
    session = Session(host, reading)
    text = query_text(query)
    if db is not None:
        return _in_index(session, query, db, top, space, only, path, json)
    if only or path:
        raise ConfigError("--only and --path choose among the files of an index; give --db INDEX.")
    names = names_in(session, folder or "", recursive, None if text else query)
    asked = text or session.read(query)
    wanted = session.host.embed(asked, space)[0]  # a text without a text tower is refused before files are read
    found = _index(session, names, space, batch_size)
    if not found:
        raise InputError(f"0 of the {len(names)} files in {folder} can be read; at least 1 is needed.")
    if len(found) < len(names):
        typer.echo(f"skipped {len(names) - len(found)} of {len(names)} files", err=True)
    _print(query, _ranked(wanted, found, top), session.name, json)
    raise typer.Exit(InputError.exit_code if len(found) < len(names) else 0)


def _in_index(
    session: Session,
    query: str,
    db: str,
    top: int,
    space: str | None,
    only: Sequence[str] | None,
    path: str | None,
    json: bool,
) -> None:
    from .index import open_index

    for modality in only or ():
        find_modality(modality)  # a misspelt one is told before anything is loaded
    text = query_text(query)
    if text is None:
        session.read(query)  # its lens is loaded, and a broken file is told before the index is opened
    index = open_index(db, session.host, space)
    found = index.search(text or query, top, modality=only or None, path=path)
    rows = ((row["file"], row["modality"], row["score"]) for row in found.to_pylist())
    if not json:  # whole paths are long to read
        rows = ((_near(file), modality, score) for file, modality, score in rows)
    _print(query, rows, session.name, json)


def _near(file: str) -> str:
    return os.path.relpath(file) if Path(file).is_relative_to(Path.cwd()) else file


def _print(query: str, found: Iterable[tuple[str, str | None, float]], host: str, json: bool) -> None:
    """Files, modalities and scores, best first."""
    for place, (file, modality, score) in enumerate(found, start=1):
        if json:
            answer = {"query": query, "rank": place, "file": file, "modality": modality}
            print_json({**answer, "score": round(score, 6), "host": host})
        else:
            typer.echo(f"{score:.3f}  {file}")


def _ranked(wanted: Tensor, vectors: Mapping[str, Tensor], top: int) -> Iterator[tuple[str, str | None, float]]:
    import torch

    from ..hosts.retrieval import rank
    from ..inputs.names import modality_of

    files = list(vectors)
    for number, score in rank(wanted, torch.stack(list(vectors.values())), top):
        yield files[number], modality_of(files[number]), score


def _index(session: Session, names: Sequence[str], space: str | None, batch_size: int) -> dict[str, Tensor]:
    """The vectors (E,) of the files that can be read; those of earlier searches come from the user's cache."""
    from ..hosts.vectors import embed_each

    session.show(names)
    host, found = host_for(session, names), {}
    with progress(f"looking at {len(names)} files"), _cache() as cache:
        for name, vector in zip(names, embed_each(host, names, space=space, batch_size=batch_size, cache=cache)):
            if isinstance(vector, Exception):
                complain(vector)
            else:
                found[name] = vector
    return found


@contextmanager
def _cache() -> Iterator[FeatureCache | None]:
    """Vectors of earlier searches; None where this disk keeps none."""
    from ..hosts.vectors import FeatureCache
    from ..pocket.fetched import cache_folder

    try:
        cache = FeatureCache(Path(os.environ.get(_CACHE) or cache_folder() / "vectors"), most=_MOST_KEPT)
    except CheckpointError:
        cache = None
    with nullcontext() if cache is None else closing(cache):
        yield cache


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
