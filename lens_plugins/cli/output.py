"""Results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import typer

__all__ = ["answer", "complain", "note", "one_line", "print_json", "progress"]


def one_line(text: object) -> str:
    """Text without line breaks."""
    return " ".join(str(text).split())


def complain(error: object) -> None:
    """Say what is wrong, in one line on stderr."""
    typer.echo(f"error: {one_line(error)}", err=True)


def note(text: object) -> None:
    """Say something that is no error, in one line on stderr."""
    typer.echo(f"note: {one_line(text)}", err=True)


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def answer(
    files: Sequence[str | None], modalities: Sequence[str], prompt: str, text: str, *, host: str, seconds: float,
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """What ``--json`` prints of an answer. `modality` is a list where there are several inputs."""
    return {
        "inputs": list(files),
        "modality": modalities[0] if len(modalities) == 1 else list(modalities),
        "prompt": prompt,
        "text": text,
        "host": host,
        "seconds": round(seconds, 3),
        **more,
    }


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say on a terminal's stderr what goes on while it does; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


@contextmanager
def counting() -> Iterator[Callable[[str, int, int], None]]:
    """What a run tells of its progress, on stderr: a bar on a terminal, elsewhere a line now and then."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        tasks: dict[str, Any] = {}
        with Progress(*columns, console=Console(stderr=True)) as bars:

            def move(what: str, done: int, of: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=of)
                bars.update(tasks[what], completed=done)

            yield move
        return
    last = [monotonic()]

    def tell(what: str, done: int, of: int) -> None:
        if done == of or monotonic() - last[0] > 10:  # seconds between two lines
            last[0] = monotonic()
            typer.echo(f"{what}: {done} of {of}", err=True)

    yield tell


def write_text(file: Path, text: str) -> None:
    """Write a text file, whole before it takes its name.

    Raises:
        InputError: the disk refuses.
    """
    from ..errors import InputError
    from ..files.writing import replacing

    with replacing(file, error=InputError) as temporary:
        temporary.write_text(text, encoding="utf-8")
