"""Lens: the embedding of a modality and a resampler, saved and loaded as one folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ..errors import CheckpointError, InputError
from ..files.digests import sha256_of
from ..files.folders import CONFIG_FILE, WEIGHTS_FILE, read_folder, save_folder
from ..files.tensors import check_finite
from ..keymap import check_state
from .config import LensConfig, embedding_class
from .perceiver import Perceiver
from .tower import Tower

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "Lens", "meta_state", "read_lens_folder"]

_AnyLens = TypeVar("_AnyLens", bound="Lens")


class Lens(nn.Module):
    """Tensors of one modality -> latents that a ViT reads in place of its patch tokens.

    Attributes:
        config: every dimension, the preprocessing, and the ViT it was trained for.
        embedding: tensor (B, ...) -> tokens (B, M, W) and positions that broadcast to them.
        resampler: tokens + positions -> latents (B, N, D); the identity where a lens has none.
        tower: the CLIP tower of its own that a ViT-L/14 lens brings (``tower.encode(latents)`` -> (B, 768)), or None.
        source: the file or folder it was loaded from, or None.
    """

    def __init__(self, config: LensConfig) -> None:
        super().__init__()
        self.config = config
        self.source: Path | None = None
        self.embedding: Any = embedding_class(config.modality)(config.embedding)  # an `Embedding`, ours or another's
        self.resampler: nn.Module = Perceiver(config.resampler) if config.resampler else nn.Identity()
        self.tower: Tower | None = Tower(config.tower) if config.tower else None

    @property
    def modality(self) -> str:
        return self.config.modality

    @property
    def width(self) -> int:
        """D, the width of a latent."""
        return self.config.width

    @property
    def num_tokens(self) -> int:
        """N, the number of latents written for one input."""
        return self.config.num_tokens

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> latents (B, N, D); several clips each, (B, C, ...) -> (B, C, N, D).

        Inputs are moved to the lens's device; every embedding casts to the lens's dtype where that loses nothing.

        Raises:
            InputError: a shape that the embedding does not read.
        """
        x = x.to(self.device)
        if x.ndim == self.embedding.input_dims + 2:
            return self(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        if x.ndim != self.embedding.input_dims + 1:
            raise InputError(
                f"A lens for {self.modality} reads tensors of {self.embedding.input_dims} axes in a batch; "
                f"this one has the shape {tuple(x.shape)}."
            )
        tokens, positions = self.embedding(x)
        return self.resampler(tokens + positions)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors``; each file is complete before it takes its name.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        save_folder(Path(folder), self, self._config_to_save().to_dict(), "The lens")

    def _config_to_save(self) -> LensConfig:
        if self.config.source_sha256 is not None or self.source is None or not self.source.is_file():
            return self.config
        return replace(self.config, source_sha256=sha256_of(self.source))

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        overrides: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read a folder that `save_pretrained` wrote; in eval mode, frozen.

        Args:
            folder: holds ``config.json`` and ``model.safetensors``.
            dtype: of the weights in memory, whatever the file has.
            device: where they go.
            overrides: fields of the configuration by name.

        Raises:
            CheckpointError: a file is absent or damaged; a tensor is missing, unexpected or misshapen.
            ConfigError: the configuration is refused, or was written by a newer version.
        """
        folder = Path(folder)
        config, tensors = read_lens_folder(folder)
        config = config.override(overrides or {})
        lens = cls.from_state(config, tensors, str(folder), dtype=dtype, device=device)
        lens.source = folder
        return lens

    @classmethod
    def from_state(
        cls,
        config: LensConfig,
        tensors: Mapping[str, Tensor],
        source: str,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> Self:
        """Build a lens around tensors by its own names; they are copied, so a mapped file may go. Eval mode, frozen.

        Raises:
            CheckpointError: a tensor is missing, unexpected or misshapen, or has values that are not finite.
        """
        lens = _on_meta(cls, config, tensors, source)
        check_state(tensors, lens.state_dict(), source=source)
        own = {name: tensor.to(device, dtype, copy=True) for name, tensor in tensors.items()}
        check_finite(own, source)
        lens.load_state_dict(own, strict=True, assign=True)
        return lens.requires_grad_(False).eval()


def meta_state(config: LensConfig, tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Names and shapes of the tensors that a lens of this configuration has, on the meta device.

    Args:
        config: of the lens.
        tensors: those there are: a configuration that declares more layers than they can fill is not built.
        source: names both in the error.

    Raises:
        CheckpointError: more layers than tensors, or sizes that no tensor can have.
    """
    return _on_meta(Lens, config, tensors, source).state_dict()


def _on_meta(cls: type[_AnyLens], config: LensConfig, tensors: Mapping[str, Tensor], source: str) -> _AnyLens:
    """A lens without weights: no time is spent on random ones."""
    resampler, tower = config.resampler, config.tower
    layers = resampler.depth * (1 + resampler.self_per_cross) if resampler else 0
    layers += tower.layers if tower else 0
    if layers > len(tensors):
        raise CheckpointError(
            f"{source} declares {layers} layers, but its weights have {len(tensors)} names; each layer has several."
        )
    try:
        with torch.device("meta"):
            return cls(config)
    except (RuntimeError, OverflowError, TypeError) as error:  # a size beyond 2^63
        raise CheckpointError(f"{source} declares sizes that no tensor can have: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")


def read_lens_folder(folder: Path) -> tuple[LensConfig, dict[str, Tensor]]:
    """Configuration and tensors of a saved lens, not yet compared with each other.

    Raises:
        CheckpointError: a file is absent or damaged.
        ConfigError: the configuration is refused, or was written by a newer version.
    """
    config, tensors = read_folder(folder, "a lens", finite=False)
    return LensConfig.from_dict(config), tensors
