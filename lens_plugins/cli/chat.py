"""lens-plugins chat"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, LensPluginsError
from .options import Clips, Fuse, GenerationOptions, HostOptions, Place, spelled_out
from .output import complain
from .session import Session

if TYPE_CHECKING:
    from ..hosts.evidence import Seen

__all__ = ["chat"]

_HELP = """\
/look FILE...   look at these files instead
/add FILE...    look at these too
/help           this
/quit           leave (or Ctrl-D)
Anything else is a question about what is looked at."""


@spelled_out
def chat(
    host: HostOptions,
    generation: GenerationOptions,
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE", help="What to look at first.")] = None,
    fuse: Fuse = None,
    clips: Clips = None,
) -> None:
    """Ask many questions about files that are looked at once.

    Every question is answered by itself: these hosts do not remember earlier ones. Answers appear word by word, which
    takes one beam. Questions may be piped in, one a line.

    \b
    Example:
      lens-plugins chat chair.ply
    """
    talk = _Talk(Session(host, clips), fuse, generation.given())
    talk.look(files or [])
    for line in _lines():
        if line == "/quit":
            break
        try:
            talk.obey(line)
        except LensPluginsError as error:
            complain(error)


def _lines() -> Iterator[str]:
    """Lines that are typed, without empty ones; the sign to type is on stderr, so that stdout holds answers alone."""
    while True:
        if sys.stdin.isatty():
            typer.echo("> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InputError(f"{line} cannot be split into words: {error}.") from error


@dataclass
class _Talk:
    """What is looked at, and how it is asked about."""

    session: Session
    fuse: Place | None
    options: dict[str, Any]
    files: list[str] = field(default_factory=list)
    seen: Seen | None = None

    def obey(self, line: str) -> None:
        """A command or a question."""
        if not line.startswith("/"):
            self.ask(line)
            return
        command, *words = _words(line)
        if command == "/help":
            typer.echo(_HELP, err=True)
        elif command == "/look":
            self.look(words)
        elif command == "/add":
            self.look([*self.files, *words])
        else:
            raise InputError(f"There is no command {command}; /help lists them.")

    def look(self, files: Sequence[str]) -> None:
        """Look at files, in place of those before; where one cannot be read nothing changes."""
        if files:
            inputs = [self.session.read(file) for file in files]
            self.seen = self.session.host.look(inputs, fuse=self.fuse)
            self.files = list(files)

    def ask(self, question: str) -> None:
        if self.seen is None:
            raise InputError("Nothing is looked at yet; start with: /look FILE")
        for piece in self.session.host.stream(self.seen, question, **self.options):
            typer.echo(piece, nl=False)
        typer.echo()
