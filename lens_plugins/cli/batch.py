"""lens-plugins batch"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import ConfigError, InputError
from .options import BatchSize, Fuse, GenerationOptions, InputOptions, Prompt, TextHostOptions, pairs, spelled_out
from .output import complain, note
from .ray_options import RayOptions

if TYPE_CHECKING:
    from ..batches.local import Done
    from ..batches.plan import Plan
    from ..batches.ray import Cluster
    from ..batches.rows import Inputs, Listing

__all__ = ["batch"]

_PAUSE = 5.0  # seconds between two lines of progress
_DRAWS = "pocket-seed-llama"


@spelled_out
def batch(
    task: Annotated[
        Literal["caption", "ask", "embed", "classify", "imagine"], typer.Argument(metavar="TASK", help="What to do.")
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="Files, folders, patterns, or tables with a column path."),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="OUT", help="A file .jsonl, .csv or .parquet, or a folder of parts."),
    ],
    host: TextHostOptions,
    reading: InputOptions,
    generation: GenerationOptions,
    ray: RayOptions,
    prompt: Prompt = None,
    fuse: Fuse = None,
    labels: Annotated[str | None, typer.Option(metavar="A,B,C", help="Of classify, with commas between.")] = None,
    template: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Of classify; a label stands in place of {}. Repeatable.")
    ] = None,
    space: Annotated[
        Literal["vision", "text"] | None, typer.Option(help="Of embed; text where the host has a text head.")
    ] = None,
    batch_size: BatchSize = 16,
    readers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read; one for each core but one where not given.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin afresh, whatever OUT holds.")] = False,
) -> None:
    """Do one task with many files and write a table; a run that was stopped goes on where it was.

    TASK is caption, ask, embed, classify or imagine. Tables are JSON lines, CSV or Parquet with a column path, and
    modality, prompt, fuse, options where needed; other columns are handed through. A row that fails has the reason in
    the column error; the exit code is then 2.

    \b
    Example:
      lens-plugins batch caption clouds -o captions.jsonl
      lens-plugins batch embed things.csv -o vectors.parquet
      lens-plugins batch classify "sounds/**/*.wav" --labels dog,rain -o labels.csv
      lens-plugins batch embed things.csv -o s3://bucket/vectors --ray auto --device cuda
    """
    from ..batches.local import run_local
    from ..batches.parts import check_output
    from ..batches.rows import Inputs

    cluster = ray.cluster(readers)
    if cluster is None:
        check_output(output)
    plan = _plan(
        task, host, reading, generation,
        prompt=prompt, fuse=fuse, labels=tuple((labels or "").split(",")) if labels else (),
        templates=tuple(template or ["{}"]), space=space, batch_size=batch_size,
    )  # fmt: skip
    rows = Inputs(inputs)
    listing = rows.listing()
    _tell_listing(listing)
    with _progress(task) as told:
        if cluster is None:
            done = run_local(plan, rows, output, listing=listing, readers=readers, overwrite=overwrite, note=told)
        else:
            done = _on_ray(plan, rows, output, cluster, listing=listing, overwrite=overwrite, note=told)
    what = f"{done.rows} rows in {done.output}"
    if done.computed:
        rate = done.computed / max(done.seconds, 1e-9)
        what += f"; {done.computed} now, {rate:.1f} a second, the model busy {done.busy:.0%} of the time"
    note(what)
    if done.failed:
        complain(f"{done.failed} of {done.rows} rows have failed; the column error says why.")
        raise typer.Exit(InputError.exit_code)


def _on_ray(plan: Plan, rows: Inputs, output: str, cluster: Cluster, **more: Any) -> Done:
    from ..batches.ray import run_on_ray

    return run_on_ray(plan, rows, output, cluster, say=note, **more)


def _plan(task: str, host: TextHostOptions, reading: InputOptions, generation: GenerationOptions, **more: Any) -> Plan:
    """What the options say, as plain data."""
    from ..batches.plan import Plan
    from ..catalog import modalities

    if reading.show is not None:
        raise ConfigError("--show draws what single files look like to the model; leave it out of a batch.")
    loading = {name: value for name, value in host.loading().items() if value is not None}
    name = host.host
    if task == "imagine" and name == TextHostOptions().host:  # no choice of the user's
        name = _DRAWS
    settings = {one: values for one in modalities() if (values := reading.settings(one))}
    return Plan(
        task, name, loading, pairs(host.lens, "--lens"), settings, generation=generation.given(),
        seed=generation.seed or 0, **more,
    )  # fmt: skip


def _tell_listing(listing: Listing) -> None:
    for hint in listing.hints:
        note(f"The column {hint}")
    if listing.left_out:
        endings = ", ".join(f"{count} {ending or 'without one'}" for ending, count in sorted(listing.left_out.items()))
        note(f"left out {sum(listing.left_out.values())} files whose ending names no modality: {endings}")


@contextmanager
def _progress(task: str) -> Iterator[Callable[[int, int], None]]:
    """Rows done, rows a second and time left, on stderr: one line that changes, or a new one now and then."""
    terminal = sys.stderr.isatty()
    began, first, last = monotonic(), -1, 0.0

    def tell(done: int, total: int) -> None:
        nonlocal first, last, began
        if first < 0:
            first, began = done, monotonic()  # the first unit waits for the readers to start
        now = monotonic()
        if now - last < (0.2 if terminal else _PAUSE) and done < total:
            return
        last = now
        rate = (done - first) / (now - began) if now > began and done > first else 0.0
        left = f", {rate:.1f} a second, {_time((total - done) / rate)} left" if rate else ""
        typer.echo(
            f"{task}: {done} of {total} rows{left}" + (" " * 8 + "\r" if terminal else ""), err=True, nl=not terminal
        )

    try:
        yield tell
    finally:
        if terminal and first >= 0:
            typer.echo(err=True)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
