"""Small hosts of the kinds that stand on InstructBLIP and BLIP-2: InstructBlipVideo and MiniGPT-4."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..hosts.convert import convert_minigpt4
from ..hosts.layouts import lavis, minigpt4
from ..hosts.loading import load_tokenizer
from ..hosts.minigpt4 import TEMPLATE_FIELD
from .small import WIDTH, small_host, write_host

if TYPE_CHECKING:
    from transformers import Blip2ForConditionalGeneration, InstructBlipVideoForConditionalGeneration

__all__ = [
    "HEADS",
    "MODELS",
    "WRITERS",
    "small_minigpt4",
    "small_video_host",
    "write_minigpt4",
    "write_minigpt4_files",
    "write_video_host",
]

HEADS: dict[str, Any] = {"vit_heads": 2, "qformer_heads": 2}
"""What the files of a small MiniGPT-4 do not tell."""
_STILL = "instructblip-llama"  # whose weights the small video host has
_MARKS = ("###", "Human", "Assistant", ":", "<Img>", "</Img>", "[INST]", "[/INST]")  # words of MiniGPT-4's prompts
_STOP = 19  # id of the first of them


def small_video_host(*, seed: int = 0) -> InstructBlipVideoForConditionalGeneration:
    """The weights of the small InstructBLIP with a LLaMA in transformers' class for video."""
    from transformers import InstructBlipVideoConfig, InstructBlipVideoForConditionalGeneration

    still = small_host(_STILL, seed=seed)
    parts = {name: getattr(still.config, name).to_dict() for name in ("vision_config", "qformer_config", "text_config")}
    config = InstructBlipVideoConfig(**parts, num_query_tokens=still.config.num_query_tokens, video_token_index=39)
    model = InstructBlipVideoForConditionalGeneration(config)
    model.load_state_dict(still.state_dict())
    return model.eval().requires_grad_(False)


def write_video_host(folder: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """The same as a folder that transformers and `load_host` read, tokenizers included."""
    write_host(folder, _STILL, seed=seed)
    small_video_host(seed=seed).save_pretrained(folder)
    return Path(folder)


def small_minigpt4(*, seed: int = 0) -> Blip2ForConditionalGeneration:
    """The weights of a small MiniGPT-4 as `from_minigpt4` returns them."""
    model = small_host("blip2-llama", seed=seed)
    with torch.no_grad():
        # EVA has no key bias
        for layer in model.vision_model.encoder.layers:
            layer.self_attn.qkv.bias[WIDTH : 2 * WIDTH] = 0
        # a random answer would end at its first word
        model.language_model.lm_head.weight[_STOP] = 0
    setattr(model.config, TEMPLATE_FIELD, "vicuna")
    return model


def write_minigpt4_files(folder: str | os.PathLike[str], *, seed: int = 0) -> dict[str, Any]:
    """MiniGPT-4's four sources in their own layouts, by the arguments of `from_minigpt4`.

    The ViT has the 40th block, norm and head of EVA-CLIP's file, the Q-Former's file the projection to T5, and the
    checkpoint what a training leaves beside its weights.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = small_minigpt4(seed=seed)
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("language_model.")}
    projection = {name: state.pop(name) for name in list(state) if name.startswith("language_projection.")}
    rows = lavis.EVA_VIT.inverse()
    vit = {name: state.pop(name) for name in list(state) if rows.row_of(name)}
    one = torch.ones(2)
    dropped = {"blocks.39.norm1.weight": one, "norm.weight": one, "head.bias": one}
    torch.save(rows.convert(vit) | dropped, folder / "eva_vit_g.pth")
    qformer = minigpt4.QFORMER.inverse().convert(state) | {"t5_proj.weight": one, "t5_proj.bias": one}
    torch.save({"model": qformer}, folder / "blip2_pretrained_flant5xxl.pth")
    trained = {"model": minigpt4.PROJECTION.inverse().convert(projection), "epoch": 3, "optimizer": {"state": {}}}
    torch.save(trained, folder / "pretrained_minigpt4.pth")
    model.language_model.save_pretrained(folder / "llm")
    _words().save_pretrained(folder / "llm")
    names = ("eva_vit_g.pth", "blip2_pretrained_flant5xxl.pth", "pretrained_minigpt4.pth", "llm")
    return dict(zip(("vit", "qformer", "projection", "llm"), (folder / name for name in names)))


def write_minigpt4(folder: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """Those sources converted to a folder that `load_host` reads."""
    with tempfile.TemporaryDirectory() as scratch:
        return convert_minigpt4(folder, **write_minigpt4_files(scratch, seed=seed), **HEADS)


def _words() -> Any:
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = load_tokenizer(write_host(scratch, "blip2-llama"))
    tokenizer.add_tokens(list(_MARKS))
    return tokenizer


MODELS: dict[str, Callable[..., Any]] = {"instructblipvideo-llama": small_video_host, "minigpt4-llama": small_minigpt4}
"""What builds each, by its name among `small.HOSTS`."""

WRITERS: dict[str, Callable[..., Path]] = {
    "instructblipvideo-llama": write_video_host,
    "minigpt4-llama": write_minigpt4,
}
"""What writes the folder of each."""
