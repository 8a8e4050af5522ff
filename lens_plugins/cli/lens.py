"""lens-plugins lens list | inspect | convert"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalog import LENSES
from ..errors import CheckpointError, ConfigError
from .options import Json, Overrides, values_of
from .output import print_json, progress

if TYPE_CHECKING:
    from .._config import FrozenConfig
    from ..lens.report import LensReport

__all__ = ["app", "convert", "inspect", "list_lenses"]

app = typer.Typer(name="lens", no_args_is_help=True, help="Look at lens files, and convert them.")

Source = Annotated[str, typer.Argument(metavar="FILE", help="A released .pt, a folder, a catalogue id or a hub id.")]
Modality = Annotated[str | None, typer.Option(help="Which lens, where a file holds several.")]


@app.command("list")
def list_lenses(json: Json = False) -> None:
    """List the lenses that are known by name: those that ship first, then the released ones on the hub.

    \b
    Example:
      lens-plugins lens list
    """
    for row in LENSES:
        if json:
            print_json(asdict(row))
        else:
            typer.echo(f"{row.id:24} {row.modality:12} {row.family:12} {row.note}".rstrip())


@app.command()
def inspect(
    source: Source,
    modality: Modality = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Compare the file's copy of the ViT with this host's own."),
    ] = None,
    overrides: Overrides = None,
    keys: Annotated[bool, typer.Option("--keys", help="List every tensor with its shape, too.")] = False,
    json: Json = False,
) -> None:
    """Show what a lens file holds: modality, family, dimensions, the released lens it matches, keys that do not fit.

    The exit code is 2 where a tensor is missing, unexpected or misshapen.

    \b
    Example:
      lens-plugins lens inspect eva_g14_objaverse.pt
    """
    from .. import load_host
    from ..lens.report import inspect_lens

    with progress("reading"):
        vit = load_host(host).vit_state() if host else None
        report = inspect_lens(source, vit, modality, **values_of(overrides, "--set"))
    if json:
        print_json(_as_json(report))
    else:
        typer.echo("\n".join(_lines(report, keys)))
    raise typer.Exit(CheckpointError.exit_code if report.missing or report.unexpected or report.misshapen else 0)


@app.command()
def convert(
    source: Source,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder: config.json and model.safetensors.")],
    modality: Modality = None,
    overrides: Overrides = None,
) -> None:
    """Convert a released lens to a folder that loads quickly and holds no code.

    \b
    Example:
      lens-plugins lens convert eva_g14_objaverse.pt point-cloud-lens
    """
    from .. import load_lens

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already and not an empty folder; name a new one.")
    with progress("converting"):
        lens = load_lens(source, modality, **values_of(overrides, "--set"))
        lens.save_pretrained(folder)
    typer.echo(folder)


def _as_json(report: LensReport) -> dict[str, Any]:
    plain = {field.name: getattr(report, field.name) for field in fields(report)}
    return {**plain, "path": str(report.path), "config": report.config.to_dict()}


def _lines(report: LensReport, keys: bool) -> Iterator[str]:
    config = report.config
    yield f"{report.path}: a lens for {report.modality} of the family {report.family}"
    yield f"  latents     {config.num_tokens} x {config.width}, {report.parameters:,} parameters"
    yield f"  dimensions  those of {', '.join(report.presets) or 'no released lens'}"
    yield f"  embedding   {_values(config.embedding)}"
    yield f"  resampler   {_values(config.resampler)}"
    yield f"  input       {_values(config.input)}"
    yield f"  trained for {_values(config.vit)}"
    yield f"  tensors     {len(report.shapes)}" + ("" if keys else "; --keys lists them")
    for key, shape in report.shapes.items() if keys else ():
        yield f"  {' x '.join(map(str, shape)) or 'scalar':>18}  {key}"
    for what in ("missing", "unexpected", "misshapen"):
        yield from (f"! {what}: {key}" for key in getattr(report, what))
    if report.ignored:
        yield f"  ignored     {len(report.ignored)} known keys that are not the lens's, as {report.ignored[0]}"
    yield from (f"! {note}" for note in report.notes)
    if report.vit_differences is not None:
        yield f"  ViT         {len(report.vit_differences)} tensors differ from the host's"
        yield from (f"  {difference:18.3g}  {key}" for key, difference in report.vit_differences)


def _values(config: FrozenConfig | None) -> str:
    if config is None:
        return "none"
    return ", ".join(f"{name}={value}" for name, value in config.to_dict().items())
