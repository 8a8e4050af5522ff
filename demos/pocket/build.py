"""From trained halves to the folder that ships: float16 safetensors, configuration, tokenizers, digest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lens_plugins.hosts.text_tower import HEAD_FILE
from lens_plugins.splice import digest

from .packs import MEAN, STD
from .vit import SIZE

__all__ = ["DEFAULT_PROMPT", "digest_of", "read_tower", "save_host", "save_text_head", "write_json"]

DEFAULT_PROMPT = "A short image caption."


def save_host(model, qformer_tokenizer, folder: Path) -> str:
    """Write an InstructBLIP host whose language model is fetched on first use; returns the digest of what is written.

    Weights are rounded to float16 and the digest is that of the rounded ones in float32, as they are loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: tensor.detach().to(torch.float16 if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith("language_model.")
    }
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    model.config.architectures = ["InstructBlipForConditionalGeneration"]
    model.config.save_pretrained(folder)
    _forget_paths(folder / "config.json")
    qformer_tokenizer.save_pretrained(folder / "qformer_tokenizer")
    (folder / "qformer_tokenizer" / "vocab.txt").unlink(missing_ok=True)
    write_json(folder / "preprocessor_config.json", _processor())
    write_json(folder / "generation_config.json", {"num_beams": 3, "max_new_tokens": 48, "repetition_penalty": 1.2})
    rounded = {name: tensor.float() for name, tensor in state.items()}
    found = digest_of(rounded)
    write_json(
        folder / "lens_plugins.json",
        {
            "format": 1,
            "name": "pocket-instructblip",
            "kind": "instructblip",
            "language_model_source": "smollm2-135m-instruct",
            "default_prompt": DEFAULT_PROMPT,
            "text_tower": "all-minilm-l6-v2",  # which `save_text_head` leads to
            "digest": found,
        },
    )
    return found


def save_text_head(pupil, folder: Path) -> None:
    """The frozen map from class tokens to sentence embeddings, beside the host: lens training aims through it."""
    head = {"weight": pupil.text_head.weight.detach().clone(), "bias": pupil.text_head.bias.detach().clone()}
    file = folder / HEAD_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.to(torch.float16) for k, v in head.items()}, file)


def read_tower(host: Path) -> dict[str, torch.Tensor]:
    """The tensors of a written host's ViT, float32, by their names inside the tower."""
    prefix = "vision_model."
    state = load_file(host / "model.safetensors")
    return {name.removeprefix(prefix): t.float() for name, t in state.items() if name.startswith(prefix)}


def _forget_paths(config: Path) -> None:
    """Take out where the language model lay while the host was built."""
    values = json.loads(config.read_text("utf-8"))
    for name in ("_name_or_path", "_model_name_or_path"):
        values["text_config"].pop(name, None)
    write_json(config, values)


def _processor() -> dict:
    return {
        "image_processor_type": "BlipImageProcessor",
        "do_resize": True,
        "size": {"height": SIZE, "width": SIZE},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": MEAN.flatten().tolist(),
        "image_std": STD.flatten().tolist(),
        "do_convert_rgb": True,
    }


def digest_of(state: dict[str, torch.Tensor]) -> str:
    """The digest of named tensors, as `splice.digest` gives it for a module that holds them."""
    holder = torch.nn.Module()
    for name, tensor in state.items():
        holder.register_buffer(name.replace(".", "/"), tensor)
    return digest(holder)


def write_json(path: Path, values: dict) -> None:
    """Indented, and whole before it takes its name."""
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    shutil.move(scratch, path)
