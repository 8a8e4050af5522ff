"""ViT-Lens's own call, `mm_vit_lens.ViTLens`: files in, unit vectors out, no scales."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize as unit
from typing_extensions import Self

from ...errors import ConfigError, InputError, Unsupported
from ...hosts.clip import ClipHost
from ...inputs import DepthSettings, read
from ...inputs.base import several
from .modality import modalities_of, modality_of
from .weights import open_host, remember

__all__ = ["ViTLens", "clean_caption"]

_MARKS = re.compile(r'[.!"()*#:;~]')
_WORDS = 70


class ViTLens:
    """Every modality of vitlensL in one space.

    Args:
        model_var: "vitlensL", the one size that was released.
        modality_loaded: by ViT-Lens's names ("image", "pc", ...) or ImageBind's; None: all. Pictures and texts always
            come along.
        load_from_ckpt: a folder with `vitlensL.pt` or the files of single lenses, a hub id, or a loaded host; None:
            ``.checkpoints/vitlensL`` in the working directory where it is there, else the released files of the hub.
        dtype: of the weights.

    Raises:
        Unsupported: another size, or video.
        CheckpointError: the files are absent, damaged or unreachable.
        ConfigError: another kind of host, or no modality.
    """

    def __init__(
        self,
        model_var: str = "vitlensL",
        modality_loaded: Sequence[str] | None = None,
        load_from_ckpt: str | os.PathLike[str] | ClipHost | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if model_var != "vitlensL":
            raise Unsupported(f"There are no weights of {model_var!r}; vitlensL is the size that was released.")
        if modality_loaded is not None and not isinstance(modality_loaded, str):
            # to load it is no mistake, as ViT-Lens's own list of all modalities has it; to encode it is
            modality_loaded = [key for key in modality_loaded if key != "video"]
        self.host = open_host(load_from_ckpt, modalities_of(modality_loaded), dtype)
        remember(self.host)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.host.vit.device

    def to(self, device: str | torch.device) -> Self:
        """Move all towers to a device; returns itself."""
        self.host.to(device)
        return self

    def eval(self) -> Self:
        """Itself: it is always in eval mode."""
        return self

    @torch.no_grad()
    def encode(self, inputs: Mapping[str, Any], normalize: bool = True) -> dict[str, Tensor]:
        """Vectors of files and texts.

        Args:
            inputs: by modality a file or a list of files (whatever `lens_plugins.read` takes), or a text or a list of
                texts, which are cleaned as ViT-Lens cleans them. A float array or ``.pt`` of depth is disparity.
            normalize: unit vectors; False: as the towers give them. The clips of a recording are averaged before.

        Returns:
            By the same keys (B, E), float32, on the device of the towers.

        Raises:
            InputError: a file that cannot be read, nothing at all, or a text that is none.
            Unsupported: video, or a modality whose lens is not loaded.
            ConfigError: a key that is no modality.
        """
        if not isinstance(inputs, Mapping):
            raise InputError(f"encode takes a dict of inputs by modality, not a {type(inputs).__name__}.")
        named = {key: modality_of(key) for key in inputs}
        found = {key: self._features(modality, inputs[key]) for key, modality in named.items()}
        return {key: (unit(rows, dim=-1) if normalize else rows).to(self.device) for key, rows in found.items()}

    def _features(self, modality: str, given: Any) -> Tensor:  # -> (B, E)
        several_given = [given] if isinstance(given, str) else several(given)
        if not several_given:
            raise InputError(f"There are 0 inputs of {modality} to encode; at least 1 is needed.")
        if modality == "depth":
            several_given = [self._disparity(one) for one in several_given]
        if modality != "text":
            return self.host.class_rows(several_given, modality)
        if not all(isinstance(text, str) for text in several_given):
            raise InputError("text holds something that is no str; give a text or a list of texts.")
        return self.host.texts.features(self.host.texts.ids([clean_caption(text) for text in several_given]))

    def _disparity(self, source: Any) -> Any:
        """A tensor of depth, which is disparity to ViT-Lens; pictures tell by themselves what they are."""
        if not (isinstance(source, (str, os.PathLike)) and os.fspath(source).endswith(".pt")):
            return source
        settings = self.host.lenses["depth"].config.input if "depth" in self.host.lenses else DepthSettings()
        return read(source, "depth", replace(settings, kind="disparity"))


def clean_caption(text: str) -> str:
    """A text as ViT-Lens's one-stop class hands it to the tokenizer.

    Lower case, eight marks made blanks, blanks merged, 70 words at most.
    """
    if not isinstance(text, str):
        raise ConfigError(f"{text!r} is no text.")
    return " ".join(_MARKS.sub(" ", text.lower()).split()[:_WORDS])
