"""Host: plug lenses, ask questions. A kind of host writes two steps, `answer` and `pieces`; the rest is here."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import torch
from PIL import Image
from torch import Tensor, nn
from typing_extensions import Self

from ..catalog import find_modality, modality_of_suffix
from ..errors import ConfigError, DoesNotFit, Unsupported
from ..inputs import ModalityInput, parse_source, read
from ..inputs.image import ImageSettings
from ..lens.lens import Lens
from ..lens.loading import has_vit_copy
from ..lens.report import compare_vit
from ..splice import PLACES, FrozenViT
from . import retrieval
from .evidence import Encoder
from .messages import Reply, Request, Seen, Text

if TYPE_CHECKING:
    from .._config import FrozenConfig
    from ..inputs.base import Source
    from .text_tower import HostTextTower

__all__ = ["CodeHost", "Host", "LoadOptions", "PrefixHost", "check_device", "check_fits"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadOptions:
    """How to load a host.

    Args:
        dtype: of the weights in memory, whatever the files have.
        device_map: transformers' placement, such as "auto", or one device; None: the CPU.
        quantization: "4bit" or "8bit" of the language model; None: neither.
        vit: the ViT of another host, to hold one copy in memory.

    Raises:
        ConfigError: an unknown quantization, or a device that this machine does not have.
    """

    dtype: torch.dtype = torch.float32
    device_map: str | Mapping[str, Any] | None = None
    quantization: str | None = None
    vit: FrozenViT | None = None

    def __post_init__(self) -> None:
        if self.quantization not in (None, "4bit", "8bit"):
            raise ConfigError(f"quantization is {self.quantization!r}; it must be '4bit', '8bit' or None.")
        places = self.device_map.values() if isinstance(self.device_map, Mapping) else [self.device_map]
        for place in places:
            if place is not None and place not in _PLACEMENTS:
                check_device(place)


_PLACEMENTS = ("auto", "balanced", "balanced_low_0", "sequential", "disk")  # of accelerate, besides devices


def check_device(device: str | int | torch.device) -> torch.device:
    """The device meant, if this machine has it.

    Raises:
        ConfigError: no device at all, or one that is not there; says how many are.
    """
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"{device!r} is no device; it may be cpu, cuda, cuda:1, mps or auto.") from error
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (wanted.index or 0) >= there.get(wanted.type, 1):
        raise ConfigError(
            f"The device {device} is not there: torch {torch.__version__} sees {there[wanted.type]} devices of the "
            f"type {wanted.type}; cpu works everywhere."
        )
    return wanted


@runtime_checkable
class PrefixHost(Protocol):
    """A host that turns features into vectors which a language model reads before the prompt."""

    def prefix(
        self,
        features: Tensor | Sequence[Tensor],
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
    ) -> Tensor: ...

    def logits(
        self, prefix: Tensor | Sequence[Tensor], input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor: ...

    def generate_from_prefix(
        self,
        prefix: Tensor | Sequence[Tensor],
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        **generation: Any,
    ) -> Tensor: ...


@runtime_checkable
class CodeHost(Protocol):
    """A host that writes inputs as discrete codes and makes pictures of codes."""

    def encode_codes(self, inputs: Source | Sequence[Source]) -> Tensor: ...

    def decode_codes(self, codes: Tensor) -> list[Image.Image]: ...


class Host(ABC):
    """A frozen multimodal model and the lenses plugged into it.

    Args:
        model: the loaded model; nothing in it is ever changed.
        vit: its ViT.
        name: what errors call it.
        image_settings: how it sees its own pictures.
        default_prompt: asked where a request has none; None: the kind's own.
    """

    places: ClassVar[tuple[str, ...]] = PLACES
    """Where this kind of host can fuse several inputs."""
    default_place: ClassVar[str] = "vit"
    """Where it fuses them unless a request says otherwise."""
    default_prompt: str = "A short image caption."
    """Asked where a request has no prompt; a kind of host has its own, and a host may be given another."""
    text_tower: HostTextTower | None = None
    """What brings texts and inputs of every modality into one space; `load_host` sets it where there is one."""

    def __init__(
        self,
        model: nn.Module,
        vit: FrozenViT,
        *,
        name: str,
        image_settings: ImageSettings | None = None,
        default_prompt: str | None = None,
    ) -> None:
        self.model = model
        self.vit = vit
        self.name = name
        self.image_settings = image_settings or ImageSettings(size=vit.image_size)
        if default_prompt is not None:
            self.default_prompt = default_prompt
        self._lenses: dict[str, Lens] = {}
        self._warned: set[str] = set()

    @classmethod
    @abstractmethod
    def load(cls, source: str | Path, options: LoadOptions) -> Self:
        """Load from a folder or a hub id; `load_host` has found that the kind is this one."""

    @classmethod
    @abstractmethod
    def wrap(cls, model: nn.Module, processor: Any = None) -> Self:
        """Drive a model that is already loaded."""

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether `wrap` drives this model, for kinds that no `model_type` in a configuration tells."""
        return False

    @abstractmethod
    def answer(self, seen: Sequence[Seen], prompts: Sequence[str], **generation: Any) -> list[Reply]:
        """Answer a batch: one prompt and one reply for each thing seen."""

    @abstractmethod
    def pieces(self, seen: Seen, prompt: str, **generation: Any) -> Iterator[str]:
        """Answer one request in pieces of text, as they are made."""

    @property
    def lenses(self) -> dict[str, Lens]:
        """The lenses plugged, by modality (a copy: plug and unplug change the host)."""
        return dict(self._lenses)

    def plug(self, lens: Lens) -> None:
        """Use a lens for its modality, in place of one plugged before.

        Raises:
            DoesNotFit: its width or its number of latents is not that of the ViT, or it brings a tower of its own.
        """
        check_fits(lens, self.vit)
        self._warn_of_other_weights(lens)
        self._lenses = {**self._lenses, lens.modality: lens}

    def unplug(self, modality: str) -> None:
        """Forget the lens of a modality. Nothing is restored, because nothing was changed.

        Raises:
            ConfigError: there is none.
        """
        if modality not in self._lenses:
            raise ConfigError(f"{self.name} has no lens for {modality!r} to unplug; plugged: {self._plugged()}.")
        self._lenses = {name: lens for name, lens in self._lenses.items() if name != modality}

    def generate(
        self,
        inputs: Source | Sequence[Source] | Seen,
        prompt: str | None = None,
        *,
        fuse: str | None = None,
        clips: int | None = None,
        **generation: Any,
    ) -> Reply:
        """One answer about one or several inputs.

        Args:
            inputs: see `Request`, as `prompt`, `fuse` and `clips`.
            generation: options of transformers' `generate`, handed on unread.

        Raises:
            InputError: a file or array that cannot be read.
            Unsupported: a modality without a lens, or a place where this host cannot fuse.
            ConfigError: an option that `generate` does not know.
        """
        return self.generate_batch([Request(inputs, prompt, fuse, clips, generation)])[0]

    def generate_batch(self, requests: Sequence[Request], batch_size: int = 16, **generation: Any) -> list[Reply]:
        """Many answers, in the order of the requests.

        Inputs of all modalities in a batch go through the ViT together; an input that occurs again is not encoded
        again. Requests with different generation options are batched apart. Errors are those of `generate`.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
        for request in requests:
            self._check_place(request.fuse)
        encoder = Encoder(self)
        replies: dict[int, Reply] = {}
        for options, numbers in _by_options(requests, generation):
            for start in range(0, len(numbers), batch_size):
                chunk = numbers[start : start + batch_size]
                seen = encoder.see([requests[i] for i in chunk])
                prompts = [self._prompt(requests[i].prompt) for i in chunk]
                replies.update(zip(chunk, self.answer(seen, prompts, **options)))
        return [replies[i] for i in range(len(requests))]

    def stream(
        self,
        inputs: Source | Sequence[Source] | Seen,
        prompt: str | None = None,
        *,
        fuse: str | None = None,
        clips: int | None = None,
        **generation: Any,
    ) -> Iterator[str]:
        """`generate` in pieces of text. One beam: an answer of several beams is known only at its end."""
        seen = self.look(inputs, fuse=fuse, clips=clips)
        yield from self.pieces(seen, self._prompt(prompt), **generation)

    def look(
        self, inputs: Source | Sequence[Source] | Seen, *, fuse: str | None = None, clips: int | None = None
    ) -> Seen:
        """Features of one or several inputs, to ask about many times: ``host.generate(seen, prompt=...)``."""
        self._check_place(fuse)
        return Encoder(self).see([Request(inputs, fuse=fuse, clips=clips)])[0]

    def embed(self, inputs: Source | Text | Sequence[Source | Text], space: str | None = None) -> Tensor:
        """One unit vector for each input, in one space for every modality.

        The ViT's feature is the class token's row after the final norm, averaged over the clips of a recording. Where
        the host has a text tower it goes through the text head, and texts have their place beside it.

        Args:
            inputs: as in `Request`; besides, ``Text("a wooden chair")`` or the string ``"text:a wooden chair"``.
            space: "vision", the ViT's own feature, or "text"; None: "text" where the host has a text tower.

        Returns:
            (B, E) float32 on the CPU; E is the ViT's width, or that of the text space.

        Raises:
            InputError: a file or array that cannot be read.
            Unsupported: a text where there is no text tower, or a modality without a lens.
        """
        return retrieval.embed(self, inputs, space)

    def classify(
        self,
        inputs: Source | Text | Sequence[Source | Text],
        labels: Sequence[str],
        *,
        template: str = "{}",
        scale: float = retrieval.SCALE,
    ) -> list[Any]:
        """Which of some labels each input is, without training; needs a text tower.

        Args:
            inputs: as in `embed`.
            labels: two or more, each once.
            template: what is compared with the input; a label stands in place of ``{}``.
            scale: factor on the cosines before the softmax: higher is surer, the order stays.

        Returns:
            As transformers' zero-shot pipelines: ``[{"label": "chair", "score": 0.9}, ...]``, best first, scores that
            sum to 1; for a list of inputs a list of those.

        Raises:
            InputError: fewer than two labels, one twice, or an input that cannot be read.
            Unsupported: the host has no text tower.
        """
        return retrieval.classify(self, inputs, labels, template=template, scale=scale)

    def search(
        self,
        query: Source | Text | Sequence[Source | Text],
        items: Sequence[Source | Text] | Tensor,
        *,
        top: int | None = 10,
        space: str | None = None,
    ) -> list[dict[str, Any]]:
        """Rank items of any modality by their likeness to a query of any modality.

        Args:
            query: as in `embed`; several make one query, the mean of their vectors.
            items: what is ranked, or the vectors (N, E) that `embed` made of it, to search in many times.
            top: how many to return; None: all.
            space: as in `embed`.

        Returns:
            ``[{"index": 3, "score": 0.81, "item": ...}, ...]``, best first; the score is the cosine.
        """
        return retrieval.search(self, query, items, top=top, space=space)

    def read(self, source: Source, *, clips: int | None = None) -> ModalityInput:
        """Read an input as the lens of its modality wants it, or as this host wants pictures.

        Raises:
            InputError: it cannot be read.
            Unsupported: no lens for its modality is plugged.
        """
        if isinstance(source, ModalityInput):
            return source
        modality = _modality_of(source)
        if modality is None:
            return read(source)  # which knows what is missing
        settings = self._settings(modality)
        if clips is not None and modality == "audio":
            settings = replace(settings, clips=clips)
        return read(source, modality, settings)

    def tokens(self, modality: str, batch: Tensor) -> Tensor:  # (B, ...) -> (B, N, D)
        """What goes into the ViT: latents of the lens, or the patch tokens of the host's own pictures."""
        if modality in self._lenses:
            return self._lenses[modality](batch).to(self.vit.device, self.vit.dtype)
        if modality != "image":
            raise self._no_lens(modality)
        return self.vit.embed_image(batch)

    def to(self, device: str | torch.device) -> Self:
        """Move the model and its lenses to a device; returns the host.

        Raises:
            ConfigError: this machine has no such device.
            Unsupported: the model lies on several devices, or is quantised so that it cannot be moved.
        """
        wanted = check_device(device)
        if len(set(map(str, (getattr(self.model, "hf_device_map", None) or {}).values()))) > 1:
            raise Unsupported(f"{self.name} lies on several devices; load it with device={str(device)!r} instead.")
        try:
            self.model.to(wanted)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise Unsupported(f"{self.name} cannot be moved to {device}: {error}") from error
        for lens in self._lenses.values():
            lens.to(wanted)
        return self

    def vit_state(self) -> dict[str, Tensor]:
        """The ViT's tensors by LAVIS's names, to compare with those in a lens's file; none where they are offloaded."""
        return {}

    def _settings(self, modality: str) -> FrozenConfig:
        if modality in self._lenses:
            return self._lenses[modality].config.input
        if modality != "image":
            raise self._no_lens(modality)
        return self.image_settings

    def _prompt(self, prompt: str | None) -> str:
        return self.default_prompt if prompt is None else prompt

    def _check_place(self, place: str | None) -> None:
        if place is not None and place not in self.places:
            able = " or ".join(map(repr, self.places))
            raise Unsupported(f"{self.name} cannot fuse inputs with fuse={place!r}; it can with {able}.")

    def _plugged(self) -> str:
        return ", ".join(sorted(self._lenses)) or "none"

    def _no_lens(self, modality: str) -> Unsupported:
        return Unsupported(
            f"{self.name} has no lens for {find_modality(modality).noun}; lenses plugged: {self._plugged()}. Plug one "
            f'with host.plug(load_lens(FILE, modality="{modality}")).'
        )

    def _warn_of_other_weights(self, lens: Lens) -> None:
        """Say once for each file that it was trained with other ViT weights; upstream drops them silently."""
        if lens.source is None or str(lens.source) in self._warned:
            return
        self._warned.add(str(lens.source))
        differences = compare_vit(lens, self.vit_state()) if has_vit_copy(lens) else []
        if differences:
            log.warning(
                "%s was trained with another ViT than %s: %d of the tensors in the file differ, by up to %g (%s).",
                lens.source, self.vit.name, len(differences), differences[0][1], differences[0][0],
            )  # fmt: skip
        eps = lens.config.vit.norm_eps if lens.config.vit else None
        if eps is not None and eps != self.vit.norm_eps:
            log.warning(
                "%s was trained for a final norm with eps %g; that of %s has %g.",
                lens.source, eps, self.vit.name, self.vit.norm_eps,
            )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name in _CAPABILITIES:
            raise _Incapable(f"{self.__dict__.get('name', type(self).__name__)} cannot {_CAPABILITIES[name]}.")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, lenses: {self._plugged()})"


_CAPABILITIES = {
    "prefix": "turn features into a prefix: it has no Q-Former between ViT and language model",
    "logits": "give logits after a prefix: it has no Q-Former between ViT and language model",
    "generate_from_prefix": "generate from a prefix: it has no Q-Former between ViT and language model",
    "encode_codes": "write inputs as codes; a SEED-LLaMA host can",
    "decode_codes": "make pictures of codes; a SEED-LLaMA host can",
}


class _Incapable(Unsupported, AttributeError):
    """Asked for what another kind of host can do; an AttributeError too, so that hasattr and protocols see it."""


def check_fits(lens: Lens, vit: FrozenViT) -> None:
    """Everything that can keep a lens from a ViT.

    Raises:
        DoesNotFit: with both numbers.
    """
    cure = "Use a lens trained for this ViT: `lens-plugins lens inspect FILE` shows what a file was trained for."
    if lens.width != vit.width:
        family = " It is of the CLIP ViT-L/14 family, which no InstructBLIP or SEED reads." if lens.tower else ""
        raise DoesNotFit(
            f"The {lens.modality} lens writes latents of width {lens.width}; {vit.name} reads width {vit.width}."
            f"{family} {cure}"
        )
    if lens.tower is not None:
        raise DoesNotFit(
            f"The {lens.modality} lens brings a whole tower of width {lens.tower.config.width} of its own, which is "
            f"not in front of {vit.name} (width {vit.width}). {cure}"
        )
    if lens.num_tokens != vit.num_patches:
        raise DoesNotFit(
            f"The {lens.modality} lens writes {lens.num_tokens} latents; {vit.name} has positions for "
            f"{vit.num_patches} patches. {cure}"
        )


def _modality_of(source: Source) -> str | None:
    """What the prefix or suffix of a path says, or None."""
    if isinstance(source, Image.Image):
        return "image"
    if not isinstance(source, (str, os.PathLike)):
        return None
    named, path = parse_source(source) if isinstance(source, str) else (None, Path(source))
    return named or modality_of_suffix(path.suffix)


def _by_options(requests: Sequence[Request], shared: dict[str, Any]) -> list[tuple[dict[str, Any], list[int]]]:
    """Numbers of the requests under each set of generation options, in order of first occurrence."""
    groups: dict[str, tuple[dict[str, Any], list[int]]] = {}
    for number, request in enumerate(requests):
        options = {**shared, **request.generation}
        groups.setdefault(repr(sorted(options.items())), (options, []))[1].append(number)
    return list(groups.values())
