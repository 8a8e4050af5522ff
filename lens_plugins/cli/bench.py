"""lens-plugins bench: one command for each table of figures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "app",
    "batch",
    "captions",
    "evaluate",
    "host",
    "index",
    "lens",
    "memory",
    "pocket",
    "pocket_seed",
    "scale",
    "scene",
    "seed",
    "serve",
]

app = typer.Typer(name="bench", no_args_is_help=True, help="Measure again what the documentation claims.")

Repeats = Annotated[int, typer.Option(min=1, help="Counted calls of each; medians are shown.")]
Threads = Annotated[int, typer.Option(min=1, help="That torch may use.")]


@app.command()
def lens(
    clouds: Annotated[int, typer.Option(min=1, help="Clouds in a batch.")] = 4,
    points: Annotated[int, typer.Option(min=512, help="Points of each cloud.")] = 8192,
    repeats: Repeats = 7,
    threads: Threads = 2,
) -> None:
    """Time a lens beside the plain algorithm.

    \b
    Example:
      lens-plugins bench lens
    """
    from ..bench.lens import run

    typer.echo(run(clouds, points, repeats, threads))


@app.command()
def host(
    host: Annotated[str, typer.Option(metavar="ID", help="Which host answers.")] = "pocket-instructblip",
    lens: Annotated[str, typer.Option(metavar="PATH", help="Which point-cloud lens.")] = "pocket-point-cloud",
    requests: Annotated[int, typer.Option(min=1, help="In a batch.")] = 8,
    repeats: Repeats = 5,
    threads: Threads = 2,
) -> None:
    """Time a host: one by one and in batches.

    \b
    Example:
      lens-plugins bench host
    """
    from ..bench.host import run

    typer.echo(run(host, lens, requests=requests, repeats=repeats, threads=threads))


@app.command()
def memory(
    host: Annotated[str, typer.Option(metavar="ID", help="Which host stands there already.")] = "pocket-instructblip",
    second: Annotated[
        str, typer.Option(metavar="ID", help="A host of the same ViT, to be loaded beside it.")
    ] = "pocket-seed-llama",
) -> None:
    """Weigh what the shipped lenses and a second host add to a process, with a ViT of its own and sharing.

    \b
    Example:
      lens-plugins bench memory
    """
    from ..bench.memory import run

    typer.echo(run(host, second))


@app.command()
def pocket(
    host: Annotated[str, typer.Option(metavar="ID", help="Which host answers.")] = "pocket-instructblip",
    lens: Annotated[str, typer.Option(metavar="ID", help="Which point-cloud lens.")] = "pocket-point-cloud",
    clouds: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Also list the captions of its clouds.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The other senses and mixed inputs too.")] = False,
    chart: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw accuracy by modality; with --all.")] = None,
) -> None:
    """Count how often a host names held-out objects, by picture, cloud, shuffled lens and no lens.

    \b
    Example:
      lens-plugins bench pocket
      lens-plugins bench pocket --all --chart accuracy.png
    """
    from ..bench.pocket import run
    from ..errors import InputError

    if chart is not None and not everything:
        raise InputError("--chart draws all modalities, so it needs --all.")
    if chart is not None and chart.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"--chart {chart}: a chart is written as .png, .svg or .pdf.")
    note = partial(typer.echo, err=True)
    typer.echo(run(host, lens, clouds=clouds, everything=everything, chart=chart, note=note))


@app.command()
def seed(
    host: Annotated[str, typer.Option(metavar="ID", help="Which SEED-LLaMA.")] = "pocket-seed-llama",
    repeats: Repeats = 5,
    threads: Threads = 2,
) -> None:
    """Time a SEED-LLaMA: tokenizer, language model and diffusion apart.

    \b
    Example:
      lens-plugins bench seed --host AILab-CVC/seed-llama-8b-sft
    """
    from ..bench.seed import run

    typer.echo(run(host, repeats=repeats, threads=threads))


@app.command()
def pocket_seed(
    host: Annotated[str, typer.Option(metavar="ID", help="Which SEED-LLaMA draws.")] = "pocket-seed-llama",
    judge: Annotated[str, typer.Option(metavar="ID", help="Whose zero-shot classes count.")] = "pocket-instructblip",
    objects: Annotated[int | None, typer.Option(min=2, help="Held-out things; all unless given.")] = None,
    grid: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw inputs and outputs side by side.")] = None,
    second_judge: Annotated[
        bool, typer.Option("--second-judge", help="Ask an ImageNet network, too (extra: pocket).")
    ] = False,
) -> None:
    """Judge what a SEED-LLaMA draws of held-out things: again, changed, two in one picture.

    \b
    Example:
      lens-plugins bench pocket-seed --grid grid.png
    """
    from ..bench.pocket_seed import run
    from ..hosts.seed_llama.images import check_target

    if grid is not None:
        check_target(grid)
    typer.echo(
        run(host, judge, objects=objects, grid=grid, second_judge=second_judge, note=partial(typer.echo, err=True))
    )


@app.command()
def captions(
    host: Annotated[str, typer.Option(metavar="ID", help="Which host writes.")] = "pocket-instructblip",
    lens: Annotated[str, typer.Option(metavar="ID", help="Which point-cloud lens.")] = "pocket-point-cloud",
    objects: Annotated[int | None, typer.Option(min=5, help="Held-out things; all unless given.")] = None,
    page: Annotated[Path | None, typer.Option(metavar="FILE", help="Show inputs and answers as .html.")] = None,
) -> None:
    """Compare what a host says of held-out objects with a picture's caption, the nearest caption and a linear probe.

    \b
    Example:
      lens-plugins bench captions --page captions.html
    """
    from ..bench.captions import run

    typer.echo(run(host, lens, objects=objects, page=page, note=partial(typer.echo, err=True)))


@app.command()
def index(
    host: Annotated[str, typer.Option(metavar="ID", help="Whose vectors they would be.")] = "pocket-instructblip",
    rows: Annotated[int, typer.Option(min=1000, help="Of the largest index; each is ten times the last.")] = 100_000,
    queries: Annotated[int, typer.Option(min=1, help="Asked of each.")] = 100,
) -> None:
    """Time and weigh an index of 1,000, 10,000 … synthetic vectors, and count what its search misses.

    \b
    Example:
      lens-plugins bench index --rows 1000000
    """
    from ..bench.index import run

    typer.echo(run(host, rows=rows, queries=queries, note=partial(typer.echo, err=True)))


@app.command()
def scale(
    host: Annotated[str, typer.Option(metavar="ID", help="What embeds.")] = "pocket-instructblip",
    lens: Annotated[
        list[str] | None, typer.Option(metavar="MODALITY=PATH", help="A lens beside the shipped ones; repeatable.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where the host computes, as cuda; the CPU unless given.")] = None,
    rows: Annotated[int, typer.Option(min=100, help="Of the largest whole run; each is ten times the last.")] = 1000,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows that go through the host together.")] = 16,
    hosts: Annotated[int, typer.Option(min=1, help="At work in the runs that are foretold.")] = 8,
    threads: Threads = 1,
) -> None:
    """Foretell from a few rows what runs of up to a billion take, beside whole runs of 100, 1,000 …

    \b
    Example:
      lens-plugins bench scale --rows 10000
      lens-plugins bench scale --host Salesforce/instructblip-vicuna-7b --device cuda --lens audio=lens-audio
    """
    from ..bench.scale import run
    from ..errors import InputError

    named = [one.partition("=") for one in lens or ()]
    if wrong := next((f"{modality}{sign}{path}" for modality, sign, path in named if not (modality and path)), None):
        raise InputError(f"--lens is {wrong!r}; it must be MODALITY=PATH, as audio=lens-audio.")
    lenses = {modality: path for modality, _, path in named}
    note = partial(typer.echo, err=True)
    typer.echo(
        run(
            host, lenses=lenses, device=device, rows=rows, batch_size=batch_size, hosts=hosts, threads=threads,
            note=note,
        )
    )  # fmt: skip


@app.command()
def evaluate(
    host: Annotated[str, typer.Option(metavar="ID", help="Which host embeds.")] = "pocket-instructblip",
    lens: Annotated[str, typer.Option(metavar="ID", help="Which point-cloud lens.")] = "pocket-point-cloud",
    clouds: Annotated[int, typer.Option(min=64, help="Files that are made, read and scored.")] = 2000,
    points: Annotated[int, typer.Option(min=64, help="Of each cloud.")] = 1024,
    batch_size: Annotated[int, typer.Option(min=1, help="Clouds that go through the host together.")] = 32,
    threads: Threads = 1,
) -> None:
    """Time an evaluation from files to figures, beside the lens and ViT alone on the same clouds in memory.

    \b
    Example:
      lens-plugins bench evaluate --clouds 10000
    """
    from ..bench.evaluate import run

    typer.echo(run(host, lens, clouds=clouds, points=points, batch_size=batch_size, threads=threads))


@app.command()
def scene(
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="With rooms, or a new one to keep them in.")
    ] = None,
    rooms: Annotated[int, typer.Option(min=1, help="Furnished rooms; as many again are of crops.")] = 20,
    objects: Annotated[int, typer.Option(min=2, help="Things in each.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the rooms.")] = 0,
    host: Annotated[str, typer.Option(metavar="ID", help="Which host looks for things.")] = "pocket-instructblip",
) -> None:
    """Count how often things are found in rooms of held-out objects, by the query's modality.

    \b
    Example:
      lens-plugins bench scene --rooms 20 --seed 1
    """
    from ..bench.rooms import run

    typer.echo(run(folder, rooms, objects, seed, host))


@app.command()
def serve(
    host: Annotated[str, typer.Option(metavar="ID", help="Which host answers.")] = "pocket-instructblip",
    lens: Annotated[str, typer.Option(metavar="ID", help="Which point-cloud lens.")] = "pocket-point-cloud",
    clients: Annotated[int, typer.Option(min=1, help="That ask at once.")] = 64,
    each: Annotated[int, typer.Option(min=1, help="Requests of each.")] = 20,
    batch_size: Annotated[int, typer.Option(min=1, help="Requests that are answered together.")] = 16,
    threads: Threads = 1,
) -> None:
    """Compare a server with `generate_batch` on the same requests, and time many clients at once.

    \b
    Example:
      lens-plugins bench serve --clients 64 --each 20
    """
    from ..bench.serve import run

    note = partial(typer.echo, err=True)
    typer.echo(run(host, lens, clients=clients, each=each, batch_size=batch_size, threads=threads, note=note))


@app.command()
def batch(
    host: Annotated[str, typer.Option(metavar="ID", help="Which host answers, with its shipped lenses.")] = (
        "pocket-instructblip"
    ),
    rows: Annotated[int, typer.Option(min=16, help="Clouds that are made.")] = 256,
    points: Annotated[int, typer.Option(min=64, help="Of each cloud.")] = 8192,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows that go through the host together.")] = 16,
    readers: Annotated[int | None, typer.Option(min=1, help="Processes beside the model.")] = None,
    ray: Annotated[bool, typer.Option("--ray", help="Two hosts on a local Ray, too.")] = False,
    threads: Threads = 1,
) -> None:
    """Time a run over many files: read in the model's thread, by processes beside it, on Ray.

    \b
    Example:
      lens-plugins bench batch --rows 512
    """
    from ..bench.batch import run

    note = partial(typer.echo, err=True)
    typer.echo(
        run(host, rows=rows, points=points, batch_size=batch_size, readers=readers, ray=ray, threads=threads, note=note)
    )
