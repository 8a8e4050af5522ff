"""lens-plugins imagine"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from .._optional import require
from ..errors import Unsupported
from ..inputs.names import modality_of
from ..serve.client import Drawn
from .answering import client_of
from .options import InputOptions, Json, Place, ServedHostOptions, spelled_out
from .output import answer, print_json, progress
from .session import Session, file_names

if TYPE_CHECKING:
    from ..hosts.seed_llama.host import SeedLlamaHost

__all__ = ["imagine"]


@dataclass(frozen=True)
class DrawingHost(ServedHostOptions):
    """`ServedHostOptions` with a host that draws."""

    host: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="A shipped SEED-LLaMA, a hub id or a folder; of a server, one of its models.",
            show_default="pocket-seed-llama, or the server's first that draws",
        ),
    ] = ""
    default_host: ClassVar[str] = "pocket-seed-llama"


@dataclass(frozen=True)
class DrawingOptions:
    """How pictures are drawn; what is not given stays as the host has it."""

    steps: Annotated[int | None, typer.Option(help="Of diffusion; more are slower and finer.")] = None
    guidance: Annotated[float | None, typer.Option(help="How closely a picture keeps to its codes; 1: not.")] = None
    size: Annotated[int | None, typer.Option(help="Pixels of each side, a multiple of 8.")] = None
    noise_level: Annotated[int | None, typer.Option(help="Noise on what the codes stand for; from 0.")] = None
    candidates: Annotated[int | None, typer.Option(help="Drawn of each picture, of which the best is kept.")] = None

    def sent(self) -> dict[str, Any]:
        """What was given, for a server to check."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def given(self) -> dict[str, Any]:
        """What was given, checked before a host is loaded.

        Raises:
            ConfigError: a value that no picture can be drawn with.
        """
        from ..hosts.seed_llama.detokenizer import Drawing

        given = self.sent()
        Drawing(**given)
        return given


@dataclass(frozen=True)
class Asked:
    """What is to be drawn.

    Args:
        edit: what to change; None: nothing.
        count: pictures.
        seed: of the first.
        fuse: where several files meet; None: each is a picture of its own.
    """

    edit: str | None
    count: int
    seed: int
    fuse: str | None


@dataclass(frozen=True)
class Drawings:
    """What was drawn, and who drew it of what."""

    host: str
    drawn: Sequence[Drawn]
    texts: Sequence[str]
    inputs: Sequence[str]
    modalities: Sequence[str]


@spelled_out
def imagine(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Of any modality; - reads names from stdin.")],
    host: DrawingHost,
    reading: InputOptions,
    drawing: DrawingOptions,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="PICTURE", help="A .png, .jpg or .webp file.")
    ] = "imagined.png",
    edit: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What to change; <image> in it is where a file stands.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, max=64, help="How many pictures, each of its own seed.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed makes the same picture.")] = 0,
    fuse: Annotated[
        Place | None, typer.Option(help="Several files as one picture, met there; each its own where not given.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a picture of a file of any modality, of a change to it, or of several files in one.

    The picture holds its prompt, codes and seed. With -n 4 the pictures are PICTURE-1 to PICTURE-4; PICTURE itself,
    named last, is a sheet of all. Of a recording one clip is used unless --clips says otherwise. There is no safety
    checker.

    \b
    Example:
      lens-plugins imagine chair.ply -o chair.png
      lens-plugins imagine pumpkin.glb --edit "Make it Halloween style." -n 4 -o pumpkin.png
      lens-plugins imagine dog.wav beach.jpg -o both.webp
    """
    from ..hosts.seed_llama.images import check_target

    target, names, asked = check_target(output), file_names(files), Asked(edit, count, seed, fuse)
    began = perf_counter()
    draw = _here if host.server is None else _there
    made = draw(host, reading, names, asked, drawing)
    seconds = (perf_counter() - began) / count
    sheet = {"sheet": str(target)} if count > 1 else {}
    for path, one, text in zip(_save(target, made), made.drawn, made.texts):
        if json:
            found = answer(made.inputs, made.modalities, one.prompt, text, host=made.host, seconds=seconds)
            print_json({**found, "file": str(path), "seed": one.seed, "codes": one.codes, **sheet})
        else:
            typer.echo(path)
    if sheet and not json:
        typer.echo(target)


def _here(
    host: DrawingHost, reading: InputOptions, files: Sequence[str], asked: Asked, drawing: DrawingOptions
) -> Drawings:
    """Pictures of a host that is loaded for this command."""
    options = drawing.given()
    require("diffusers", extra="seed", purpose="Drawing pictures")  # missed now and not after minutes
    session = Session(host.here(), replace(reading, clips=reading.clips or 1))
    session.check_host()
    inputs = session.read_all(files)
    artist = _artist(session)
    with progress("imagining"):
        seen = artist.look(inputs, fuse=asked.fuse)
        prompt = artist.prompt_of(asked.edit, len(seen.features))
        replies = artist.imagine(seen, prompt, count=asked.count, seed=asked.seed, **options)
    drawn = [Drawn(reply.images[0], reply.seed, reply.codes[0].tolist(), prompt) for reply in replies]
    texts, modalities = [reply.text for reply in replies], [each.modality for each in inputs]
    return Drawings(session.name, drawn, texts, list(files), modalities)


def _there(
    host: DrawingHost, reading: InputOptions, files: Sequence[str], asked: Asked, drawing: DrawingOptions
) -> Drawings:
    """Pictures of a server's model."""
    client, settings = client_of(host), reading.sent()
    with progress("imagining"):
        drawn = client.imagine(
            list(files), asked.edit, count=asked.count, seed=asked.seed, fuse=asked.fuse, clips=reading.clips,
            settings=settings or None, **drawing.sent(),
        )  # fmt: skip
    modalities = [modality_of(file) or "" for file in files]
    return Drawings(client.model_for("images"), drawn, [""] * len(drawn), list(files), modalities)


def _artist(session: Session) -> SeedLlamaHost:
    """The host, if it can draw."""
    from ..hosts.seed_llama.host import SeedLlamaHost

    if not isinstance(session.host, SeedLlamaHost):
        raise Unsupported(
            f"{session.name} writes text and cannot make a picture; a SEED-LLaMA host can, as "
            "--host AILab-CVC/seed-llama-8b-sft."
        )
    return session.host


def _save(target: Path, made: Drawings) -> list[Path]:
    """Write every picture, and a sheet of them where there are several; all files or none."""
    from .. import __version__
    from ..hosts.seed_llama.images import contact_sheet, numbered, save_pictures

    common = {
        "software": f"lens-plugins {__version__}",
        "host": made.host,
        "inputs": [Path(file).name for file in made.inputs],
    }
    pictures = [one.picture for one in made.drawn]
    notes = [{**common, "prompt": one.prompt, "seed": one.seed, "codes": one.codes} for one in made.drawn]
    several = len(pictures) > 1
    paths = [numbered(target, n) if several else target for n in range(1, len(pictures) + 1)]
    files = dict(zip(paths, zip(pictures, notes)))
    if several:
        lists = {name: [note[name] for note in notes] for name in ("seed", "codes")}
        files[target] = (contact_sheet(pictures), {**common, "prompt": made.drawn[0].prompt, **lists})
    save_pictures(files)
    return paths
