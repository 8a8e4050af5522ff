"""lens-plugins chat"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, LensPluginsError, Unsupported
from .options import Fuse, GenerationOptions, HostOptions, InputOptions, Place, spelled_out
from .output import complain
from .session import Session

if TYPE_CHECKING:
    from ..hosts.messages import Seen
    from ..hosts.seed_llama.chat import SeedChat
    from ..hosts.seed_llama.messages import SeedReply
    from ..inputs import ModalityInput

__all__ = ["chat"]

_HELP = """\
/look FILE...   look at these files instead (a SEED-LLaMA forgets what was said)
/add FILE...    look at these too
/help           this
/quit           leave (or Ctrl-D)
Anything else is a question."""


@spelled_out
def chat(
    host: HostOptions,
    reading: InputOptions,
    generation: GenerationOptions,
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE", help="What to look at first.")] = None,
    fuse: Fuse = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="PICTURE", help="Where what a SEED-LLaMA draws is saved: a .png file."),
    ] = None,
) -> None:
    """Ask many questions about files that are looked at once.

    Every question is answered by itself, word by word, which takes one beam. A SEED-LLaMA remembers what was said,
    shown and drawn, as codes; its answers come whole, and its pictures are saved where --output says, as PICTURE-1 and
    so on. Questions may be piped in, one a line.

    \b
    Example:
      lens-plugins chat chair.ply
      lens-plugins chat chair.ply --host AILab-CVC/seed-llama-8b-sft -o drawn.png
    """
    session, options, target = Session(host, reading), generation.given(), _target(output)
    inputs = session.read_all(files or ())  # a broken file is found before the host is loaded
    if hasattr(session.host, "chat"):
        talk: _Talk = _Conversation(session, fuse, options, target=target)
    elif target is not None:
        raise Unsupported(f"{session.name} writes text alone; --output is for what a SEED-LLaMA draws.")
    else:
        talk = _Talk(session, fuse, options)
    talk.see(inputs)
    for line in _lines():
        if line == "/quit":
            break
        try:
            _obey(talk, line)
        except LensPluginsError as error:
            complain(error)


def _target(output: str | None) -> Path | None:
    if output is None:
        return None
    from ..hosts.seed_llama.images import check_target

    return check_target(output)


def _obey(talk: _Talk, line: str) -> None:
    """A command or a question."""
    if not line.startswith("/"):
        talk.ask(line)
        return
    command, *files = _words(line)
    if command == "/help":
        typer.echo(_HELP, err=True)
    elif command not in ("/look", "/add"):
        raise InputError(f"There is no command {command}; /help lists them.")
    elif files:
        inputs = talk.session.read_all(files)  # where one cannot be read nothing changes
        talk.see(inputs) if command == "/look" else talk.add(inputs)


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
    """What is looked at, and how it is asked about: each question by itself."""

    session: Session
    fuse: Place | None
    options: dict[str, Any]
    inputs: list[ModalityInput] = field(default_factory=list)
    seen: Seen | None = None

    def see(self, inputs: Sequence[ModalityInput]) -> None:
        """Look at these, in place of those before."""
        if inputs:
            self.seen = self.session.host.look(inputs, fuse=self.fuse)
            self.inputs = list(inputs)

    def add(self, inputs: Sequence[ModalityInput]) -> None:
        """Look at these too."""
        self.see([*self.inputs, *inputs])

    def ask(self, question: str) -> None:
        """Print the answer as it comes."""
        if self.seen is None:
            raise InputError("Nothing is looked at yet; start with: /look FILE")
        for piece in self.session.host.stream(self.seen, question, **self.options):
            typer.echo(piece, nl=False)
        typer.echo()


@dataclass
class _Conversation(_Talk):
    """With a host that remembers: files are shown with the next question, and everything stays in the prompt."""

    target: Path | None = None
    drawn: int = 0

    @cached_property
    def chat(self) -> SeedChat:
        """The conversation of the host."""
        return self.session.host.chat()

    def see(self, inputs: Sequence[ModalityInput]) -> None:
        """Begin anew, with these."""
        self.chat.reset()
        self.inputs = list(inputs)

    def add(self, inputs: Sequence[ModalityInput]) -> None:
        """Show these too."""
        self.inputs = [*self.inputs, *inputs]

    def ask(self, question: str) -> None:
        """Print the answer and save its pictures."""
        seen = self.session.host.look(self.inputs, fuse=self.fuse) if self.inputs else None
        reply = self.chat.say(question, seen, **self.options)
        self.inputs = []
        if reply.text or not reply.images:
            typer.echo(reply.text)
        if self.target is not None:
            self._save(self.target, reply, question)
        elif reply.images:
            typer.echo(f"pictures drawn: {len(reply.images)}; --output PICTURE saves them", err=True)

    def _save(self, target: Path, reply: SeedReply, question: str) -> None:
        from .. import __version__
        from ..hosts.seed_llama.images import numbered, save_pictures

        common = {"software": f"lens-plugins {__version__}", "host": self.session.name, "prompt": question}
        for picture, codes in zip(reply.images, reply.codes.tolist()):
            self.drawn += 1
            path = numbered(target, self.drawn)
            save_pictures({path: (picture, {**common, "seed": reply.seed, "codes": codes})})
            typer.echo(path)
