"""lens-plugins imagine"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._optional import require
from ..errors import Unsupported
from .options import HostOptions, InputOptions, Json, Place, spelled_out
from .output import answer, print_json, progress
from .session import Session, file_names

if TYPE_CHECKING:
    from ..hosts.seed_llama.host import SeedLlamaHost
    from ..hosts.seed_llama.messages import SeedReply
    from ..inputs import ModalityInput

__all__ = ["imagine"]


@dataclass(frozen=True)
class DrawingHost(HostOptions):
    """`HostOptions` with a host that draws."""

    host: Annotated[str, typer.Option(metavar="ID", help="A shipped SEED-LLaMA, a hub id or a folder.")] = (
        "pocket-seed-llama"
    )


@dataclass(frozen=True)
class DrawingOptions:
    """How pictures are drawn; what is not given stays as the host has it."""

    steps: Annotated[int | None, typer.Option(help="Of diffusion; more are slower and finer.")] = None
    guidance: Annotated[float | None, typer.Option(help="How closely a picture keeps to its codes; 1: not.")] = None
    size: Annotated[int | None, typer.Option(help="Pixels of each side, a multiple of 8.")] = None
    noise_level: Annotated[int | None, typer.Option(help="Noise on what the codes stand for; from 0.")] = None
    candidates: Annotated[int | None, typer.Option(help="Drawn of each picture, of which the best is kept.")] = None

    def given(self) -> dict[str, Any]:
        """What was given, checked before a host is loaded.

        Raises:
            ConfigError: a value that no picture can be drawn with.
        """
        from ..hosts.seed_llama.detokenizer import Drawing

        given = {name: value for name, value in vars(self).items() if value is not None}
        Drawing(**given)
        return given


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

    target, options, names = check_target(output), drawing.given(), file_names(files)
    require("diffusers", extra="seed", purpose="Drawing pictures")  # missed now and not after minutes
    session = Session(host, replace(reading, clips=reading.clips or 1))
    session.check_host()
    inputs = session.read_all(names)
    artist = _artist(session)
    began = perf_counter()
    with progress("imagining"):
        seen = artist.look(inputs, fuse=fuse)
        prompt = artist.prompt_of(edit, len(seen.features))
        replies = artist.imagine(seen, prompt, count=count, seed=seed, **options)
    seconds = (perf_counter() - began) / count
    sheet = {"sheet": str(target)} if count > 1 else {}
    for path, reply in zip(_save(target, replies, inputs, prompt, session.name), replies):
        more = {"file": str(path), "seed": reply.seed, "codes": reply.codes[0].tolist(), **sheet}
        if json:
            print_json(answer(inputs, prompt, reply.text, host=session.name, seconds=seconds, **more))
        else:
            typer.echo(path)
    if sheet and not json:
        typer.echo(target)


def _artist(session: Session) -> SeedLlamaHost:
    """The host, if it can draw."""
    from ..hosts.seed_llama.host import SeedLlamaHost

    if not isinstance(session.host, SeedLlamaHost):
        raise Unsupported(
            f"{session.name} writes text and cannot make a picture; a SEED-LLaMA host can, as "
            "--host AILab-CVC/seed-llama-8b-sft."
        )
    return session.host


def _save(
    target: Path, replies: Sequence[SeedReply], inputs: Sequence[ModalityInput], prompt: str, host: str
) -> list[Path]:
    """Write the first picture of each reply, and a sheet of them where there are several; all files or none."""
    from .. import __version__
    from ..hosts.seed_llama.images import contact_sheet, numbered, save_pictures

    common = {
        "software": f"lens-plugins {__version__}",
        "host": host,
        "inputs": [Path(each.source or "").name for each in inputs],
        "prompt": prompt,
    }
    pictures = [reply.images[0] for reply in replies]
    notes = [{**common, "seed": reply.seed, "codes": reply.codes[0].tolist()} for reply in replies]
    several = len(replies) > 1
    paths = [numbered(target, n) if several else target for n in range(1, len(replies) + 1)]
    files = dict(zip(paths, zip(pictures, notes)))
    if several:
        lists = {name: [note[name] for note in notes] for name in ("seed", "codes")}
        files[target] = (contact_sheet(pictures), {**common, **lists})
    save_pictures(files)
    return paths
