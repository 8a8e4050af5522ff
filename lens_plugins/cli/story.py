"""lens-plugins story"""

from __future__ import annotations

from typing import Annotated

import typer

from .answering import answer_together, answering
from .options import Fuse, GenerationOptions, InputOptions, Json, ServedHostOptions, spelled_out
from .session import file_names

__all__ = ["PROMPT", "story"]

PROMPT = "Create a short story around the given visual contents."
"""A prompt that the authors of ViT-Lens show for InstructBLIP."""


@spelled_out
def story(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Of any modalities; - reads names from stdin.")],
    host: ServedHostOptions,
    reading: InputOptions,
    generation: GenerationOptions,
    prompt: Annotated[str, typer.Option(help="What to ask.")] = PROMPT,
    fuse: Fuse = None,
    json: Json = False,
) -> None:
    """Write one story around all files together.

    \b
    Example:
      lens-plugins story piano.npy beach.jpg
      lens-plugins story dog.glb sea.flac beach.jpg --fuse llm --max-new-tokens 120
    """
    answer_together(answering(host, reading), file_names(files), prompt, fuse=fuse, generation=generation, json=json)
