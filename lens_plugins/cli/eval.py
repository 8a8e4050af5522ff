"""lens-plugins eval NAME: one command for each benchmark, all made alike."""

from __future__ import annotations

import json as _json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..evaluate.names import BENCHMARKS
from .eval_scene import scene
from .options import InputOptions, TextHostOptions, spelled_out
from .session import Session

if TYPE_CHECKING:
    from ..evaluate.report import Result

__all__ = ["app", "command_for"]

app = typer.Typer(name="eval", no_args_is_help=True, help="Score a host on published benchmarks, or on your own pairs.")

_PICTURES = (".png", ".svg", ".pdf")
_EXAMPLE = """

    \b
    Example:
      lens-plugins eval {name} --data {data} --cache cache --json {name}.json
    """


def command_for(name: str) -> Callable[..., None]:
    """The command of one benchmark."""

    @spelled_out
    def command(
        data: Annotated[Path, typer.Option(metavar="DIR", help="Root of the data set; of pairs, the manifest.")],
        host: TextHostOptions,
        reading: InputOptions,
        meta: Annotated[
            Path | None, typer.Option(metavar="DIR", help="Lists and labels: a checkout of ViT-Lens, or its metadata.")
        ] = None,
        cache: Annotated[
            Path | None, typer.Option(metavar="DIR", help="Keep vectors here; a stopped run goes on from them.")
        ] = None,
        limit: Annotated[int | None, typer.Option(min=1, help="So many inputs, spread evenly.")] = None,
        template: Annotated[
            list[str] | None,
            typer.Option(metavar="TEXT", help="In place of the benchmark's; a class stands at {}; repeatable."),
        ] = None,
        batch_size: Annotated[int, typer.Option(min=1, help="Inputs that go through the host together.")] = 32,
        confusion: Annotated[
            Path | None, typer.Option(metavar="PICTURE", help="Draw what is taken for what (.png, .svg, .pdf).")
        ] = None,
        json: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the result as JSON, too.")] = None,
    ) -> None:
        if confusion is not None and confusion.suffix.lower() not in _PICTURES:
            raise InputError(f"--confusion {confusion}: a picture is written as {', '.join(_PICTURES)}.")
        if reading.show is not None:
            raise InputError("--show: eval draws no inputs; `lens-plugins caption` does.")
        from ..evaluate.loop import lay_out, score

        templates = None if template is None else [_class_at(each) for each in template]
        work = lay_out(name, data, meta=meta, limit=limit, templates=templates)  # told before a host is loaded
        session = Session(host, reading)
        for modality in sorted(work.modalities):
            session.plug(modality)
        given = _given(reading, name, work.modalities)
        with counting() as note:
            result = score(session.host, work, cache=cache, batch_size=batch_size, settings=given, note=note)
        typer.echo(result.text())
        if json is not None:
            _write(json, result.to_dict())
        if confusion is not None:
            _draw(result, confusion)

    command.__name__ = name
    command.__doc__ = BENCHMARKS[name].title + _EXAMPLE.format(
        name=name, data="pairs.jsonl" if name == "pairs" else "data"
    )
    return command


def _given(reading: InputOptions, name: str, modalities: set[str]) -> dict[str, Any] | None:
    """What the user says of how inputs are read; of several modalities the session's lenses know it already."""
    others = sorted(reading.by_modality().keys() - modalities)
    if others:
        raise InputError(f"--set {others[0]}: {name} reads {' and '.join(sorted(modalities))} alone.")
    return reading.settings(next(iter(modalities))) if len(modalities) == 1 else None


def _class_at(template: str) -> str:
    if "{}" not in template:
        raise InputError(f"--template {template!r} has no {{}}, where a class stands.")
    return template.replace("{}", "{c}")


@contextmanager
def counting() -> Iterator[Callable[[str, int, int], None]]:
    """What a run tells of its progress, on stderr: a bar on a terminal, elsewhere a line now and then."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        tasks: dict[str, Any] = {}
        with Progress(*columns, console=Console(stderr=True)) as bars:

            def move(what: str, done: int, of: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=of)
                bars.update(tasks[what], completed=done)

            yield move
        return
    last = [monotonic()]

    def tell(what: str, done: int, of: int) -> None:
        if done == of or monotonic() - last[0] > 10:  # seconds between two lines
            last[0] = monotonic()
            typer.echo(f"{what}: {done} of {of}", err=True)

    yield tell


def _write(file: Path, value: Any) -> None:
    from ..files.writing import replacing

    with replacing(file, error=InputError) as temporary:
        temporary.write_text(_json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _draw(result: Result, file: Path) -> None:
    from ..evaluate.report import draw_confusion

    if result.confusion is None:
        raise InputError(f"--confusion: {result.benchmark.title} has no single class for each input, so none is drawn.")
    draw_confusion(result.confusion, file)
    typer.echo(f"confusion: {file}", err=True)


for _name in BENCHMARKS:
    app.command(_name)(command_for(_name))
app.command("scene")(scene)
