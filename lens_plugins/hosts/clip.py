"""A host that embeds: pictures and texts through transformers' CLIP, everything else through lenses with towers.

A lens of the vitlensL family brings a whole tower of its own, which ends in CLIP's space; it stands in front of
nothing. A lens without a tower is read by CLIP's own ViT, as pictures are. B inputs, C clips, D width of the ViT,
E width of the space (768 in ViT-L/14), T texts, L tokens.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from typing_extensions import Self

from ..catalog import find_modality
from ..errors import CheckpointError, ConfigError, DoesNotFit, InputError, Unsupported
from ..lens.lens import Lens
from ..lens.loading import load_lens
from ..splice import vit_from_clip
from .base import CAPABILITIES, Absent, Host, LoadOptions
from .clip_files import image_settings, lens_files, load_clip, load_words, outline_clip, outline_lenses
from .messages import Request
from .outline import Outline, Weights
from .passes import Clip, Clips, Memory
from .source import HostNotes, find_source, name_of
from .streaming import TOKENIZING

if TYPE_CHECKING:
    from ..inputs.base import Source
    from ..inputs.image import ImageSettings
    from .text_tower import HostTextTower, TextSpace

__all__ = ["ClipHost", "ClipTexts", "token_ids"]

_LOADING = Lock()  # of tokenizers; a lock in each host would keep it from being copied
_READ_TOGETHER = 64  # inputs of one batch
_PASS = 32  # clips or texts in one pass through a tower
_PARTS = ("vision_model", "visual_projection", "text_model", "text_projection")
_EMBEDS = "{}: it embeds (embed, classify, search). pocket-instructblip and other hosts with a language model write"


class ClipTexts:
    """The texts of a CLIP, in one space with its pictures; a `TextSpace`.

    Args:
        model: transformers' CLIPModel.
        load: gives its tokenizer; called with the first text.
        name: what errors call the host.
    """

    def __init__(self, model: Any, load: Callable[[], Any], name: str) -> None:
        self._model = model
        # what vectors depend on besides the ViT, for digests of a host
        self.head = nn.ModuleDict({name: getattr(model, name) for name in _PARTS if name != "vision_model"})
        self._load = load
        self._name = name
        self._tokenizer: Any = None

    @property
    def context(self) -> int:
        """How many tokens a text may have, both ends counted; what is longer is cut."""
        return int(self._model.config.text_config.max_position_embeddings)

    def ids(self, texts: Sequence[str], *, pad: bool = False) -> Tensor:
        """Token ids (T, L), int64, zeros after the end of a text.

        Args:
            texts: any number; an empty text is its two ends alone.
            pad: to the whole context (77), as CLIP's own tokenizer does; else to the longest text.

        Raises:
            CheckpointError: there is no tokenizer, or it is not this text tower's.
            InputError: something is no text.
        """
        return token_ids(self._words(), texts, self.context, pad=pad)

    @torch.no_grad()
    def features(self, ids: Tensor) -> Tensor:  # (T, L) -> (T, E)
        """Vectors of tokenised texts, before they get unit length.

        Raises:
            InputError: ids of another shape or kind, or beyond the vocabulary.
        """
        words = self._model.config.text_config.vocab_size
        whole = ids.dtype in (torch.int64, torch.int32)
        if ids.ndim != 2 or not 0 < ids.shape[1] <= self.context or not whole:
            raise InputError(
                f"Token ids have the shape {tuple(ids.shape)} and the type {ids.dtype}; {self._name} reads whole "
                f"numbers (T, L) with L up to {self.context}."
            )
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < words:
            raise InputError(f"Token ids reach from {int(ids.min())} to {int(ids.max())}; there are {words} words.")
        place = self._model.text_projection.weight.device
        # Offloaded weights are on the meta device, and accelerate takes the ids where it computes.
        ids = ids if place.type == "meta" else ids.to(place)
        # The mask is causal, so what follows a text's end cannot reach it and needs no mask of its own.
        parts = [self._model.get_text_features(part).pooler_output for part in ids.split(_PASS)]
        return torch.cat(parts).float() if len(ids) else torch.zeros(0, self._model.config.projection_dim)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(T, E) float32 unit vectors on the CPU; texts longer than the context are cut."""
        return normalize(self.features(self.ids(texts)).cpu(), dim=-1)

    def project(self, rows: Tensor) -> Tensor:  # (B, E) -> (B, E)
        """Vectors of pictures and lenses are in this space already: they get unit length."""
        return normalize(rows.to("cpu", torch.float32), dim=-1)

    def _words(self) -> Any:
        """The tokenizer, loaded once whichever thread asks first."""
        with _LOADING:
            if self._tokenizer is None:
                tokenizer = self._load()
                self._check(tokenizer)
                self._tokenizer = tokenizer
            return self._tokenizer

    def _check(self, tokenizer: Any) -> None:
        """Refuse the tokenizer of another model: its words would mean nothing, and its ends would not be found."""
        config = self._model.config.text_config
        row = token_ids(tokenizer, ["a"], self.context)[0].tolist()
        end = max(row) if config.eos_token_id == 2 else config.eos_token_id  # 2: the largest id, to transformers
        if len(tokenizer) > config.vocab_size or row[-1] != end or end in row[:-1]:
            raise CheckpointError(
                f"The tokenizer of {self._name} has {len(tokenizer)} words and ends texts with the id {row[-1]}; its "
                f"text tower has {config.vocab_size} words and looks for the id {end}."
            )


def token_ids(tokenizer: Any, texts: Sequence[str], context: int, *, pad: bool = False) -> Tensor:
    """Token ids (T, L), int64, zeros after the end of a text; L is that of the longest, or with `pad` the context.

    Raises:
        InputError: something is no text.
    """
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise InputError(f"{wrong[0]!r} is of the type {type(wrong[0]).__name__}; a text is a str.")
    # CLIP's own tokenizer resolves &amp; and the like, twice; transformers' does not
    clean = [html.unescape(html.unescape(text)) for text in texts]
    for text in clean:
        if broken := [letter for letter in text if "\ud800" <= letter <= "\udfff"]:
            raise InputError(f"A text has {broken[0]!r}, which is half a character; it cannot be read.")
    with TOKENIZING:
        rows = tokenizer(clean, truncation=True, max_length=context)["input_ids"] if clean else []
    ids = torch.zeros(len(rows), context if pad else max(map(len, rows), default=0), dtype=torch.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids


class ClipHost(Host):
    """CLIP, and lenses with towers that end in its space.

    ``host.embed``, ``classify`` and ``search`` take pictures, texts and every modality with a lens. It writes nothing.
    """

    label_scale: ClassVar[float] = 100.0  # CLIP's own, and that of ViT-Lens's examples
    places: ClassVar[tuple[str, ...]] = ()
    incapable: ClassVar[Mapping[str, str]] = {
        **CAPABILITIES,
        **dict.fromkeys(
            ("generate", "generate_batch", "generate_iter", "stream", "answer", "pieces"), _EMBEDS.format("write")
        ),
        **dict.fromkeys(("look", "look_batch"), _EMBEDS.format("be asked about what it has seen")),
    }
    generate: Any = Absent()
    generate_batch: Any = Absent()
    generate_iter: Any = Absent()
    stream: Any = Absent()
    answer: Any = Absent()
    pieces: Any = Absent()
    look: Any = Absent()
    look_batch: Any = Absent()

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        words: Callable[[], Any],
        image_settings: ImageSettings | None = None,
    ) -> None:
        vit = vit_from_clip(_clip(model).vision_model, f"the ViT of {name}")
        super().__init__(model, vit, name=name, image_settings=image_settings or _settings({}, model))
        self.texts = ClipTexts(model, words, name)
        self.text_tower = self.texts

    @classmethod
    def load(cls, source: str | Path, options: LoadOptions, modalities: Collection[str] | None = None) -> Self:
        """Load from a folder or a hub id, with the lenses that lie there.

        Args:
            source: as `find_source` gives it.
            options: dtype and device.
            modalities: of the lenses to load, since each brings a tower of its own; None: all.

        Raises:
            CheckpointError: a file is missing, damaged, or does not go with the others.
            ConfigError: 4 or 8 bit, or a ViT to share.
            DoesNotFit: a lens of another CLIP lies in the folder.
        """
        if options.quantization is not None or options.vit is not None:
            what = "a language model to quantise" if options.quantization else "a ViT that another host could bring"
            raise ConfigError(f"{source} is a CLIP, without {what}; leave out quantization and vit.")
        notes = HostNotes.of(source)
        model = load_clip(source, options)
        settings = image_settings(source, _clip(model).config.vision_config.image_size)
        host = cls(model, name=name_of(source), words=partial(load_words, source), image_settings=settings)
        files = lens_files(source)
        wanted = files.keys() if modalities is None else files.keys() & set(modalities)
        unread = sorted(notes.lens_settings.keys() - files.keys())
        if unread:
            raise ConfigError(f"lens_settings of {source} names {unread[0]!r}; lenses here: {', '.join(files)}.")
        for modality in (name for name in files if name in wanted):
            own = notes.lens_settings.get(modality, {})
            host.plug(load_lens(files[modality], modality, dtype=options.dtype, device=host.vit.device, **own))
        return host

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any = None) -> Self:
        """Drive a loaded CLIPModel; `processor` (transformers' own) brings its tokenizer and how it sees pictures.

        Raises:
            ConfigError: another model of the CLIP family, which lacks one of the two towers.
        """
        lacking = [part for part in _PARTS if not hasattr(model, part)]
        if lacking:
            raise ConfigError(f"A {type(model).__name__} has no {lacking[0]}; a host that embeds is a CLIPModel.")
        origin = str(_clip(model).config.name_or_path)
        words: Callable[[], Any] = partial(_words_of, origin)
        if (tokenizer := getattr(processor, "tokenizer", None)) is not None:
            words = partial(_given, tokenizer)
        seen = getattr(processor, "image_processor", None)
        settings = _settings({} if seen is None else seen.to_dict(), model)
        name = Path(origin).name or type(model).__name__
        return cls(model, name=name, words=words, image_settings=settings)

    @classmethod
    def outline(cls, source: str | Path) -> Outline:
        """See `OutlinedHost`."""
        from transformers import CLIPModel

        config, names = outline_clip(source)
        with torch.device("meta"):
            model = CLIPModel(config)
        parts = {name: module for name, module in model.named_children() if name in _PARTS}
        lenses = outline_lenses(source)
        parts |= {f"{modality} lens": lens for modality, (lens, _) in lenses.items()}
        files = tuple(dict.fromkeys(name for _, name in lenses.values()))
        if names is None:  # as transformers has them, and lenses beside
            return Outline(config, parts, (Weights(source), *([Weights(source, files)] if files else [])))
        return Outline(config, parts, (Weights(source, tuple(dict.fromkeys((*names, *files)))),))

    @property
    def width(self) -> int:
        """E, of the space."""
        return int(_clip(self.model).config.projection_dim)

    def check_lens(self, lens: Lens) -> None:
        """Everything that can keep a lens from this host: where it ends, or, without a tower, what the ViT reads.

        Raises:
            DoesNotFit: with both numbers.
        """
        if lens.config.tower is None:
            super().check_lens(lens)
        elif lens.config.tower.out != self.width:
            raise DoesNotFit(
                f"The tower of the {lens.modality} lens writes vectors of width {lens.config.tower.out}; those of "
                f"{self.name} are {self.width} wide. Use a lens that was trained beside this CLIP."
            )

    def read_latents(self, lens: Lens, latents: Tensor) -> Tensor:  # (B, N, D) -> (B, E)
        """Vectors of a lens's latents, before they get unit length."""
        if lens.tower is not None:
            return lens.tower.encode(latents)
        return self._project(self.vit.encode(latents))

    def take_text_tower(self, tower: HostTextTower) -> None:
        """CLIP has a text tower of its own, in whose space its pictures are.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self.name} has a text tower of its own; leave out text_tower and text_head.")

    @torch.no_grad()
    def features(self, modality: str, batch: Tensor) -> Tensor:  # (B, ...) or (B, C, ...) -> (B, E)
        """Vectors of inputs as `read` makes them, before they get unit length; those of several clips are averaged.

        Args:
            modality: "image", or one with a lens.
            batch: several inputs, with one axis more than one input has; with two axes more each is several clips.

        Returns:
            (B, E) float32, where the host computes.

        Raises:
            InputError: another number of axes.
            DoesNotFit: pictures of another size than the ViT reads.
            Unsupported: no lens for the modality is plugged.
        """
        if not isinstance(batch, Tensor):
            raise InputError(f"{modality} comes as a {type(batch).__name__}; `embed` takes files, `features` a tensor.")
        axes = find_modality(modality).ndim
        self._settings(modality)  # refuses a modality without a lens
        if batch.ndim == axes + 2:
            return self.features(modality, batch.flatten(0, 1)).unflatten(0, batch.shape[:2]).mean(dim=1)
        if batch.ndim != axes + 1:
            raise InputError(
                f"{self.name} reads {modality} in batches of {axes + 1} axes, or {axes + 2} with clips; this one has "
                f"the shape {tuple(batch.shape)}."
            )
        if len(batch) == 0:
            raise InputError(f"There are 0 inputs of {modality}; at least 1 is needed.")
        return torch.cat([self._pass(modality, part) for part in batch.split(_PASS)]).float()

    def _pass(self, modality: str, batch: Tensor) -> Tensor:  # (B, ...) -> (B, E)
        lens = self._lenses.get(modality)
        if lens is None:
            return self._project(self.vit.encode(self.vit.embed_image(batch)))
        if lens.tower is None:
            return self.read_latents(lens, self.tokens(modality, batch))
        return self.read_latents(lens, lens(batch)).to(self.vit.device)

    def _project(self, features: Tensor) -> Tensor:  # (B, T, D) -> (B, E)
        return _clip(self.model).visual_projection(self.vit.pool(features))

    @torch.no_grad()
    def class_rows(self, inputs: Sequence[Source], modality: str | Sequence[str | None] | None = None) -> Tensor:
        """Vectors (B, E) in CLIP's space before they get unit length; those of a recording's clips are averaged."""
        every = Request(list(inputs), modality=modality)
        coming = (Request(source, modality=name) for source, name in every.named_sources)
        memory, rows = Memory(), []
        while batch := list(islice(coming, _READ_TOGETHER)):
            read = [self._read_one(request, memory) for request in batch]
            vectors = self._vectors(read)
            rows += [torch.stack([vectors[clip] for clip in clips]).mean(dim=0) for clips in read]
            memory.keep({})
        return torch.stack(rows)

    def _read_one(self, request: Request, memory: Memory) -> Clips:
        """The clips of the one input of a request.

        Raises:
            Unsupported: there are several, which other hosts fuse.
        """
        if (count := len(request.sources)) != 1:
            raise Unsupported(f"{self.name} makes a vector of one input; {count} stand together. Give each by itself.")
        return self._read_clips(request, memory)[0]

    def _vectors(self, read: Sequence[Clips]) -> dict[Clip, Tensor]:
        """The vector of every distinct clip; clips of one modality and shape share a pass."""
        groups: dict[tuple[str, torch.Size], dict[Clip, None]] = {}
        for clip in (clip for clips in read for clip in clips):
            groups.setdefault((clip.modality, clip.tensor.shape), {})[clip] = None
        found: dict[Clip, Tensor] = {}
        for (modality, _), clips in groups.items():
            batch = torch.stack([clip.tensor for clip in clips])  # (B, ...)
            found.update(zip(clips, self.features(modality, batch).cpu()))
        return found

    def _tower(self, space: str | None, *, texts: bool) -> TextSpace | None:
        """CLIP has one space: "vision" and "text" both mean it."""
        return super()._tower(None if space == "vision" else space, texts=texts)


def _clip(model: nn.Module) -> Any:
    """A CLIPModel by its parts, which nn.Module hands out untyped."""
    return model


def _settings(values: Mapping[str, Any], model: nn.Module) -> ImageSettings:
    return image_settings(values, _clip(model).config.vision_config.image_size)


def _words_of(origin: str) -> Any:
    """The tokenizer where a loaded model came from; CLIP's common one where it was made by hand."""
    return load_words(find_source(origin) if origin else None)


def _given(tokenizer: Any) -> Any:
    return tokenizer
