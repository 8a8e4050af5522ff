"""The parts of a SEED-LLaMA host before any weight is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..._optional import require
from ...errors import CheckpointError, MissingDependency
from ..outline import Outline, Weights, read_config
from ..source import read_host_json
from .config import SEED_2, SeedConfig
from .loading import QUANTIZER, SeedLlamaNotes
from .tokenizer import SeedTokenizer

__all__ = ["outline"]

_DIFFUSERS = "diffusion_pytorch_model.safetensors"
_DRAWING = {
    "unet": f"unet/{_DIFFUSERS}",
    "vae": f"vae/{_DIFFUSERS}",
    "text_encoder": "text_encoder/model.safetensors",
    "image_normalizer": f"image_normalizer/{_DIFFUSERS}",
}
"""What is loaded of the pipeline, and from which file; its CLIP image encoder is not."""


def outline(source: str | Path) -> Outline:
    """ViT, the tokenizer behind it, language model and, where diffusers is installed, what draws.

    Raises:
        CheckpointError: a part or its configuration is not there.
        ConfigError: `seed_llama.json` or the tokenizer's configuration is refused.
    """
    from transformers import AutoModelForCausalLM

    notes = SeedLlamaNotes.of(source)
    llm, tokenizer = notes.part("llm", source), notes.part("tokenizer", source)
    config = read_config(llm)
    with torch.device("meta"):
        language_model = AutoModelForCausalLM.from_config(config)
    seed = SeedTokenizer.from_config(_seed_config(tokenizer), device="meta")
    # the ViT is counted by itself: its precision can be chosen
    parts: dict[str, nn.Module] = {"vision_model": seed.vision_model, "seed_tokenizer": seed}
    del seed.vision_model
    parts["language_model"] = language_model
    released = not _is_own(tokenizer)
    weights = [
        Weights(tokenizer, (QUANTIZER,) if released else None, _label(tokenizer, "tokenizer")),
        Weights(llm, None, _label(llm, "llm")),
    ]
    warnings = []
    try:
        require("diffusers", extra="seed", purpose="Counting the parts that draw")
    except MissingDependency as error:
        warnings.append(str(error))
    else:
        unclip = notes.part("unclip", source)
        parts |= _drawing_parts(unclip)
        weights.append(Weights(unclip, tuple(_DRAWING.values()), _label(unclip, "unclip")))
    return Outline(config, parts, tuple(weights), ("seed_tokenizer",), tuple(warnings))


def _is_own(tokenizer: str | Path) -> bool:
    """Whether it is a folder of ours, and not a released file, alone or in a folder or repository."""
    return isinstance(tokenizer, Path) and tokenizer.is_dir() and not (tokenizer / QUANTIZER).is_file()


def _seed_config(tokenizer: str | Path) -> SeedConfig:
    """A folder's own; a released file is taken to be SEED-2."""
    if not _is_own(tokenizer):
        return SEED_2
    raw = read_host_json(tokenizer, "config.json")
    if raw is None:
        raise CheckpointError(f"{tokenizer} is not a SEED tokenizer: it has no config.json.")
    return SeedConfig.from_dict(raw)


def _label(place: str | Path, name: str) -> str:
    return place if isinstance(place, str) else name


def _drawing_parts(place: str | Path) -> dict[str, nn.Module]:
    import diffusers
    from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
    from transformers import CLIPTextConfig, CLIPTextModel

    parts: dict[str, nn.Module] = {}
    for name in _DRAWING:
        raw = read_host_json(place, f"{name}/config.json")
        if raw is None:
            raise CheckpointError(f"{place} is no unCLIP pipeline: it has no {name}/config.json.")
        with torch.device("meta"):
            if name == "text_encoder":
                parts[name] = CLIPTextModel(CLIPTextConfig.from_dict(raw))
            elif name == "image_normalizer":
                parts[name] = StableUnCLIPImageNormalizer(raw.get("embedding_dim", 768))
            else:
                parts[name] = _model(diffusers, raw, f"{place}/{name}")
    return parts


def _model(diffusers: Any, raw: dict[str, Any], source: str) -> nn.Module:
    """A model of diffusers by the class that its configuration names."""
    kind: Any = getattr(diffusers, str(raw.get("_class_name")), None)
    known = isinstance(kind, type) and issubclass(kind, diffusers.ModelMixin)
    if not known:
        raise CheckpointError(f"{source} names no model of diffusers: {json.dumps(raw.get('_class_name'))}.")
    return kind.from_config(raw)
