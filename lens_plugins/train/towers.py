"""The frozen towers that a lens is aligned to: a ViT from a host, a folder or timm; texts from a sentence encoder."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from .._optional import require
from ..errors import CheckpointError, ConfigError, DoesNotFit
from ..inputs.image import ImageSettings
from ..keymap import KeyMap
from ..splice.frozen import freeze
from ..splice.vit import FrozenViT, vit_from_timm
from .files import replacing

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


_DAMAGE = (SafetensorError, pickle.UnpicklingError)


class Encoder(Protocol):
    """A text tower by its one method."""

    def encode(self, texts: list[str]) -> Tensor:
        """(B, E), any length of vector."""


TextTower = Encoder | Callable[[list[str]], Tensor]


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients for the parameters while the block runs; both are put back after it."""
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
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, LookupError, EOFError, struct.error, *_DAMAGE) as error:
        raise CheckpointError(f"{path} cannot be read as a weight file: {error}.") from error
    state = state.get("model", state) if isinstance(state, dict) else {}
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} is not a flat state of tensors.")
    return state


class SentenceTower:
    """A BERT-like sentence encoder from a local folder (sentence-transformers or plain transformers), frozen.

    Token states are averaged over the mask, or the first is taken where the folder's `1_Pooling` says so.

    Args:
        folder: with config, weights and tokenizer.
        device: where it computes.

    Raises:
        CheckpointError: the folder does not load.
    """

    def __init__(self, folder: str | Path, device: str | torch.device = "cpu") -> None:
        from transformers import AutoModel, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
            self._model = freeze(AutoModel.from_pretrained(folder, dtype=torch.float32)).to(device)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{folder} does not load as a sentence encoder: {error}") from error
        self._first = _pools_first(Path(folder))

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Tensor:
        """(B, E) float32 unit vectors on the CPU, for texts of at most 128 tokens (longer ones are cut)."""
        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
        tokens = tokens.to(self._model.device)
        states = self._model(**tokens).last_hidden_state  # (B, T, E)
        mask = tokens["attention_mask"][..., None].to(states)
        pooled = states[:, 0] if self._first else (states * mask).sum(dim=1) / mask.sum(dim=1)
        return F.normalize(pooled, dim=-1).cpu()


def _pools_first(folder: Path) -> bool:
    path = folder / "1_Pooling" / "config.json"
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8")).get("pooling_mode_cls_token"))


def load_text_tower(spec: str | Path, device: str | torch.device = "cpu") -> SentenceTower:
    """The text tower in a local folder.

    Raises:
        ConfigError: no such folder.
        CheckpointError: it holds no sentence encoder.
    """
    if not os.path.isdir(spec):
        raise ConfigError(f"The text tower {str(spec)!r} is not a folder. Give one that holds a sentence encoder.")
    return SentenceTower(spec, device)


def embed_texts(tower: TextTower, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
    """(U, E) float32 unit vectors on the CPU.

    Raises:
        ConfigError: the tower gives something else than one finite vector a text.
    """
    encode = tower.encode if hasattr(tower, "encode") else tower
    parts = []
    for start in range(0, len(texts), batch_size):
        chunk = list(texts[start : start + batch_size])
        part = torch.as_tensor(encode(chunk)).detach().to("cpu", torch.float32)
        if part.ndim != 2 or len(part) != len(chunk) or not part.isfinite().all():
            raise ConfigError(
                f"The text tower gave a tensor of shape {tuple(part.shape)} for {len(chunk)} texts; "
                f"it must be ({len(chunk)}, E), of finite numbers."
            )
        parts.append(F.normalize(part, dim=-1))
    return torch.cat(parts)


def load_text_head(path: str | Path, width: int) -> nn.Linear:
    """A frozen linear map from CLS rows into the text space, as a host's recipe wrote it.

    Args:
        path: safetensors with `weight` (E, D) and perhaps `bias` (E,).
        width: D, of the ViT.

    Raises:
        CheckpointError: the file holds something else.
        DoesNotFit: it reads rows of another width.
    """
    state = dict(_tensors(path))
    weight = state.get("weight")
    if weight is None or weight.ndim != 2 or state.keys() - {"weight", "bias"}:
        raise CheckpointError(f"{path} must hold `weight` (E, D) and perhaps `bias` (E,); it holds {sorted(state)}.")
    if weight.shape[1] != width:
        raise DoesNotFit(f"The text head {path} reads rows of width {weight.shape[1]}; the ViT's are {width} wide.")
    head = nn.Linear(width, weight.shape[0], bias="bias" in state)
    head.load_state_dict({name: value.float() for name, value in state.items()})
    return freeze(head)


def save_text_head(head: nn.Linear, path: str | Path) -> None:
    """Write a text head for `load_text_head`."""
    with replacing(path) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}, temporary)
