"""Texts in one space with every modality: a frozen sentence encoder, and the head that leads class tokens there.

T texts, B inputs, D width of the ViT, E width of the text space.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..catalog import folder_of, is_hub_id
from ..errors import CheckpointError, ConfigError, DoesNotFit, Unsupported
from ..files.jsons import read_json_object
from ..files.opening import local_path, reason_of
from ..files.tensors import read_safetensors
from ..splice import FrozenViT, freeze
from .outline import check_described
from .quiet import quiet

__all__ = [
    "HEAD_FILE",
    "Encoder",
    "HostTextTower",
    "SentenceTower",
    "TextSpace",
    "TextTower",
    "embed_texts",
    "find_text_tower",
    "load_text_head",
    "load_text_tower",
]

HEAD_FILE = "text_head/text_head.safetensors"  # in a host's folder
_NO_ENCODER = (OSError, ValueError, RuntimeError, TypeError, LookupError, AttributeError)


class Encoder(Protocol):
    """A text tower by its one method."""

    def encode(self, texts: list[str]) -> Tensor:
        """(T, E), any length of vector."""


TextTower: TypeAlias = Encoder | Callable[[list[str]], Tensor]


class TextSpace(Protocol):
    """The space that a host's texts and inputs share: unit vectors (., E), float32 on the CPU."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (T, E)."""

    def project(self, rows: Tensor) -> Tensor:
        """Class rows (B, D) of a host -> (B, E)."""


class SentenceTower:
    """A BERT-like sentence encoder (sentence-transformers or plain transformers), frozen.

    Token states are averaged over the mask, or the first is taken where the encoder's `1_Pooling` says so.

    Args:
        source: a folder or a hub id, with config, weights and tokenizer.
        device: where it computes.

    Raises:
        CheckpointError: it does not load, or is no sentence encoder.
        Unsupported: its vectors are made in another way.
    """

    @quiet()
    def __init__(self, source: str | Path, device: str | torch.device = "cpu") -> None:
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        try:
            if os.path.isdir(source):
                config = AutoConfig.from_pretrained(source, trust_remote_code=False)
                check_described(Path(source), AutoModel, config)
            self._tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            self._model = freeze(AutoModel.from_pretrained(source, dtype=torch.float32, trust_remote_code=False)).to(
                device
            )
            self._first = _pools_first(source)
            self.encode(["a"])
        except _NO_ENCODER as error:
            raise CheckpointError(f"{source} does not load as a sentence encoder: {reason_of(error)}") from error

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Tensor:
        """(T, E) float32 unit vectors on the CPU, for texts of at most 128 tokens (longer ones are cut)."""
        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
        tokens = tokens.to(self._model.device)
        states = self._model(**tokens).last_hidden_state  # (T, L, E)
        mask = tokens["attention_mask"][..., None].to(states)
        pooled = states[:, 0] if self._first else (states * mask).sum(dim=1) / mask.sum(dim=1)
        return F.normalize(pooled, dim=-1).cpu()


def _pools_first(source: str | Path) -> bool:
    """Whether the first token's state is the vector; the mean over all is the other way.

    Raises:
        Unsupported: neither is, or a layer follows.
    """
    pooling = _json(source, "1_Pooling/config.json")
    modes = {name for name, on in pooling.items() if name.startswith("pooling_mode_") and on is True}
    if modes - {"pooling_mode_cls_token", "pooling_mode_mean_tokens"} or len(modes) > 1:
        raise Unsupported(f"{source} pools by {', '.join(sorted(modes))}; only the mean or the first token can be had.")
    if _json(source, "2_Dense/config.json"):
        raise Unsupported(f"{source} has a layer after pooling (2_Dense), which is not read here; use another encoder.")
    return "pooling_mode_cls_token" in modes


def _json(source: str | Path, name: str) -> dict[str, Any]:
    from transformers.utils import cached_file

    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    path = cached_file(source, name, **quiet)
    return read_json_object(path) if path else {}


def load_text_tower(spec: str | os.PathLike[str], device: str | torch.device = "cpu") -> SentenceTower:
    """The sentence encoder in a local folder, or on the hub.

    Raises:
        ConfigError: no such folder, and no hub id.
        CheckpointError: it is no sentence encoder.
    """
    return SentenceTower(_place(spec), device)


def _place(spec: str | os.PathLike[str]) -> str | Path:
    """The folder, or the hub id."""
    path = local_path(spec)
    if path.is_dir():
        return path
    if isinstance(spec, os.PathLike) or path.exists() or not is_hub_id(spec):
        raise ConfigError(
            f"The text tower {str(spec)!r} is not a folder and no hub id (owner/name). "
            "Give one that holds a sentence encoder."
        )
    return spec


def embed_texts(tower: TextTower, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
    """(T, E) float32 unit vectors on the CPU.

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


def load_text_head(path: str | os.PathLike[str], width: int | None = None) -> nn.Linear:
    """A frozen linear map from class-token rows into the text space, as a host's recipe or a training run wrote it.

    Args:
        path: safetensors with `weight` (E, D) and perhaps `bias` (E,).
        width: D, of the ViT; None: not checked.

    Raises:
        CheckpointError: the file holds something else.
        DoesNotFit: it reads rows of another width.
    """
    state = read_safetensors(path)
    weight, bias = state.get("weight"), state.get("bias")
    if weight is None or weight.ndim != 2 or state.keys() - {"weight", "bias"}:
        raise CheckpointError(f"{path} must hold `weight` (E, D) and perhaps `bias` (E,); it holds {sorted(state)}.")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise CheckpointError(f"{path}: `bias` is {tuple(bias.shape)}, `weight` is {tuple(weight.shape)}.")
    if width is not None and weight.shape[1] != width:
        raise DoesNotFit(f"The text head {path} reads rows of width {weight.shape[1]}; the ViT's are {width} wide.")
    head = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    head.load_state_dict({name: value.float() for name, value in state.items()})
    return freeze(head)


class HostTextTower:
    """The text tower of a host: texts, and rows of its ViT's class token, as unit vectors of one space.

    Args:
        head: from rows (B, D) into the tower's space, frozen.
        load: loads the tower; called with the first text.
    """

    def __init__(self, head: nn.Linear, load: Callable[[], TextTower]) -> None:
        self.head = head
        self._load = load
        self._loaded: TextTower | None = None
        self._loading = Lock()

    @property
    def tower(self) -> TextTower:
        """What reads the texts; loaded once, whichever thread asks first."""
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(T, E) float32 unit vectors on the CPU.

        Raises:
            CheckpointError: the tower does not load.
            DoesNotFit: it writes vectors of another width than the head.
        """
        vectors = embed_texts(self.tower, texts)
        if vectors.shape[1] != self.head.out_features:
            raise DoesNotFit(
                f"The text tower writes vectors of width {vectors.shape[1]}, the text head of width "
                f"{self.head.out_features}; use the tower that the head was trained for."
            )
        return vectors

    def project(self, rows: Tensor) -> Tensor:  # (B, D) -> (B, E)
        """Rows of the class token as float32 unit vectors on the CPU."""
        return F.normalize(self.head(rows.to("cpu", torch.float32)), dim=-1)

    def check_fits(self, vit: FrozenViT) -> None:
        """Refuse a ViT of another width.

        Raises:
            DoesNotFit: with both widths.
        """
        if self.head.in_features != vit.width:
            raise DoesNotFit(f"The text head reads rows of width {self.head.in_features}; {vit.name} has {vit.width}.")


def find_text_tower(
    folder: str | Path | None,
    named: str | None = None,
    tower: str | os.PathLike[str] | TextTower | None = None,
    head: str | os.PathLike[str] | None = None,
) -> HostTextTower | None:
    """The text tower of a host, with its head read and its encoder still on the disk; None where it has none.

    Args:
        folder: the host's; its head is used unless `head` is given.
        named: by the host's `lens_plugins.json`: a name in the catalogue, since no file of a host may send us to a path
            or to the hub.
        tower: by the user: a folder, a hub id or a loaded one, in place of the named one.
        head: by the user: a file.

    Raises:
        ConfigError: a tower without a head or a head without a tower, or a tower that is nowhere.
        CheckpointError: the head cannot be read, or the host names a tower and lacks the head.
    """
    load = _loader(tower, named)
    own = Path(folder, HEAD_FILE) if isinstance(folder, Path) and Path(folder, HEAD_FILE).is_file() else None
    path = head or own
    if load is None and head is None:
        return None
    if load is None:
        raise ConfigError(f"The text head {head} goes with a text tower; give text_tower= too.")
    if path is None and tower is None:
        raise CheckpointError(f"{folder} names the text tower {named!r}, but has no {HEAD_FILE}.")
    if path is None:
        raise ConfigError(
            "A text tower needs a head that leads the ViT's class token into its space; give text_head= too. "
            "`lens-plugins train --text-tower` writes one (text_head.safetensors)."
        )
    return HostTextTower(load_text_head(path), load)


def _loader(tower: str | os.PathLike[str] | TextTower | None, named: str | None) -> Callable[[], TextTower] | None:
    if isinstance(tower, (str, os.PathLike)):
        return partial(load_text_tower, _place(tower))
    if tower is not None:
        return lambda: tower
    return partial(_load_named, named) if named else None


def _load_named(name: str) -> SentenceTower:
    return load_text_tower(folder_of(name))
