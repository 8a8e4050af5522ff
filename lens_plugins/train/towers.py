"""The frozen towers that a lens is aligned to: a ViT from a host, a folder or timm; texts from a sentence encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from .._optional import require
from ..errors import CheckpointError, ConfigError
from ..files.tensors import read_state, write_safetensors
from ..hosts.text_tower import Encoder, SentenceTower, TextTower, embed_texts, load_text_head, load_text_tower
from ..inputs.image import ImageSettings
from ..keymap import KeyMap
from ..splice.frozen import freeze
from ..splice.vit import FrozenViT, vit_from_timm

__all__ = [
    "Encoder",
    "SentenceTower",
    "TextTower",
    "embed_texts",
    "frozen",
    "load_text_head",
    "load_text_tower",
    "load_vit",
    "save_text_head",
]

EVA_KEYS = KeyMap(
    [
        *((name, name) for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias")),
        ("blocks.{i<39}.{part}.{leaf}", "blocks.{i}.{part}.{leaf}"),
        ("blocks.{i<39}.{part}.{layer}.{leaf}", "blocks.{i}.{part}.{layer}.{leaf}"),
        *((f"{unused}.**", None) for unused in ("blocks.39", "norm", "fc_norm", "head")),
    ]
)
LN_VISION_EPS = 1e-5  # as LAVIS and SEED trained it; the blocks have 1e-6


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients for the parameters while the block runs; both are put back after it."""
    # A host that is trained on goes on as it was, also where its owner has it in training mode.
    modes = {part: part.training for part in module.modules()}
    wanted = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    freeze(module)
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        for parameter, flag in wanted:
            parameter.requires_grad_(flag)


def load_vit(
    spec: str, *, norm: str | Path | None = None, device: str | torch.device | None = None
) -> tuple[FrozenViT, ImageSettings]:
    """The frozen ViT that a spec names, and how its pictures are read.

    Args:
        spec: whatever `load_host` takes (a shipped host's id, a folder, a hub id), or
            ``timm:eva_giant_patch14_224:FILE``, timm's EVA giant with the weights of `FILE` (`eva_vit_g.pth`), which
            spares loading a whole host. Without ``:FILE`` timm fetches the weights it knows by that name.
        norm: for timm, a file with the host's own final norm (`ln_vision.weight`, `ln_vision.bias`): safetensors, or
            LAVIS's or SEED's `.pth`.
        device: where to put it; None: the first GPU, where there is one.

    Raises:
        ConfigError: a timm spec without a norm, or a norm with another spec.
        CheckpointError: files that do not hold what they should.
        MissingDependency: no timm.
    """
    if spec.startswith("timm:"):
        vit, settings = _eva_giant(spec, norm)
    elif norm is not None:
        raise ConfigError(f"A norm file ({norm}) goes with a timm ViT; the host {spec!r} has its own.")
    else:
        from ..hosts.loading import load_host

        host = load_host(spec)
        vit, settings = host.vit, host.image_settings
    vit.module.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return vit, settings


def _eva_giant(spec: str, norm: str | Path | None) -> tuple[FrozenViT, ImageSettings]:
    _, name, *file = spec.split(":", 2)
    if norm is None:
        raise ConfigError(f"{spec!r} ends before the host's own final norm; name the file that holds its ln_vision.")
    timm = require("timm", extra="timm", purpose=f"The ViT {spec!r}")
    try:
        model = timm.create_model(name, pretrained=not file)
    except (RuntimeError, OSError, ValueError) as error:
        raise ConfigError(f"timm cannot make {name!r}: {error}. The hosts' ViT is eva_giant_patch14_224.") from error
    if file:
        state = EVA_KEYS.convert(_tensors(file[0]), EVA_KEYS.match(model.state_dict()).tensors, source=file[0])
        model.load_state_dict(state, strict=False)  # strict: all but the unused parts are there and fit
    final = _norm(norm, width=model.pos_embed.shape[-1])
    vit = vit_from_timm(freeze(model), final, name=name)
    return vit, ImageSettings(size=vit.image_size)


def _norm(path: str | Path, width: int) -> nn.LayerNorm:
    tensors = {key.removeprefix("ln_vision."): value for key, value in _tensors(path).items()}
    norm = nn.LayerNorm(width, eps=LN_VISION_EPS)
    for name, parameter in norm.named_parameters():
        if name not in tensors or tensors[name].shape != parameter.shape:
            found = tuple(tensors[name].shape) if name in tensors else "absent"
            raise CheckpointError(f"{path}: ln_vision.{name} is {found}; it must be of shape {tuple(parameter.shape)}.")
        parameter.data.copy_(tensors[name])
    return freeze(norm)


def _tensors(path: str | Path) -> Mapping[str, Tensor]:
    """The flat state in a safetensors or PyTorch file; LAVIS keeps it under `model`."""
    try:
        return read_state(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path} cannot be read as a weight file: {error}") from error


def save_text_head(head: nn.Linear, path: str | Path) -> None:
    """Write a text head for `load_text_head`."""
    write_safetensors(path, head.state_dict())
