"""The parts of a SEED-LLaMA host, from a folder of ours, a LLaMA folder or the hub.

A folder of ours holds `tokenizer/` (SEED's, saved by `SeedTokenizer`), `llm/` (a causal language model and its text
tokenizer), `unclip/` (a diffusers pipeline, loaded when the first picture is drawn), `lens_plugins.json` with kind
"seed_llama", and `seed_llama.json`, whose fields are those of `SeedLlamaNotes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..._config import FrozenConfig
from ...errors import CheckpointError
from ...files.hub import fetch
from ...splice import Held
from ..base import LoadOptions
from ..loading import load_pretrained
from ..source import HostNotes, read_host_json
from .convert import from_seed
from .detokenizer import UNCLIP, Drawing
from .tokenizer import SeedTokenizer

__all__ = [
    "NOTES_FILE",
    "QUANTIZER",
    "SEED_TOKENIZER",
    "SeedLlamaNotes",
    "device_of",
    "load_language_model",
    "load_seed_tokenizer",
]

NOTES_FILE = "seed_llama.json"
SEED_TOKENIZER = "AILab-CVC/seed-tokenizer-2"
QUANTIZER = "seed_quantizer.pt"


@dataclass(frozen=True)
class SeedLlamaNotes(FrozenConfig):
    """`seed_llama.json`: where the parts are (a folder beside it, a path, or a hub id) and how they are used."""

    format: int = 1
    tokenizer: str = "tokenizer"  # a folder of ours, a released .pt, or a hub id with seed_quantizer.pt
    llm: str = "llm"
    words: str | None = None  # the text tokenizer; None: beside the language model
    unclip: str = "unclip"
    prompt_style: str | dict[str, Any] | None = None  # None: by the number of layers
    drawing: dict[str, Any] = field(default_factory=dict)  # fields of `Drawing` that differ from SEED's

    def __post_init__(self) -> None:
        self._require(self.format <= 1, f"format is {self.format}, this version reads 1; upgrade lens-plugins.")
        Drawing.from_dict(self.drawing)

    @classmethod
    def of(cls, source: str | Path) -> SeedLlamaNotes:
        """The notes of a folder of ours; for a bare language model the released parts around it.

        Raises:
            ConfigError: an unknown field or a wrong value.
        """
        raw = read_host_json(source, NOTES_FILE) if isinstance(source, Path) else None
        if raw is not None:
            return cls.from_dict(raw)
        # the hub's language models come without SEED's text tokenizer
        own_words = isinstance(source, Path) and any(
            (source / n).is_file() for n in ("tokenizer.json", "tokenizer.model")
        )
        return cls(
            tokenizer=SEED_TOKENIZER, llm=str(source), words=None if own_words else SEED_TOKENIZER, unclip=UNCLIP
        )

    def place(self, name: str, source: str | Path) -> str | Path:
        """Where a part is: a path that exists, or else what the notes say, to be looked for on the hub."""
        given = getattr(self, name)
        beside = [Path(source, given)] if isinstance(source, Path) else []
        found = next((path for path in (*beside, Path(given)) if path.exists()), given)
        return source if found == source else found  # a hub id knows its revision

    def part(self, name: str, source: str | Path) -> str | Path:
        """`place`, where what is not there must at least look like a hub id.

        Raises:
            CheckpointError: it does not.
        """
        place = self.place(name, source)
        if isinstance(place, str) and (place.count("/") != 1 or place.startswith((".", "/", "~"))):
            raise CheckpointError(f"{source} has no {name}: {place!r} is neither there nor a hub id (owner/name).")
        return place


def load_seed_tokenizer(source: str | Path, options: LoadOptions, device: Any) -> SeedTokenizer:
    """SEED's tokenizer: a folder of ours, a released file, or a hub id that has one.

    Raises:
        CheckpointError: it cannot be fetched or read.
    """
    how = {"vit": options.vit, "dtype": options.dtype, "device": device}
    if isinstance(source, Path) and source.is_dir() and not (source / QUANTIZER).is_file():
        return SeedTokenizer.from_pretrained(source, **how)
    if isinstance(source, Path):
        return from_seed(source / QUANTIZER if source.is_dir() else source, **how)
    try:
        path = fetch(source, QUANTIZER, revision=getattr(source, "revision", None))
    except CheckpointError as error:
        raise CheckpointError(
            f"{QUANTIZER} of {source} cannot be fetched: {error} Give its path as `tokenizer` in {NOTES_FILE}."
        ) from error
    return from_seed(path, **how)


def load_language_model(source: str | Path, options: LoadOptions) -> Any:
    """A causal language model, whole or not at all, on the CPU, by a device map, or in 4 or 8 bit."""
    from transformers import AutoModelForCausalLM

    return load_pretrained(AutoModelForCausalLM, source, options, HostNotes.of(source))


def device_of(language_model: Any) -> torch.device:
    """Where a language model reads its ids, also when its weights are offloaded."""
    return Held(language_model.get_input_embeddings(), "weight").read().device
