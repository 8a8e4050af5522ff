"""From trained parts to the folder that `load_host` reads: float16 safetensors, notes with a digest, licences."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lens_plugins.hosts.seed_llama.tokenizer import SeedTokenizer

from ..build import digest_of, write_json
from .unclip import DRAWING

__all__ = ["parts_digest", "write_host"]


def write_host(
    folder: Path, tokenizer: SeedTokenizer, language_model: Any, words: Any, pipeline: Any, rows: Sequence[dict]
) -> str:
    """Write everything; returns the digest. The folder takes its name when it is complete.

    `rows` are the index rows of the pictures that were learnt from.
    """
    scratch = folder.with_name(folder.name + ".new")
    shutil.rmtree(scratch, ignore_errors=True)
    found = parts_digest(tokenizer, language_model, pipeline)
    tokenizer.half().save_pretrained(scratch / "tokenizer")
    language_model.half().save_pretrained(scratch / "llm")
    words.save_pretrained(scratch / "llm")
    for part in _drawing_parts(pipeline).values():
        part.half()
    pipeline.save_pretrained(scratch / "unclip")
    _forget_paths(scratch)
    notes = {"format": 1, "name": "pocket-seed-llama", "kind": "seed_llama", "digest": found}
    write_json(scratch / "lens_plugins.json", notes)
    write_json(scratch / "seed_llama.json", {"format": 1, "prompt_style": "vicuna", "drawing": DRAWING})
    (scratch / "LICENCES.md").write_text(_licences(rows), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(scratch, folder)
    return found


def parts_digest(tokenizer: nn.Module, language_model: nn.Module, pipeline: Any) -> str:
    """The digest of all parts together, as they are loaded: rounded to float16, held in float32."""
    parts = {"tokenizer": tokenizer, "language_model": language_model, **_drawing_parts(pipeline)}
    state: dict[str, Tensor] = {}
    for name, part in parts.items():
        state |= {f"{name}.{key}": tensor.half().float() for key, tensor in part.state_dict().items()}
    return digest_of(state)


def _drawing_parts(pipeline: Any) -> dict[str, nn.Module]:
    return {name: getattr(pipeline, name) for name in ("unet", "vae", "text_encoder", "image_normalizer")}


def _forget_paths(folder: Path) -> None:
    """Take out of the configurations where things lay while they were built."""
    for file in folder.rglob("*.json"):
        values = json.loads(file.read_text("utf-8"))
        if isinstance(values, dict) and values.keys() & {"_name_or_path", "name_or_path"}:
            write_json(file, {k: v for k, v in values.items() if k not in ("_name_or_path", "name_or_path")})


def _licences(rows: Iterable[dict]) -> str:
    """What the weights were learnt from, and on which terms."""
    counted = Counter((row["source"], row["licence"]) for row in rows if row["split"] == "train")
    lines = [f"| {source} | {licence} | {count} |" for (source, licence), count in sorted(counted.items())]
    return "\n".join(
        [
            "# Licences",
            "",
            "The weights in this folder are under the licence of the package, Apache-2.0. They were trained from",
            "nothing but the ViT, which is that of the host beside this one. They were learnt from these pictures,",
            "whose makers `ATTRIBUTION.md` one folder up names:",
            "",
            "| source | licence | training pictures |",
            "| --- | --- | --- |",
            *lines,
            "",
        ]
    )
