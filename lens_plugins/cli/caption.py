"""lens-plugins caption"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import BatchSize, GenerationOptions, HostOptions, InputOptions, Json, Place, Prompt, spelled_out
from .output import answer, one_line, print_json, progress
from .session import Session, file_names
from .together import answer_together

if TYPE_CHECKING:
    from ..inputs import ModalityInput

__all__ = ["caption"]


@spelled_out
def caption(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Of any modality; - reads names from stdin.")],
    host: HostOptions,
    reading: InputOptions,
    generation: GenerationOptions,
    prompt: Prompt = None,
    fuse: Annotated[
        Place | None, typer.Option(help="One caption for all files together, which meet there, in place of one each.")
    ] = None,
    batch_size: BatchSize = 16,
    json: Json = False,
) -> None:
    """Caption every file.

    Several files give one line each, "FILE: caption". Files that cannot be read are reported on stderr, the others
    are captioned all the same, and the exit code is 2. Where a file's ending does not tell its modality, put it in
    front: depth:room.png, tactile:touch.jpg.

    \b
    Example:
      lens-plugins caption chair.ply
      lens-plugins caption *.glb --json > captions.jsonl
    """
    names = file_names(files)
    session = Session(host, reading)
    if fuse is not None:
        answer_together(session, names, prompt, fuse=fuse, generation=generation, json=json)
        return
    options = generation.given()
    worst = 0
    for start in range(0, len(names), batch_size):
        inputs, code = session.read_each(names[start : start + batch_size])
        worst = max(worst, code)
        if inputs:
            found = _caption(session, inputs, prompt, options)
            _print(found, json=json, named=len(names) > 1)
    raise typer.Exit(worst)


def _caption(
    session: Session, inputs: Sequence[ModalityInput], prompt: str | None, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """What ``--json`` prints of each input; its seconds are its share of the batch's."""
    from .. import Request

    asked = session.host.default_prompt if prompt is None else prompt
    began = perf_counter()
    with progress(f"captioning {len(inputs)}"):
        replies = session.host.generate_batch([Request(each, asked) for each in inputs], len(inputs), **options)
    seconds = (perf_counter() - began) / len(inputs)
    return [
        answer([each], asked, reply.text, host=session.name, seconds=seconds) for each, reply in zip(inputs, replies)
    ]


def _print(found: Sequence[dict[str, Any]], *, json: bool, named: bool) -> None:
    for each in found:
        if json:
            print_json(each)
        else:
            typer.echo(f"{each['inputs'][0]}: {one_line(each['text'])}" if named else each["text"])
