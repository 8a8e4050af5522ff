"""One answer about all inputs: what `ask`, `story` and `caption --fuse` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import typer

from .options import GenerationOptions
from .output import answer, print_json, progress
from .session import Session

__all__ = ["answer_together"]


def answer_together(
    session: Session,
    files: Sequence[str],
    prompt: str | None,
    *,
    fuse: str | None,
    generation: GenerationOptions,
    json: bool,
) -> None:
    """Read all files, ask the host once and print its answer.

    Raises:
        InputError: one of them cannot be read; nothing is printed then.
    """
    options = generation.given()
    inputs = session.read_all(files)
    asked = session.host.default_prompt if prompt is None else prompt
    place = fuse or session.host.default_place
    began = perf_counter()
    with progress("thinking"):
        reply = session.host.generate(inputs, asked, fuse=place, **options)
    seconds = perf_counter() - began
    if json:
        print_json(answer(inputs, asked, reply.text, host=session.name, seconds=seconds, fuse=place))
    else:
        typer.echo(reply.text)
