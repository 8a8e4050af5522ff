"""Image embeddings -> pictures, by diffusers' `StableUnCLIPImg2ImgPipeline`. It runs no safety checker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor, nn
from typing_extensions import Self

from ..._config import FrozenConfig
from ..._optional import require
from ...errors import CheckpointError, ConfigError, DoesNotFit, InputError, Unsupported
from ...files.hub import fetch_optional
from ...files.jsons import read_json_object
from ..quiet import quiet

if TYPE_CHECKING:
    from diffusers import StableUnCLIPImg2ImgPipeline

__all__ = ["UNCLIP", "Detokenizer", "Drawing"]

UNCLIP = "sd2-community/stable-diffusion-2-1-unclip"
"""A community mirror: stabilityai withdrew its stable-diffusion-2-1-unclip in late 2025."""

_TOGETHER = 4 * 768**2  # pixels drawn at once: 768 x 768 take about 3 GB under guidance
_MOST = 32  # pictures drawn at once, however small


@dataclass(frozen=True)
class Drawing(FrozenConfig):
    """How pictures are drawn; the defaults are those of SEED-LLaMA's code."""

    steps: int = 20
    guidance: float = 10.0  # 1 or less: none, at half the cost
    size: int | None = None  # pixels of each side; None: what the pipeline was trained for
    noise_level: int = 0  # of the embedding; 0 still adds a little, which the seed decides
    candidates: int = 1  # drawn of each picture; the host keeps the one in which it sees most of what was asked for

    def __post_init__(self) -> None:
        self._require(self.steps >= 1, f"steps is {self.steps}; it must be at least 1.")
        self._require(math.isfinite(self.guidance), f"guidance is {self.guidance}; it must be a finite number.")
        self._require(
            self.size is None or (self.size > 0 and self.size % 8 == 0),
            f"size is {self.size}; it must be a positive multiple of 8 pixels.",
        )
        self._require(self.candidates >= 1, f"candidates is {self.candidates}; it must be at least 1.")
        self._require(self.noise_level >= 0, f"noise_level is {self.noise_level}; it must be at least 0.")


_INDEX = "model_index.json"
_LIBRARIES = ("diffusers", "transformers", "stable_diffusion")  # the last is a part of diffusers
_BROKEN = (CheckpointError, OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError)


def _check_libraries(source: str | Path) -> None:
    """Refuse a pipeline whose parts are of other libraries: diffusers would import whatever is named there.

    Raises:
        CheckpointError: names the part and the library; or the index cannot be read.
    """
    index = Path(source, _INDEX) if Path(source).is_dir() else fetch_optional(str(source), _INDEX)
    parts = read_json_object(index) if index is not None and index.is_file() else {}
    for name, part in parts.items():
        library = part[0] if isinstance(part, list) and part else None
        if not (name.startswith("_") or library is None or library in _LIBRARIES):
            raise CheckpointError(f"Its {name} is of {library!r}; parts are read of {', '.join(_LIBRARIES)} alone.")


class _AbsentEncoder(nn.Module):
    """Stands in for the CLIP image encoder, which is not needed: of it the pipeline reads only the dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dtype=dtype), requires_grad=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.weight.device


class Detokenizer:
    """Draws pictures of image embeddings.

    Args:
        pipeline: loaded; its image encoder is not used and may be None.
        name: what errors call it.
    """

    def __init__(self, pipeline: StableUnCLIPImg2ImgPipeline, *, name: str = "the unCLIP pipeline") -> None:
        # the pipeline asks its encoder for a dtype even where it is given embeddings
        if pipeline.image_encoder is None:
            pipeline.register_modules(image_encoder=_AbsentEncoder(pipeline.unet.dtype).to(pipeline.unet.device))
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline = pipeline
        self.name = name
        self._drawing = Lock()  # a pipeline's scheduler knows one run at a time

    @classmethod
    def load(
        cls,
        source: str | Path = UNCLIP,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        offload: bool = False,
    ) -> Self:
        """Load a folder or a hub repository without its CLIP image encoder.

        Args:
            offload: keep on the accelerator only the part that computes.

        Raises:
            CheckpointError: absent, withdrawn, unreachable or damaged, or it names a library of its own for a part.
            MissingDependency: diffusers is not installed.
            Unsupported: offload without an accelerator.
        """
        diffusers = require("diffusers", extra="seed", purpose="Drawing pictures")
        try:
            _check_libraries(source)
            with quiet():
                pipeline = diffusers.StableUnCLIPImg2ImgPipeline.from_pretrained(
                    str(source), image_encoder=None, feature_extractor=None, dtype=dtype, trust_remote_code=False
                )
        except _BROKEN as error:
            raise CheckpointError(
                f"The unCLIP weights {source} cannot be loaded: {error} stabilityai withdrew its repository "
                f"stable-diffusion-2-1-unclip in late 2025; {UNCLIP} is a community mirror, and a folder works too."
            ) from error
        # diffusers 0.38 does not know `dtype` above
        if pipeline.unet.dtype != dtype:
            pipeline.to(dtype=dtype)
        made = cls(pipeline, name=str(source))
        if offload:
            made.offload()
        else:
            pipeline.to(device)
        return made

    @property
    def embedding_width(self) -> int:
        """E, of the image embeddings it reads."""
        return int(self.pipeline.image_normalizer.mean.shape[-1])

    @property
    def size(self) -> int:
        """Pixels of each side that the pipeline was trained for."""
        return int(self.pipeline.unet.config.sample_size) * int(self.pipeline.vae_scale_factor)

    def normalised(self, embeds: Tensor) -> Tensor:  # (B, E) -> (B, E)
        """Image embeddings less their mean, by their deviation, as the pipeline knows both."""
        normal = self.pipeline.image_normalizer
        return normal.scale(embeds.to(normal.mean.device, normal.mean.dtype))

    def offload(self) -> None:
        """Keep on the accelerator only the part that computes.

        Raises:
            Unsupported: there is no accelerator.
        """
        if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
            raise Unsupported("Offloading moves parts from an accelerator to the CPU; this machine has no accelerator.")
        self.pipeline.enable_model_cpu_offload()

    def draw(self, embeds: Tensor, seeds: Sequence[int], how: Drawing | None = None) -> list[Image.Image]:
        """One picture for each embedding; the same for the same seed, whatever is drawn beside it (up to rounding).

        Args:
            embeds: (B, E).
            seeds: B of them.
            how: steps, guidance, size, noise; `candidates` is the host's concern.

        Raises:
            DoesNotFit: embeddings of another width.
            InputError: values that are not finite, or another number of seeds.
            ConfigError: a noise level that the pipeline's schedule does not have.
        """
        how = how or Drawing()
        self._check(embeds, seeds, how)
        pictures: list[Image.Image] = []
        # memory goes with the pixels under guidance, and small pictures are many
        together = max(1, min(_MOST, _TOGETHER // (how.size or self.size) ** 2))
        for start in range(0, len(embeds), together):
            part = slice(start, start + together)
            pictures += self._draw(embeds[part].to(self.pipeline.unet.dtype), seeds[part], how)
        return pictures

    def _draw(self, embeds: Tensor, seeds: Sequence[int], how: Drawing) -> list[Image.Image]:
        with self._drawing:
            made: Any = self.pipeline(
                image_embeds=embeds.to(self.pipeline._execution_device),
                prompt=[""] * len(embeds),  # without a list the pipeline takes the batch for one picture
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                num_inference_steps=how.steps,
                guidance_scale=how.guidance,
                height=how.size,
                width=how.size,
                noise_level=how.noise_level,
            )
        return list(made.images)

    def _check(self, embeds: Tensor, seeds: Sequence[int], how: Drawing) -> None:
        if embeds.ndim != 2 or embeds.shape[1] != self.embedding_width:
            raise DoesNotFit(
                f"{self.name} reads image embeddings of shape (B, {self.embedding_width}), got {tuple(embeds.shape)}."
            )
        if len(seeds) != len(embeds):
            raise InputError(f"There are {len(seeds)} seeds for {len(embeds)} pictures; give one for each.")
        # the pipeline would draw NaN without a word
        wrong = int((~torch.isfinite(embeds)).sum())
        if wrong:
            raise InputError(
                f"{wrong} of {embeds.numel()} values of the image embeddings are not finite, so nothing can be drawn. "
                "Half precision may overflow: load the host in float32."
            )
        levels = self.pipeline.image_noising_scheduler.config.num_train_timesteps
        if how.noise_level >= levels:
            raise ConfigError(f"noise_level is {how.noise_level}; {self.name} has levels 0 to {levels - 1}.")
