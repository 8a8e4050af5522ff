"""lens-plugins caption"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from .answering import answer_together, answering
from .options import BatchSize, GenerationOptions, InputOptions, Json, Place, Prompt, ServedHostOptions, spelled_out
from .output import one_line, print_json
from .session import file_names

__all__ = ["caption"]


@spelled_out
def caption(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Of any modality; - reads names from stdin.")],
    host: ServedHostOptions,
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
    names, asked = file_names(files), answering(host, reading)
    if fuse is not None:
        answer_together(asked, names, prompt, fuse=fuse, generation=generation, json=json)
        return
    worst = 0
    for start in range(0, len(names), batch_size):
        found, code = asked.caption(names[start : start + batch_size], prompt, generation)
        worst = max(worst, code)
        _print(found, json=json, named=len(names) > 1)
    raise typer.Exit(worst)


def _print(found: Sequence[dict[str, Any]], *, json: bool, named: bool) -> None:
    for each in found:
        if json:
            print_json(each)
        else:
            typer.echo(f"{each['inputs'][0]}: {one_line(each['text'])}" if named else each["text"])
