"""lens-plugins bench lens | pocket"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app", "lens", "pocket"]

app = typer.Typer(name="bench", no_args_is_help=True, help="Measure again what the documentation claims.")


@app.command()
def lens(
    clouds: Annotated[int, typer.Option(min=1, help="Clouds in a batch.")] = 4,
    points: Annotated[int, typer.Option(min=512, help="Points of each cloud.")] = 8192,
    repeats: Annotated[int, typer.Option(min=1, help="Counted calls of each; medians are shown.")] = 7,
    threads: Annotated[int, typer.Option(min=1, help="That torch may use.")] = 2,
) -> None:
    """Time a lens beside the plain algorithm.

    \b
    Example:
      lens-plugins bench lens
    """
    from ..bench.lens import run

    typer.echo(run(clouds, points, repeats, threads))


@app.command()
def pocket(
    host: Annotated[str, typer.Option(metavar="ID", help="Which host answers.")] = "pocket-instructblip",
    lens: Annotated[str, typer.Option(metavar="ID", help="Which point-cloud lens.")] = "pocket-point-cloud",
    clouds: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Also list the captions of its clouds.")] = None,
) -> None:
    """Count how often a host names held-out objects, by picture, cloud, shuffled lens and no lens.

    \b
    Example:
      lens-plugins bench pocket
    """
    from ..bench.pocket import run

    run(host, lens, clouds=clouds, out=typer.echo, note=partial(typer.echo, err=True))
