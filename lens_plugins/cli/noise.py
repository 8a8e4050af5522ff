"""What libraries say while they work, kept from the screen: only the command line silences, never the library."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import typer

from .output import one_line

__all__ = ["debugging", "quieten"]

_QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def debugging() -> bool:
    """Whether ``LENS_PLUGINS_DEBUG`` asks for tracebacks and for everything that libraries say."""
    return os.environ.get("LENS_PLUGINS_DEBUG", "") not in ("", "0")


def quieten() -> None:
    """Show our own warnings on stderr in one line each, and nobody else's. Variables that are set already stay."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Line())
    own = logging.getLogger("lens_plugins")
    own.addHandler(handler)
    own.propagate = False
    if debugging():
        return
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", module="lens_plugins")
    warnings.showwarning = _show
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # int8 says on every call that it casts to float16


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return prefix + one_line(record.getMessage())


def _show(message: object, *_: object, **__: object) -> None:
    typer.echo(f"warning: {one_line(message)}", err=True)
