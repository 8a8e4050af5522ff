"""lens-plugins scene"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .options import InputOptions, Json, TextHostOptions, spelled_out
from .output import one_line, print_json, progress
from .search import query_text
from .session import Session

if TYPE_CHECKING:
    from ..scene import Found, Scene

__all__ = ["ScanOptions", "scene"]


@dataclass(frozen=True)
class ScanOptions:
    """What a scan does not say of itself."""

    up: Annotated[Literal["z", "y"], typer.Option(help="The scan's axis that points up.")] = "z"
    unit: Annotated[Literal["m", "cm", "mm"], typer.Option(help="Of the coordinates of a cloud or mesh.")] = "m"
    ids: Annotated[
        str | None, typer.Option(metavar="FIELD", help="The field with instance ids; the usual names where not given.")
    ] = None
    zero: Annotated[
        Literal["auto", "object", "none"],
        typer.Option(help="What the id 0 means; auto: none, unless some id is negative."),
    ] = "auto"
    clusters: Annotated[
        bool, typer.Option("--clusters", help="Tell things apart by distance, even where there are ids.")
    ] = False
    crops: Annotated[int, typer.Option(min=1, help="Pictures of each instance: those that show most of it.")] = 5
    frames: Annotated[int, typer.Option(min=1, help="RGB-D frames to read, spread evenly.")] = 100

    def reading(self) -> dict[str, Any]:
        """As `read_scene` takes it."""
        names = {"ids": "field"}
        return {names.get(each.name, each.name): getattr(self, each.name) for each in fields(self)}


@spelled_out
def scene(
    scan: Annotated[str, typer.Argument(metavar="SCAN", help="A cloud, a mesh, or a folder of frames or crops.")],
    query: Annotated[
        list[str], typer.Option(metavar="FILE|TEXT", help="What to find; repeated, all together are one query.")
    ],
    host: TextHostOptions,
    scanned: ScanOptions,
    combine: Annotated[
        Literal["mean", "max", "points", "crops"],
        typer.Option(help="How an instance's points and crops are compared with the query."),
    ] = "mean",
    space: Annotated[
        Literal["vision", "text"] | None,
        typer.Option(help="As for search: ViT features, or what the text head makes of them."),
    ] = None,
    chosen: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="MODALITY.FIELD=VALUE", help="How the query is read, as depth.kind=depth_mm."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many instances to show.")] = 10,
    ply: Annotated[str | None, typer.Option(metavar="FILE", help="Write the scan, coloured by rank.")] = None,
    rrd: Annotated[str | None, typer.Option(metavar="FILE", help="Write a recording for rerun's viewer.")] = None,
    json: Json = False,
) -> None:
    """Rank the things in a room by their likeness to a file or a text.

    SCAN is a folder of pictures, one a thing or one folder a thing; a .ply or .npz with a field of instance ids;
    ScanNet's mesh with its segments and aggregation; or a folder with color/, depth/, pose/, intrinsic/ and
    instance-filt/. Without instance ids, points are clustered by distance, and stderr says so. Lengths are metres. The
    score is the cosine with an instance's mean vector: of its points, by the point lens, and of its crops, by the ViT.

    \b
    Example:
      lens-plugins scene scene0000_00 --query flush.wav
      lens-plugins scene room.ply --query "a wooden chair" --ply found.ply
    """
    from ..scene import read_scene, write_ply, write_rrd
    from ..scene.output import target_path

    for target, ending in ((ply, ".ply"), (rrd, ".rrd")):
        if target is not None:
            target_path(target, ending)
    session = Session(host, InputOptions(chosen=chosen))
    asked = [query_text(each) or session.read(each) for each in query]
    read = read_scene(scan, **scanned.reading())
    for note in read.notes:
        typer.echo(note, err=True)
    found = _rank(session, read, asked, combine, space)
    if ply is not None:
        write_ply(ply, read, found)
    if rrd is not None:
        write_rrd(rrd, read, found)
    if json:
        for each in found[:top]:
            print_json({"query": query[0] if len(query) == 1 else query, **each.to_dict(), "host": session.name,
                        "found_by": read.found_by})  # fmt: skip
    else:
        typer.echo("\n".join(_table(found[:top])))


def _rank(session: Session, scene: Scene, asked: Sequence[Any], combine: str, space: str | None) -> list[Found]:
    from ..scene.ranking import embed_scene, search_scene

    session.plug("point_cloud")
    if any(each.points is not None for each in scene.instances) and "point_cloud" not in session.host.lenses:
        typer.echo(f"{session.name} has no point-cloud lens: crops alone are compared.", err=True)
    with progress(f"looking at {len(scene.instances)} instances"):
        return search_scene(
            session.host, embed_scene(session.host, scene, space=space), asked, combine=combine, space=space
        )


def _table(found: Sequence[Found]) -> list[str]:
    """A head and a line for each instance, in columns."""
    rows = [("rank", "score", "instance", "label", "centre (m)", "size (m)", "points", "crops")]
    for each in found:
        told = each.to_dict()
        label = one_line(told["label"] or "-")
        label = label if len(label) <= 24 else f"{label[:23]}…"
        places = _three(told["centre"], ", "), _three(told["size"], " x ")
        counts = str(told["points"]), str(told["crops"])
        rows.append((str(each.rank), f"{each.score:.3f}", str(told["instance"]), label, *places, *counts))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _three(values: Sequence[float] | None, between: str) -> str:
    return "-" if values is None else between.join(f"{value:.2f}" for value in values)
