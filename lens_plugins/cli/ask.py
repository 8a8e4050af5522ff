"""lens-plugins ask"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ..errors import InputError
from .answering import answer_together, answering
from .options import Fuse, GenerationOptions, InputOptions, Json, ServedHostOptions, spelled_out
from .session import file_names

__all__ = ["ask"]


@spelled_out
def ask(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... QUESTION", help="Files of any modality (- reads names from stdin), then the question."
        ),
    ],
    host: ServedHostOptions,
    reading: InputOptions,
    generation: GenerationOptions,
    fuse: Fuse = None,
    json: Json = False,
) -> None:
    """Answer a question about one file or several together.

    \b
    Example:
      lens-plugins ask chair.ply "What is it for?"
      lens-plugins ask piano.npy beach.jpg "Where does the music come from?" --fuse llm
    """
    *files, question = words
    if os.path.isfile(question):
        raise InputError(
            f"The question is missing: the last argument, {question}, is a file. "
            f'An example: lens-plugins ask {question} "What is it for?"'
        )
    if not files:
        raise InputError(f'The file is missing. An example: lens-plugins ask chair.ply "{question}"')
    answer_together(answering(host, reading), file_names(files), question, fuse=fuse, generation=generation, json=json)
