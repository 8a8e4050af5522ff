"""lens-plugins eval NAME: one command for each benchmark, all made alike."""

from __future__ import annotations

import json as _json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._optional import require
from ..errors import InputError
from ..evaluate.names import BENCHMARKS
from .eval_captions import captions
from .eval_outputs import check_outputs
from .eval_scene import scene
from .options import InputOptions, TextHostOptions, spelled_out
from .output import counting, write_text
from .session import Session

if TYPE_CHECKING:
    from ..evaluate.loop import Work
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
        check_outputs(confusion=confusion, json=json)
        from ..evaluate.loop import lay_out, score

        templates = None if template is None else [_class_at(each) for each in template]
        work = lay_out(name, data, meta=meta, limit=limit, templates=templates)  # told before a host is loaded
        if confusion is not None:
            _check_drawn(work)
        session = Session(host, reading)
        for modality in sorted(work.modalities):
            session.plug(modality)
        given = _given(reading, name, work.modalities)
        with counting() as note:
            result = score(session.host, work, cache=cache, batch_size=batch_size, settings=given, note=note)
        typer.echo(result.text())
        if json is not None:
            write_text(json, _json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
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


def _check_drawn(work: Work) -> None:
    from ..evaluate.metrics import TopK

    if not any(isinstance(task.metric, TopK) for task in work.tasks):
        raise InputError(f"--confusion: {work.benchmark.title} has no single class for each input, so none is drawn.")
    require("matplotlib", extra="train", purpose="The confusion picture")


def _draw(result: Result, file: Path) -> None:
    from ..evaluate.report import draw_confusion

    if result.confusion is None:  # every input that has a class was missed
        raise InputError(f"--confusion: 0 inputs of {result.benchmark.title} that have a class can be used.")
    draw_confusion(result.confusion, file)
    typer.echo(f"confusion: {file}", err=True)


for _name in BENCHMARKS:
    app.command(_name)(command_for(_name))
app.command("captions")(captions)
app.command("scene")(scene)
