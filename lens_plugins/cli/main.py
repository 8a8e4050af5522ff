"""The entry point: every command, and the one place where errors become exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from .. import __version__
from ..errors import InternalError, LensPluginsError
from .ask import ask
from .bench import app as bench_app
from .caption import caption
from .chat import chat
from .classify import classify
from .doctor import doctor
from .eval import app as eval_app
from .host import app as host_app
from .imagine import imagine
from .index import app as index_app
from .lens import app as lens_app
from .noise import debugging, quieten
from .output import complain, one_line
from .scene import scene
from .search import search
from .story import story
from .train import train

__all__ = ["app", "main", "run"]

app = typer.Typer(
    name="lens-plugins",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,  # they would print tensors
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (caption, ask, story, chat, search, classify, scene, doctor):
    app.command()(command)
app.command(short_help="Make pictures of files.")(imagine)
app.command(short_help="Align a lens to the frozen ViT of a host.")(train)
for group in (lens_app, host_app, index_app, eval_app, bench_app):
    app.add_typer(group)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"lens-plugins {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Plug modality lenses into frozen multimodal hosts: a file of any modality in, text out.

    Exit codes: 0 done, 2 bad input or a wrong call, 1 our fault. Results go to stdout, everything else to stderr.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        app(list(arguments), prog_name="lens-plugins")
    except SystemExit as stop:  # how typer ends, also when all is well
        return int(stop.code or 0)
    except LensPluginsError as error:
        complain(error)
        return error.exit_code
    except Exception as error:
        if debugging():
            raise
        complain(
            f"unexpected {type(error).__name__}: {one_line(error)} - our fault; LENS_PLUGINS_DEBUG=1 shows where it is."
        )
        return InternalError.exit_code
    return 0


def main() -> None:
    """Run the command line of this process."""
    quieten()
    sys.exit(run(sys.argv[1:]))
