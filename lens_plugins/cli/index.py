"""lens-plugins index build | add | remove | stats"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..errors import InputError
from .folder import host_for, names_in
from .options import BatchSize, InputOptions, Json, TextHostOptions, spelled_out
from .output import complain, note, print_json, progress
from .session import Session

if TYPE_CHECKING:
    from ..hosts.base import Host
    from ..index import Added, Index

__all__ = ["Database", "Space", "add", "app", "build", "open_index", "remove", "stats"]

app = typer.Typer(name="index", no_args_is_help=True, help="Keep the vectors of many files, to search in them again.")

Database = Annotated[
    str, typer.Option("--db", metavar="INDEX", help="A folder such as things.lance, or s3://bucket/things.lance.")
]
Space = Annotated[
    Literal["vision", "text"] | None,
    typer.Option(help="ViT features, or what the text head makes of them; text where the host has one."),
]
Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="depth:room.png says what a file is.")]


@app.command()
@spelled_out
def build(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Whose files are indexed; depth:FOLDER names all.")],
    db: Database,
    host: TextHostOptions,
    reading: InputOptions,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders inside it too.")] = False,
    space: Space = None,
    batch_size: BatchSize = 16,
    json: Json = False,
) -> None:
    """Make an index say what a folder holds: new and changed files are embedded, files that are gone leave it.

    Files whose content is known are not embedded again, so a second run is quick, and one that was stopped goes on.

    \b
    Example:
      lens-plugins index build things --db things.lance
      lens-plugins search dog.wav --db things.lance
    """
    from ..inputs import parse_source

    session = Session(host, reading)
    names = names_in(session, folder, recursive)
    index = open_index(db, host_for(session, names), space)
    done = _add(index, names, batch_size)
    gone = index.remove_gone(parse_source(folder)[1])
    _tell(index, done, gone, json)


@app.command()
@spelled_out
def add(
    files: Files,
    db: Database,
    host: TextHostOptions,
    reading: InputOptions,
    space: Space = None,
    batch_size: BatchSize = 16,
    json: Json = False,
) -> None:
    """Put files into an index.

    \b
    Example:
      lens-plugins index add chair.ply dog.wav depth:room.png --db things.lance
    """
    session = Session(host, reading)
    index = open_index(db, host_for(session, files), space)
    _tell(index, _add(index, files, batch_size), 0, json)


@app.command()
def remove(places: Files, db: Database, space: Space = None, json: Json = False) -> None:
    """Take files, folders or what a pattern matches out of an index; the files themselves stay.

    \b
    Example:
      lens-plugins index remove "sounds/*.wav" --db things.lance
    """
    gone = open_index(db, None, space).remove(*places)
    if json:
        print_json({"db": db, "removed": gone})
    else:
        typer.echo(f"{gone} removed")


@app.command()
def stats(db: Database, space: Space = None, json: Json = False) -> None:
    """Say what an index holds: files of each modality, and which host and lenses made their vectors.

    \b
    Example:
      lens-plugins index stats --db things.lance
    """
    held = open_index(db, None, space).stats()
    if json:
        print_json({"db": db, **asdict(held)})
        return
    typer.echo(f"{held.rows} files, {held.width} numbers each, in the space {held.space}; of the host {held.host}")
    for modality, count in held.modalities.items():
        typer.echo(f"{modality:12} {count:9}  {', '.join(held.lenses[modality])}")
    size = "" if held.bytes is None else f"; {held.bytes / 1e6:.1f} MB on the disk"
    typer.echo(("every row is compared" if held.exact else "an approximate index finds the nearest rows") + size)


def open_index(db: str, host: Host | None, space: str | None) -> Index:
    """An index of the command line."""
    from ..index import Index

    return Index(db, host, space=space)


def _add(index: Index, names: list[str], batch_size: int) -> Added:
    with progress(f"embedding {len(names)} files"):
        return index.add(names, batch_size=batch_size, note=lambda done: _count(done, len(names)))


def _count(done: int, total: int) -> None:
    if done < total:
        note(f"{done} of {total} files")


def _tell(index: Index, done: Added, gone: int, json: bool) -> None:
    for _, reason in done.failed:
        complain(reason)
    counts = {"added": done.added, "known": done.known, "removed": gone, "failed": len(done.failed)}
    if json:
        print_json({"db": index.path, **counts, "rows": len(index)})
    else:
        typer.echo(", ".join(f"{count} {what}" for what, count in counts.items()) + f"; {len(index)} rows")
    raise typer.Exit(InputError.exit_code if done.failed else 0)
