"""lens-plugins classify"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import BatchSize, InputOptions, Json, TextHostOptions, spelled_out
from .output import print_json, progress
from .session import Session, file_names

if TYPE_CHECKING:
    from torch import Tensor

    from ..inputs import ModalityInput

__all__ = ["classify"]


@spelled_out
def classify(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Of any modality; - reads names from stdin.")],
    labels: Annotated[str, typer.Option(metavar="A,B,C", help="What they may be, with commas between.")],
    host: TextHostOptions,
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
    from ..hosts.retrieval import check_labels

    choices, names = check_labels(labels.split(",")), file_names(files)
    session = Session(host, reading)
    written: Tensor | None = None  # vectors of the labels, made once for all batches
    worst = 0
    for start in range(0, len(names), batch_size):
        inputs, code = session.read_each(names[start : start + batch_size])
        worst = max(worst, code)
        if inputs:
            if written is None:
                written = session.host.label_vectors(choices, template or "{}")
            for found in _classify(session, inputs, choices, written):
                _print(found, json=json, named=len(names) > 1)
    raise typer.Exit(worst)


def _classify(
    session: Session, inputs: Sequence[ModalityInput], labels: Sequence[str], vectors: Tensor
) -> list[dict[str, Any]]:
    """What ``--json`` prints of each input; its seconds are its share of the batch's."""
    host = session.host
    began = perf_counter()
    with progress(f"classifying {len(inputs)}"):
        found = host.classify(inputs, labels, vectors=vectors)
    seconds = round((perf_counter() - began) / len(inputs), 3)
    return [
        {
            "inputs": [each.source],
            "modality": each.modality,
            "labels": [{"label": answer["label"], "score": round(answer["score"], 6)} for answer in answers],
            "host": session.name,
            "seconds": seconds,
        }
        for each, answers in zip(inputs, found)
    ]


def _print(found: dict[str, Any], *, json: bool, named: bool) -> None:
    if json:
        print_json(found)
    elif named:
        told = ", ".join(f"{answer['label']} {answer['score']:.3f}" for answer in found["labels"])
        typer.echo(f"{found['inputs'][0]}: {told}")
    else:
        for answer in found["labels"]:
            typer.echo(f"{answer['score']:.3f}  {answer['label']}")
