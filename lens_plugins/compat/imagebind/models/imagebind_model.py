"""A dict of tensors in, a dict of vectors out, text ×100, audio ×20, depth ×5, as ImageBind scales them.

B inputs, C clips, E width of a vector (768), D width of a tower, N tokens, L text tokens.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize as unit
from typing_extensions import Self

from ....errors import ConfigError, InputError, Unsupported
from ....hosts.clip import ClipHost
from ..modality import ModalityType, modalities_of, modality_of
from ..weights import open_host, remember

__all__ = ["SCALES", "ImageBindModel", "ModalityType", "imagebind_huge"]

SCALES: Mapping[str, float] = MappingProxyType(
    {
        ModalityType.VISION: 1.0,
        ModalityType.TEXT: 100.0,
        ModalityType.AUDIO: 20.0,
        ModalityType.DEPTH: 5.0,
        # ImageBind has none of these three; theirs is the scale of its audio
        ModalityType.POINT_CLOUD: 20.0,
        ModalityType.TACTILE: 20.0,
        ModalityType.EEG: 20.0,
    }
)
"""Length of the vectors that come out, so that softmax over products is sharp without another factor."""


class ImageBindModel(nn.Module):
    """The vitlensL lenses behind ImageBind's forward call; frozen, always in eval mode.

    The four module dicts hold everything, keyed as ImageBind keys them. For one clip an output is
    ``postprocessors[key](heads[key](trunks[key](preprocessors[key](x))))``; each module takes one tensor.

    Args:
        host: what embeds.
        scales: length of the vectors by key; None: `SCALES`.
    """

    def __init__(self, host: ClipHost, scales: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.host = host
        self.scales = dict(SCALES if scales is None else scales)
        clip: Any = host.model
        parts: dict[str, tuple[nn.Module, nn.Module, nn.Module]] = {
            ModalityType.VISION: (_Patches(clip.vision_model), _Rows(clip.vision_model), clip.visual_projection),
            ModalityType.TEXT: (nn.Identity(), _Ends(clip.text_model), clip.text_projection),
        }
        for modality, lens in host.lenses.items():
            tower = lens.tower
            rows: nn.Module = _Rows(clip.vision_model, lens=True) if tower is None else _TowerRows(tower)
            parts[modality] = lens, rows, clip.visual_projection if tower is None else tower.projection
        self.modality_preprocessors = nn.ModuleDict({key: part[0] for key, part in parts.items()})
        self.modality_trunks = nn.ModuleDict({key: part[1] for key, part in parts.items()})
        self.modality_heads = nn.ModuleDict({key: part[2] for key, part in parts.items()})
        self.modality_postprocessors = nn.ModuleDict({key: _Scaled(self.scales.get(key, 1.0)) for key in parts})

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and of what comes out."""
        return self.host.vit.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.host.vit.device

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode, whatever is asked: nothing in it is trained, and its BatchNorms must not move."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, inputs: Mapping[str, Tensor | Sequence[Tensor] | None], normalize: bool = False
    ) -> dict[str, Tensor]:
        """Vectors of every modality.

        Args:
            inputs: by `ModalityType`, as the loaders of `data` make them. Inputs with a clip axis more, (B, C, ...),
                are encoded clip by clip and averaged before they are scaled. None is left out.
            normalize: unit vectors, without the scales.

        Returns:
            By the same keys (B, E), in the dtype of the weights.

        Raises:
            Unsupported: thermal pictures, IMU, video, or a modality whose lens is not loaded.
            ConfigError: a key that is no modality.
            InputError: what is no tensor, or has another shape.
            DoesNotFit: pictures of another size.
        """
        if not isinstance(inputs, Mapping):
            raise InputError(f"A model is called with a dict of tensors by modality, not with a {_kind(inputs)}.")
        named = {key: modality_of(key) for key, value in inputs.items() if value is not None}
        vectors = {key: unit(self._features(modality, inputs[key]), dim=-1) for key, modality in named.items()}
        scales = {key: 1.0 if normalize else self._scale(modality) for key, modality in named.items()}
        return {key: (scales[key] * vector).to(self.device, self.dtype) for key, vector in vectors.items()}

    def _scale(self, modality: str) -> float:
        return self.scales.get(ModalityType.VISION if modality == "image" else modality, 1.0)

    def _features(self, modality: str, given: Any) -> Tensor:
        """(B, E), before unit length."""
        if isinstance(given, (list, tuple)) and given and all(isinstance(one, Tensor) for one in given):
            return torch.cat([self._features(modality, one[None]) for one in given])  # clouds of unequal size
        if not isinstance(given, Tensor):
            raise InputError(f"{modality} is given as a {_kind(given)}; a loader of `data` makes the tensor.")
        if not given.numel():
            raise InputError(f"{modality} is given as a tensor of shape {tuple(given.shape)}, which holds nothing.")
        if modality == "text":
            return self.host.texts.features(given)
        if not given.is_floating_point():
            raise InputError(f"{modality} is given as {given.dtype}; a loader of `data` makes floating-point numbers.")
        return self.host.features(modality, given)


class _Patches(nn.Module):
    """Pictures (B, 3, S, S) -> tokens (B, 1 + N, D), class token first, positions added."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.embeddings = tower.embeddings

    def forward(self, pixels: Tensor) -> Tensor:
        return self.embeddings(pixels)


class _Rows(nn.Module):
    """Tokens (B, 1 + N, D), or latents (B, N, D) of a lens without a tower -> the class token's row (B, D)."""

    def __init__(self, tower: Any, *, lens: bool = False) -> None:
        super().__init__()
        self.embeddings = tower.embeddings if lens else None
        self.norm_in, self.encoder, self.norm_out = tower.pre_layrnorm, tower.encoder, tower.post_layernorm

    def forward(self, tokens: Tensor) -> Tensor:
        if self.embeddings is not None:
            first: Any = self.embeddings.class_embedding
            tokens = (
                torch.cat([first.expand(len(tokens), 1, -1), tokens], 1) + self.embeddings.position_embedding.weight
            )
        return self.norm_out(self.encoder(self.norm_in(tokens)).last_hidden_state[:, 0])


class _TowerRows(nn.Module):
    """Latents (B, N, D) -> the row of the class token of a lens's own tower (B, D)."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, latents: Tensor) -> Tensor:
        return self.tower.class_row(latents)


class _Ends(nn.Module):
    """Token ids (B, L) -> the row of each text's end (B, D)."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, ids: Tensor) -> Tensor:
        return self.tower(ids).pooler_output


class _Scaled(nn.Module):
    """Vectors (B, E) -> the same with one length."""

    def __init__(self, length: float) -> None:
        super().__init__()
        self.length = length

    def forward(self, vectors: Tensor) -> Tensor:
        return self.length * unit(vectors, dim=-1)


def _kind(value: object) -> str:
    return type(value).__name__


def imagebind_huge(
    pretrained: bool = False,
    store_path: str | os.PathLike[str] | ClipHost | None = None,
    *,
    pandagpt: bool = False,
    modalities: Collection[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Any:
    """An `ImageBindModel` of the vitlensL lenses.

    Args:
        pretrained: must be True: random weights embed nothing.
        store_path: a folder with `vitlensL.pt` or the files of single lenses, a hub id, or a loaded host; None:
            ``.checkpoints/vitlensL`` in the working directory where it is there, else the released files of the hub.
        pandagpt: return the pair (model, width of a vector), as the copies in PandaGPT and NExT-GPT do.
        modalities: of the lenses to load, each of which brings a tower of its own; None: all.
        dtype: of the weights.

    Raises:
        Unsupported: `pretrained` is False.
        CheckpointError: the files are absent, damaged or unreachable.
        ConfigError: `store_path` holds another kind of host, or there is no such modality.
    """
    if not pretrained:
        raise Unsupported("imagebind_huge() makes no model with random weights; call imagebind_huge(pretrained=True).")
    if not isinstance(dtype, torch.dtype):
        raise ConfigError(f"dtype is {dtype!r}; it must be a torch.dtype, such as torch.bfloat16.")
    host = open_host(store_path, modalities_of(modalities), dtype)
    remember(host)
    model = ImageBindModel(host).eval()
    return (model, host.width) if pandagpt else model
