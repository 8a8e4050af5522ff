"""The entry point: every command, and the one place where errors become exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated

import typer

from .. import __version__
from ..errors import InternalError, LensPluginsError
from .noise import debugging, quieten
from .output import complain, one_line

__all__ = ["COMMANDS", "command_line", "main", "run"]

COMMANDS = (
    *("caption", "ask", "story", "chat", "search", "classify", "scene", "doctor", "imagine", "batch", "serve", "train"),
    *("lens", "host", "index", "eval", "bench"),
)
"""Commands and groups, each in the module of its name, in the order of ``--help``."""
_SHORT = {"imagine": "Make pictures of files.", "train": "Align a lens to the frozen ViT of a host."}


def command_line(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands; importing all of them takes longer than many a call."""
    app = typer.Typer(
        name="lens-plugins",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_show_locals=False,  # they would print tensors
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        module = import_module(f".{name}", __package__)
        if hasattr(module, "app"):
            app.add_typer(module.app)
        else:
            app.command(short_help=_SHORT.get(name))(getattr(module, name))
    return app


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"lens-plugins {__version__}")
        raise typer.Exit


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
        command_line(_needed(arguments))(list(arguments), prog_name="lens-plugins")
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


def _needed(arguments: Sequence[str]) -> Iterable[str]:
    """The command that is called, or all where none is: help, completion, or a name to find the like of."""
    completing = any(name.startswith("_LENS_PLUGINS") for name in os.environ)
    return arguments[:1] if not completing and arguments and arguments[0] in COMMANDS else COMMANDS


def main() -> None:
    """Run the command line of this process."""
    quieten()
    sys.exit(run(sys.argv[1:]))
