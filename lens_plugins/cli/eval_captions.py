"""lens-plugins eval captions"""

from __future__ import annotations

import json as _json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .eval_outputs import check_outputs
from .options import GenerationOptions, InputOptions, Prompt, TextHostOptions, pairs, spelled_out
from .output import counting, write_text
from .session import Session

__all__ = ["captions"]


@spelled_out
def captions(
    data: Annotated[Path, typer.Option(metavar="FILE", help="Things and their reference captions, JSON lines.")],
    host: TextHostOptions,
    reading: InputOptions,
    generation: GenerationOptions,
    system: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="lens, picture, nearest or probe; repeatable; lens where not given."),
    ] = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help='What another system said, lines {"id", "text"}; repeatable.'),
    ] = None,
    train: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Things of training, as --data, for nearest and probe.")
    ] = None,
    prompt: Prompt = None,
    limit: Annotated[int | None, typer.Option(min=2, help="So many things, spread evenly.")] = None,
    cache: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep vectors here.")] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show every input and what was said, as one .html file.")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="OUT", help="Write the result as JSON, too.")] = None,
) -> None:
    """Score captions of a host that writes, beside simpler and other systems.

    Each line of FILE is {"modality", "path", "references", "label", "words", "picture", "id"}; a line needs path, and
    references or label. The systems: lens asks about the input, picture about its picture, nearest repeats the caption
    of the most alike known thing, probe says the class that a linear model finds.

    \b
    Example:
      lens-plugins eval captions --data things.jsonl --system lens --system picture --page captions.html
      lens-plugins eval captions --data things.jsonl --answers PointLLM=pointllm.jsonl --json scores.json
    """
    from ..evaluate.caption_page import write_page
    from ..evaluate.captions import Setting, compare_captions, read_answers, read_things
    from ..evaluate.loop import spread
    from ..hosts.vectors import FeatureCache

    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--page {page}: the page is written as .html.")
    if reading.show is not None:
        raise InputError("--show: --page shows the inputs here.")
    check_outputs(page=page, json=json)
    things = spread(read_things(data), limit)
    known = read_things(train, known=True) if train else []
    others = {name: read_answers(Path(file), things) for name, file in pairs(answers, "--answers").items()}
    session = Session(host, reading)
    for modality in sorted({thing.modality for thing in [*things, *known]}):
        session.plug(modality)
    options = generation.given()
    with counting() as note:
        setting = Setting(
            session.host, things, known, prompt, options, FeatureCache(cache) if cache else None, note
        )  # fmt: skip
        result = compare_captions(setting, system or ([] if others else ["lens"]), others)
    typer.echo(result.text())
    if json is not None:
        write_text(json, _json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
    if page is not None:
        write_page(result, session.host, page)
        typer.echo(f"page: {page}", err=True)
