"""lens-plugins classify"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..hosts.labels import check_labels
from .answering import answering
from .options import BatchSize, InputOptions, Json, ServedTextHostOptions, spelled_out
from .output import print_json
from .session import file_names

__all__ = ["classify"]


@spelled_out
def classify(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Of any modality; - reads names from stdin.")],
    labels: Annotated[str, typer.Option(metavar="A,B,C", help="What they may be, with commas between.")],
    host: ServedTextHostOptions,
    reading: InputOptions,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="What a file is compared with; a label stands in place of {}. Repeatable: vectors are averaged.",
        ),
    ] = None,
    batch_size: BatchSize = 16,
    json: Json = False,
) -> None:
    """Say which of some labels each file is, without training.

    One file gives a line for each label, the best first, "0.912  chair"; several files give one line each. Files that
    cannot be read are reported on stderr, the others are classified all the same, and the exit code is 2.

    \b
    Example:
      lens-plugins classify chair.ply --labels chair,lamp,piano
      lens-plugins classify *.wav --labels "dog,church bell,rain" --template "the sound of a {}" --json
    """
    choices, names = check_labels(labels.split(",")), file_names(files)
    asked = answering(host, reading)
    worst = 0
    for start in range(0, len(names), batch_size):
        rows, code = asked.classify(names[start : start + batch_size], choices, template)
        worst = max(worst, code)
        for found in rows:
            _print(found, json=json, named=len(names) > 1)
    raise typer.Exit(worst)


def _print(found: dict[str, Any], *, json: bool, named: bool) -> None:
    if json:
        print_json(found)
    elif named:
        told = ", ".join(f"{answer['label']} {answer['score']:.3f}" for answer in found["labels"])
        typer.echo(f"{found['inputs'][0]}: {told}")
    else:
        for answer in found["labels"]:
            typer.echo(f"{answer['score']:.3f}  {answer['label']}")
