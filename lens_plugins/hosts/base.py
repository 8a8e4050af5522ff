"""Host: plug lenses, ask questions. A kind of host writes two steps, `answer` and `pieces`; the rest is here."""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import torch
from PIL import Image
from torch import Tensor, nn
from typing_extensions import Self

from ..catalog import find_modality
from ..errors import ConfigError, DoesNotFit, InputError, Unsupported
from ..inputs import ModalityInput, read
from ..inputs.base import check_settings, described, has_clips, read_as
from ..inputs.image import ImageSettings
from ..lens.lens import Lens
from ..lens.loading import has_vit_copy, load_lens
from ..lens.report import compare_vit
from ..splice import PLACES, FrozenViT
from .messages import Reply, Request, Seen
from .passes import Clip, Clips, Memory, clips_of, plan_passes, same_options
from .retrieval import Embedding
from .text_tower import HostTextTower

if TYPE_CHECKING:
    from .._config import FrozenConfig
    from ..inputs.base import Source

__all__ = [
    "CAPABILITIES",
    "Absent",
    "CodeHost",
    "Host",
    "LoadOptions",
    "PrefixHost",
    "check_device",
    "check_fits",
]

log = logging.getLogger(__name__)

_EMBEDDED_TOGETHER = 64  # inputs in one ViT pass


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
        wanted = torch.device(f"cuda:{device}" if isinstance(device, int) else device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"{device!r} is no device; it may be cpu, cuda, cuda:1, mps or auto.") from error
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (wanted.index or 0) >= there.get(wanted.type, 1):
        raise ConfigError(
            f"The device {device} is not there: torch {torch.__version__} sees {there[wanted.type]} devices of the "
            f"type {wanted.type}; cpu works everywhere."
        )
    return wanted


CAPABILITIES = {
    "prefix": "turn features into a prefix: it has no Q-Former between ViT and language model",
    "logits": "give logits after a prefix: it has no Q-Former between ViT and language model",
    "generate_from_prefix": "generate from a prefix: it has no Q-Former between ViT and language model",
    "encode_codes": "write inputs as codes; a SEED-LLaMA host can",
    "decode_codes": "make pictures of codes; a SEED-LLaMA host can",
}
"""What only some kinds of host can do: the sentence for those that cannot, by the name asked for."""


class Absent:
    """In place of a method that a kind of host does not have: `Host.__getattr__` answers with the sentence for it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, host: object | None, owner: type | None = None) -> Any:
        if host is None:
            return self  # of the class, as abc and documentation tools look at it
        raise AttributeError(self._name)


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


class Host(Embedding):
    """A frozen multimodal model and the lenses plugged into it.

    Several threads may ask one host; each answer is what it would be alone. `plug`, `unplug` and `to` change the host:
    call them while nobody asks. A model whose weights are offloaded answers one thread at a time.

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
    incapable: ClassVar[Mapping[str, str]] = CAPABILITIES
    """What it cannot do, by the name that is asked for, and why."""
    default_clips: ClassVar[int | None] = None
    """How many clips of a recording it reads unless a request says otherwise; None: as the lens was trained."""

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

    def plug(self, lens: Lens | str | os.PathLike[str]) -> None:
        """Use a lens for its modality, in place of one plugged before.

        Args:
            lens: a lens, or what `load_lens` takes: a file, a folder, "pocket-audio", a hub id.

        Raises:
            DoesNotFit: its width or its number of latents is not that of the ViT, or it brings a tower of its own.
            CheckpointError: it is named, and cannot be loaded.
        """
        if isinstance(lens, (str, os.PathLike)):
            lens = load_lens(lens, device=self.vit.device)
        if not isinstance(lens, Lens):
            raise ConfigError(f"A {type(lens).__name__} is no lens; give one of load_lens, or its name.")
        self.check_lens(lens)
        self._warn_of_other_weights(lens)
        self._lenses = {**self._lenses, lens.modality: lens}

    def check_lens(self, lens: Lens) -> None:
        """Everything that can keep a lens from this host.

        Raises:
            DoesNotFit: with both numbers.
        """
        check_fits(lens, self.vit)

    def read_latents(self, lens: Lens, latents: Tensor) -> Tensor:  # (B, N, D) -> (B, ...)
        """What this host makes of a lens's latents: the features of its ViT."""
        return self.vit.encode(latents)

    def take_text_tower(self, tower: HostTextTower) -> None:
        """Compare inputs with texts by this tower from now on.

        Raises:
            DoesNotFit: its head reads rows of another width.
        """
        tower.check_fits(self.vit)
        self.text_tower = tower

    def unplug(self, modality: str) -> None:
        """Forget the lens of a modality. Nothing is restored, because nothing was changed.

        Raises:
            ConfigError: there is none.
        """
        if modality not in self._lenses:
            raise ConfigError(f"{self.name} has no lens for {modality!r} to unplug; plugged: {self._plugged()}.")
        self._lenses = {name: lens for name, lens in self._lenses.items() if name != modality}

    # Asking

    def generate(
        self,
        inputs: Source | Sequence[Source] | Seen,
        prompt: str | None = None,
        *,
        fuse: str | None = None,
        clips: int | None = None,
        modality: str | Sequence[str | None] | None = None,
        **generation: Any,
    ) -> Reply:
        """One answer about one or several inputs.

        Args:
            inputs: see `Request`, as `prompt`, `fuse`, `clips` and `modality`.
            generation: options of transformers' `generate`, handed on unread. ``num_return_sequences=3`` gives three
                answers, the likeliest as the reply and all in its `alternatives`.

        Raises:
            InputError: a file or array that cannot be read, or a `ModalityInput` that was read otherwise than the lens
                wants it.
            Unsupported: a modality without a lens, or a place where this host cannot fuse.
            ConfigError: an option that `generate` does not know.
        """
        return self._answer_batch([Request(inputs, prompt, fuse, clips, generation, modality)], {}, Memory())[0]

    def generate_batch(
        self,
        requests: Iterable[Request | Source | Sequence[Source] | Seen],
        batch_size: int = 16,
        *,
        prompt: str | None = None,
        fuse: str | None = None,
        clips: int | None = None,
        modality: str | Sequence[str | None] | None = None,
        **generation: Any,
    ) -> list[Reply]:
        """Many answers, in the order of the requests.

        Inputs of all modalities in a batch go through the ViT together, and requests with other generation options are
        answered apart. Within a call an input that comes again soon is neither read nor encoded again. Errors are those
        of `generate`; requests are checked before the first is answered.

        Args:
            requests: `Request`s, or the inputs of each alone; an inner list is fused to one answer.
            batch_size: how many are answered together.
            prompt: for requests that have none of their own, as `fuse`, `clips` and `modality`.
            generation: as in `generate`; a request's own options come before these.
        """
        asked = [Request.of(one, prompt, fuse, clips, modality) for one in _each(requests)]
        for request in asked:
            self._check_place(request.fuse)
        return list(self.generate_iter(asked, batch_size, **generation))

    def generate_iter(
        self,
        requests: Iterable[Request | Source | Sequence[Source] | Seen],
        batch_size: int = 16,
        *,
        prompt: str | None = None,
        fuse: str | None = None,
        clips: int | None = None,
        modality: str | Sequence[str | None] | None = None,
        **generation: Any,
    ) -> Iterator[Reply]:
        """`generate_batch` for long runs: requests may come from a generator, and replies come as they are made.

        Requests are taken one batch at a time, and what was read and encoded is forgotten after some batches, so the
        memory does not grow with the number of requests.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
        memory, coming = Memory(), iter(_each(requests))
        while batch := [Request.of(one, prompt, fuse, clips, modality) for one in islice(coming, batch_size)]:
            yield from self._answer_batch(batch, generation, memory)

    def _answer_batch(self, requests: Sequence[Request], generation: Mapping[str, Any], memory: Memory) -> list[Reply]:
        """The whole way from requests to replies; requests with other options are answered apart."""
        seen = self.look_batch(requests, memory)
        prompts = [self.default_prompt if request.prompt is None else request.prompt for request in requests]
        replies: dict[int, Reply] = {}
        for options, numbers in _by_options(requests, generation):
            answered = self.answer([seen[i] for i in numbers], [prompts[i] for i in numbers], **options)
            replies.update(zip(numbers, answered))
        return [replies[i] for i in range(len(requests))]

    def stream(
        self,
        inputs: Source | Sequence[Source] | Seen,
        prompt: str | None = None,
        *,
        fuse: str | None = None,
        clips: int | None = None,
        modality: str | Sequence[str | None] | None = None,
        **generation: Any,
    ) -> Iterator[str]:
        """`generate` in pieces of text. One beam: an answer of several beams is known only at its end."""
        Request(inputs, prompt)  # refuses what is no prompt
        seen = self.look(inputs, fuse=fuse, clips=clips, modality=modality)
        yield from self.pieces(seen, self.default_prompt if prompt is None else prompt, **generation)

    # Looking: read, tokens, encode, each once

    def look(
        self,
        inputs: Source | Sequence[Source] | Seen,
        *,
        fuse: str | None = None,
        clips: int | None = None,
        modality: str | Sequence[str | None] | None = None,
    ) -> Seen:
        """Features of one or several inputs, to ask about many times: ``host.generate(seen, prompt=...)``."""
        return self.look_batch([Request(inputs, fuse=fuse, clips=clips, modality=modality)])[0]

    @torch.no_grad()
    def look_batch(self, requests: Sequence[Request], memory: Memory | None = None) -> list[Seen]:
        """Features of every request: each distinct input is read, made tokens of and encoded once.

        Args:
            requests: their prompts do not matter; what has been looked at stays as it is.
            memory: of earlier batches; None: there were none.
        """
        memory = Memory() if memory is None else memory
        places = [self._check_place(request.fuse) or self.default_place for request in requests]

        # read: the clips of all inputs, and what is to be done with them
        inputs = [self._read_clips(request, memory) for request in requests]
        plan = plan_passes(inputs, places, memory.features)

        # tokens: a lens reads all clips of one shape together
        tokens: dict[Clip, Tensor] = {}
        for clips in plan.clips:
            batch = torch.stack([clip.tensor for clip in clips])  # (B, ...)
            tokens.update(zip(clips, self.tokens(clips[0].modality, batch)))  # (B, N, D)

        # encode: one pass through the ViT for each number of tokens
        encoded = {clips: memory.features[clips] for clips in plan.known}
        for sequences in plan.sequences:
            latents = [torch.stack([tokens[clip] for clip in clips]) for clips in zip(*sequences)]  # k of (B, N, D)
            rows = self.vit.encode(latents)  # (B, 1 + k·N, D)
            encoded.update((sequence, row.clone()) for sequence, row in zip(sequences, rows))  # a view keeps its batch
        memory.keep(encoded)

        return [
            request.inputs if isinstance(request.inputs, Seen) else Seen(features)
            for request, features in zip(requests, plan.features(encoded))
        ]

    def read(
        self,
        source: Source,
        modality: str | None = None,
        *,
        clips: int | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> ModalityInput:
        """Read an input as the lens of its modality wants it, or as this host wants pictures.

        Args:
            source: as in `lens_plugins.read`; an array of sound comes with its rate, ``(array, 16000)``.
            modality: what it is, where its name does not say it.
            clips: how many clips to take of a recording; None: as the lens was trained.
            settings: what describes the one input, by modality and field, as ``{"depth": {"kind": "depth_mm"}}``; see
                `InputSettings.per_input`.

        Raises:
            ConfigError: a setting that does not describe one input.
            InputError: it cannot be read, or it is a `ModalityInput` that was read with other settings.
            Unsupported: no lens for its modality is plugged.
        """
        if not isinstance(source, ModalityInput):
            return read_as(source, modality, lambda name: described(self._settings(name, clips), settings, name))
        given = read(source, modality)  # which compares the modalities
        lens = f"the {given.modality} lens of {self.name}" if given.modality in self._lenses else self.name
        check_settings(given, self._settings(given.modality), lens)
        return given

    def tokens(self, modality: str, batch: Tensor) -> Tensor:  # (B, ...) -> (B, N, D)
        """What goes into the ViT: latents of the lens, or the patch tokens of the host's own pictures."""
        if modality in self._lenses:
            return self._lenses[modality](batch).to(self.vit.device, self.vit.dtype)
        if not _read_by_hosts(modality):
            raise self._no_lens(modality)
        return self.vit.embed_image(batch)

    def class_rows(self, inputs: Sequence[Source], modality: str | Sequence[str | None] | None = None) -> Tensor:
        """See `Embedding.class_rows`."""
        every = Request(list(inputs), modality=modality)
        coming = (Request(source, modality=name) for source, name in every.named_sources)
        memory, rows = Memory(), []
        while batch := list(islice(coming, _EMBEDDED_TOGETHER)):
            for seen in self.look_batch(batch, memory):
                pooled = torch.cat([self.vit.pool(features[None]) for features in seen.features])  # (clips, D)
                rows.append(pooled.float().mean(0).cpu())
        return torch.stack(rows)

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

    def _read_clips(self, request: Request, memory: Memory) -> list[Clips]:
        """The clips of every input of a request."""
        found = []
        for source, modality in request.named_sources:
            if not isinstance(source, (str, os.PathLike)):
                found.append(clips_of(self.read(source, modality, clips=request.clips)))
                continue
            key = (os.fspath(source), modality, request.clips)
            clips = memory.read.pop(key, None) or clips_of(self.read(source, modality, clips=request.clips))
            memory.read[key] = clips  # put last: the oldest are forgotten
            found.append(clips)
        return found

    def _settings(self, modality: str, clips: int | None = None) -> FrozenConfig | None:
        """How inputs of a modality are read: as its lens was trained, or as the host sees pictures."""
        settings: FrozenConfig | None = self.image_settings
        if modality in self._lenses:
            settings = self._lenses[modality].config.input
        elif not _read_by_hosts(modality):
            raise self._no_lens(modality)
        clips = self.default_clips if clips is None else clips
        if settings is None or clips is None or not has_clips(settings):
            return settings
        return type(settings).from_dict({**settings.to_dict(), "clips": clips})

    def _check_place(self, place: str | None) -> str | None:
        if place is not None and place not in self.places:
            able = " or ".join(map(repr, self.places))
            raise Unsupported(f"{self.name} cannot fuse inputs with fuse={place!r}; it can with {able}.")
        return place

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
        if name in self.incapable:
            raise _Incapable(f"{self.__dict__.get('name', type(self).__name__)} cannot {self.incapable[name]}.")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, lenses: {self._plugged()})"


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
    if lens.config.tower is not None:
        raise DoesNotFit(
            f"The {lens.modality} lens brings a whole tower of width {lens.config.tower.width} of its own, which is "
            f"not in front of {vit.name} (width {vit.width}). {cure}"
        )
    if lens.num_tokens != vit.num_patches:
        raise DoesNotFit(
            f"The {lens.modality} lens writes {lens.num_tokens} latents; {vit.name} has positions for "
            f"{vit.num_patches} patches. {cure}"
        )


def _read_by_hosts(modality: str) -> bool:
    """Whether a host's own patch embedding reads this modality, without a lens."""
    return find_modality(modality).embedding is None


def _each(requests: Iterable[Any]) -> Iterable[Any]:
    """The requests one by one.

    Raises:
        InputError: one request where several go.
    """
    if isinstance(requests, (str, bytes, os.PathLike, Mapping, Request, Seen, ModalityInput, Image.Image)):
        raise InputError(
            f"Several requests go here, in a list, and this is one {type(requests).__name__}; generate answers one."
        )
    return requests


def _by_options(requests: Sequence[Request], shared: Mapping[str, Any]) -> list[tuple[dict[str, Any], list[int]]]:
    """Numbers of the requests under each set of generation options, in order of first occurrence."""
    groups: list[tuple[dict[str, Any], list[int]]] = []
    for number, request in enumerate(requests):
        options = {**shared, **request.generation}
        for known, numbers in groups:
            if same_options(known, options):
                numbers.append(number)
                break
        else:
            groups.append((options, [number]))
    return groups
