"""lens-plugins host list | inspect | verify | convert"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..catalog import HOSTS
from ..errors import ConfigError, DoesNotFit
from .options import HostOptions, Json
from .output import print_json, progress
from .session import lens_sources

if TYPE_CHECKING:
    from ..hosts.inspect import HostReport, VerifyReport

__all__ = ["app", "convert", "inspect", "list_hosts", "verify"]

app = typer.Typer(name="host", no_args_is_help=True, help="Look at hosts before loading them, check and convert them.")

Id = Annotated[str, typer.Argument(metavar="ID", help="A shipped host, a hub id or a folder.")]


@app.command("list")
def list_hosts(json: Json = False) -> None:
    """List the hosts that are known by name: those that ship first, then those on the hub.

    Any other folder or hub id of the same kinds works too.

    \b
    Example:
      lens-plugins host list
    """
    for row in HOSTS:
        if json:
            print_json(asdict(row))
        else:
            typer.echo(f"{row.id:36} {row.kind:14} {row.language_model}" + (f"; {row.note}" if row.note else ""))


@app.command()
def inspect(
    host: Id,
    dtype: Annotated[str | None, typer.Option(help="Precision to reckon with; float32 where not given.")] = None,
    four_bit: Annotated[bool, typer.Option("--4bit", help="Language model in 4 bit.")] = False,
    eight_bit: Annotated[bool, typer.Option("--8bit", help="Language model in 8 bit.")] = False,
    json: Json = False,
) -> None:
    """Show what loading a host would fetch and the memory each part would need; fetches its configuration alone.

    \b
    Example:
      lens-plugins host inspect Salesforce/instructblip-vicuna-7b --4bit
    """
    from ..hosts.inspect import inspect_host

    quantization = HostOptions(four_bit=four_bit, eight_bit=eight_bit).quantization
    with progress("reading the configuration"):
        report = inspect_host(host, dtype=dtype, quantization=quantization)
    if json:
        print_json({**asdict(report), "bytes": report.bytes, "to_fetch": report.to_fetch})
    else:
        typer.echo("\n".join(_inspected(report)))


@app.command()
def verify(
    host: Id,
    lens: Annotated[
        list[str] | None,
        typer.Option(metavar="MODALITY=PATH", help="A lens to try; repeatable. Shipped hosts try their shipped ones."),
    ] = None,
    json: Json = False,
) -> None:
    """Load a host, try lenses on it, and compare the digest of all its weights before and after.

    The exit code is 2 where a lens does not fit or a weight has moved.

    \b
    Example:
      lens-plugins host verify pocket-instructblip
    """
    from .. import load_lens
    from ..hosts.inspect import verify_host

    sources = lens_sources(HostOptions(host=host, lens=lens))
    with progress("loading and digesting"):
        report = verify_host(host, [load_lens(path, modality) for modality, path in sources.items()])
    if json:
        print_json({**asdict(report), "ok": report.ok})
    else:
        typer.echo("\n".join(_verified(report)))
    raise typer.Exit(0 if report.ok else DoesNotFit.exit_code)


@app.command()
def convert(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the host.")],
    vit: Annotated[Path, typer.Option(metavar="FILE", help="eva_vit_g.pth.", exists=True, dir_okay=False)],
    llm: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER",
            help="The language model: Vicuna v1.1, FLAN-T5 or OPT; for MiniGPT-4 Vicuna v0 or LLaMA-2.",
            exists=True,
            file_okay=False,
        ),
    ],
    instructblip: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The trimmed InstructBLIP or BLIP-2 file.", exists=True, dir_okay=False),
    ] = None,
    qformer: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="MiniGPT-4: blip2_pretrained_flant5xxl.pth.", exists=True, dir_okay=False),
    ] = None,
    projection: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="MiniGPT-4: its own checkpoint.", exists=True, dir_okay=False),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="MiniGPT-4's prompt: vicuna or llama2; by the language model's positions."),
    ] = None,
    qformer_tokenizer: Annotated[
        str | None, typer.Option(metavar="ID", help="BERT's tokenizer: a folder or hub id; bert-base-uncased.")
    ] = None,
    vit_heads: Annotated[int, typer.Option(min=1, help="Attention heads of the ViT.")] = 16,
    qformer_heads: Annotated[int, typer.Option(min=1, help="Attention heads of the Q-Former.")] = 12,
) -> None:
    """Convert LAVIS's or MiniGPT-4's files to one folder in transformers' layout, which `--host FOLDER` then reads.

    \b
    Examples:
      lens-plugins host convert my-host --vit eva_vit_g.pth --instructblip trimmed.pth --llm vicuna-7b-v1.1
      lens-plugins host convert my-host --vit eva_vit_g.pth --qformer blip2_pretrained_flant5xxl.pth \\
        --projection pretrained_minigpt4_7b.pth --llm vicuna-7b-v0
    """
    from ..hosts.convert import convert_lavis, convert_minigpt4

    run: Callable[..., Path]
    if instructblip is not None and qformer is None and projection is None:
        run = partial(convert_lavis, instructblip=instructblip)
        run = run if qformer_tokenizer is None else partial(run, qformer_tokenizer=qformer_tokenizer)
    elif instructblip is None and qformer is not None and projection is not None:
        run = partial(convert_minigpt4, qformer=qformer, projection=projection, template=template)
    else:
        raise ConfigError("Give --instructblip for LAVIS's files, or --qformer and --projection for MiniGPT-4's.")
    with progress("converting"):
        made = run(folder, vit=vit, llm=llm, vit_heads=vit_heads, qformer_heads=qformer_heads)
    typer.echo(made)


def _inspected(report: HostReport) -> Iterator[str]:
    precision = report.dtype + (f", language model in {report.quantization}" if report.quantization else "")
    yield f"{report.source}: {report.kind} ({report.model_type}), {precision}"
    for part in report.parts:
        yield f"  {part.name:20} {part.parameters:>15,} parameters {_size(part.bytes):>10}"
    yield f"  {'memory of weights':20} {'':>26} {_size(report.bytes):>10}"
    for file in report.files:
        yield f"  {'here' if file.here else 'to fetch':20} {file.name} {_size(file.bytes)}"
    yield f"  {'to fetch in all':20} {_size(report.to_fetch)}"
    yield from (f"! {warning}" for warning in report.warnings)


def _verified(report: VerifyReport) -> Iterator[str]:
    yield f"{report.name}: digest {report.digest}, {'unchanged' if report.stable else 'CHANGED'}"
    for lens in report.lenses:
        yield f"{' ' if lens.fits else '!'} {lens.modality}: {'fits' if lens.fits else lens.reason}"
    yield from (f"! {warning}" for warning in report.warnings)


def _size(size: int | None) -> str:
    if size is None:
        return "size unknown"
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
