"""lens-plugins eval scene"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from .eval_outputs import check_outputs
from .options import InputOptions, TextHostOptions, spelled_out
from .scene import ScanOptions
from .session import Session

__all__ = ["scene"]


@spelled_out
def scene(
    data: Annotated[Path, typer.Option(metavar="DIR", help="A folder with scans and queries.jsonl.")],
    host: TextHostOptions,
    scanned: ScanOptions,
    combine: Annotated[
        Literal["mean", "max", "points", "crops"],
        typer.Option(help="How an instance's points and crops are compared with the query."),
    ] = "mean",
    json: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the result as JSON, too.")] = None,
) -> None:
    """Finding things in rooms: R@1, R@5, median rank and within 1 m, by the query's modality.

    A line of queries.jsonl is {"scene": "scene0000_00", "query": "text:a toilet" or a file, "modality": "text",
    "answers": [instance ids]}; paths are relative to the folder. There is no published figure to compare with.

    \b
    Example:
      lens-plugins eval scene --data rooms --json scene.json
    """
    from ..errors import InputError
    from ..evaluate.scene import evaluate_scenes, read_queries
    from ..files.jsons import write_json

    check_outputs(json=json)
    modalities = {query.modality for query in read_queries(data)} - {"text"}  # told before a host is loaded
    session = Session(host, InputOptions())
    for modality in sorted({"point_cloud", *modalities}):
        session.plug(modality)
    note = partial(typer.echo, err=True)
    result = evaluate_scenes(session.host, data, combine=combine, note=note, **scanned.reading())
    typer.echo(result.text())
    if json is not None:
        write_json(json, result.to_dict(), error=InputError)
