"""SEED-LLaMA as a host: any modality -> codes -> a language model that reads and writes codes -> text and pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from typing_extensions import Self

from ...errors import CheckpointError, ConfigError, DoesNotFit
from ...inputs.image import ImageSettings
from ..base import Host, LoadOptions
from ..loading import load_tokenizer
from ..messages import Reply, Seen
from ..outline import Outline
from ..prefix import (
    SCORED,
    LanguageModel,
    best_of,
    check_one_beam,
    check_options,
    check_room,
    pad_rows,
    replies_each,
    run_generate,
    scores_of,
)
from ..source import HostNotes, name_of
from ..streaming import TOKENIZING, stream_text
from .constrain import WholePictures
from .detokenizer import UNCLIP, Detokenizer, Drawing
from .loading import SeedLlamaNotes, device_of, load_language_model, load_seed_tokenizer
from .messages import SeedReply
from .outline import outline
from .prompt import COMPOSE, DESCRIBE, IMAGINE, PLACE, PromptStyle, place_pictures, style_of
from .sampling import generate_seeded
from .tokenizer import SeedTokenizer
from .vocabulary import BEGIN, CodeVocabulary, Written

if TYPE_CHECKING:
    from ...inputs.base import Source
    from .chat import SeedChat

__all__ = ["GENERATION", "SeedLlama", "SeedLlamaHost"]

log = logging.getLogger(__name__)

GENERATION = {"do_sample": True, "temperature": 1.0, "top_p": 0.5, "max_new_tokens": 512}
"""Those of SEED-LLaMA's code. Where beams are asked for and sampling is not, nothing is sampled."""
_APART = 1_000_003  # between the seeds of candidates: those of `count` replies follow one another
_DRAWING = tuple(f.name for f in fields(Drawing))


class SeedLlama(nn.Module):
    """SEED's tokenizer and a language model whose vocabulary has its codes.

    Raises:
        DoesNotFit: the language model has fewer embeddings than the tokenizer has codes.
    """

    def __init__(self, tokenizer: SeedTokenizer, language_model: nn.Module) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.language_model = language_model
        # refused here already, where no text tokenizer is at hand yet
        rows = cast(LanguageModel, language_model).get_input_embeddings().num_embeddings
        if rows < tokenizer.codes:
            raise DoesNotFit(
                f"The language model has {rows} embeddings; the SEED tokenizer alone has {tokenizer.codes} codes."
            )


@dataclass(frozen=True)
class _Order:
    """What one call asks for, taken from its options."""

    force_image: bool
    seed: int
    drawing: Drawing
    generation: dict[str, Any]


class SeedLlamaHost(Host):
    """SEED-LLaMA 8B, 14B and hosts built like them.

    Several inputs each become a picture of their own in the prompt (``fuse="llm"``), which is how SEED-LLaMA composes.
    "vit" and "qformer" make one picture of all of them, as ViT-Lens fuses for InstructBLIP. Of a recording one clip is
    read unless `clips` says otherwise: each clip would be another picture.

    Besides transformers' options, `generate` and its kin take ``force_image=True`` (the reply begins with a whole
    picture), ``seed`` (of sampling and drawing), and the fields of `Drawing`: ``steps``, ``guidance``, ``size``,
    ``noise_level``, ``candidates``. Threads may share a host: the same seed gives each the same answer.

    Args:
        model: `SeedLlama`.
        tokenizer: the language model's text tokenizer; that of pictures is ``model.tokenizer``.
        style: what stands around instructions and replies; None: chosen by the language model's configuration.
        unclip: folder or hub id of the pipeline, loaded when the first picture is drawn; or a `Detokenizer`.
        drawing: how pictures are drawn unless a call says otherwise.
        offload: keep on the accelerator only the part of the pipeline that computes.

    Raises:
        CheckpointError: the text tokenizer lacks the tokens of pictures, or makes ids that the model does not have.
    """

    model: SeedLlama
    default_prompt: str = DESCRIBE
    default_place: ClassVar[str] = "llm"
    default_clips: ClassVar[int | None] = 1  # each clip would be another picture

    def __init__(
        self,
        model: SeedLlama,
        tokenizer: Any,
        *,
        name: str,
        style: PromptStyle | None = None,
        unclip: str | Path | Detokenizer = UNCLIP,
        drawing: Drawing | None = None,
        offload: bool = False,
        default_prompt: str | None = None,
    ) -> None:
        vit = model.tokenizer.vit
        # SEED's scripts and demo squash with bilinear; only its encode_image(path) used bicubic.
        settings = ImageSettings(size=vit.image_size, interpolation="bilinear")
        super().__init__(model, vit, name=name, image_settings=settings, default_prompt=default_prompt)
        self.tokenizer = tokenizer
        self.vocabulary = CodeVocabulary.of(
            tokenizer, codes=model.tokenizer.codes, queries=model.tokenizer.queries, source=name
        )
        rows = self.language_model.get_input_embeddings().num_embeddings
        if self.vocabulary.largest >= rows:
            raise CheckpointError(
                f"The text tokenizer does not go with the language model of {name}: it has a picture token of id "
                f"{self.vocabulary.largest}, the model has {rows} embeddings."
            )
        self.style = style or style_of(self.language_model.config)
        self.drawing = drawing or Drawing()
        self.offload = offload
        self._unclip = unclip
        self._loading = RLock()  # so that threads load one pipeline, not one each
        # of a folder's own options only those count that SEED-LLaMA's code leaves open
        own = self.language_model.generation_config.to_diff_dict()
        self.generation = {**GENERATION, **{key: own[key] for key in ("top_k", "repetition_penalty") if own.get(key)}}

    @classmethod
    def load(cls, source: str | Path, options: LoadOptions) -> Self:
        """Load a folder of ours, or a LLaMA of the SEED-LLaMA family with the released parts around it.

        Raises:
            CheckpointError: a part is missing or damaged, or does not go with the others.
            DoesNotFit: `options.vit` is not this host's ViT.
        """
        notes = SeedLlamaNotes.of(source)
        llm = notes.part("llm", source)
        words = load_tokenizer(notes.part("words", source) if notes.words else llm)
        language_model = load_language_model(llm, options)
        pictures = load_seed_tokenizer(notes.part("tokenizer", source), options, device_of(language_model))
        return cls(
            SeedLlama(pictures, language_model),
            words,
            name=name_of(source),
            style=style_of(language_model.config, notes.prompt_style),
            unclip=notes.place("unclip", source),
            drawing=Drawing.from_dict(notes.drawing),
            default_prompt=HostNotes.of(source).default_prompt,
        )

    @classmethod
    def outline(cls, source: str | Path) -> Outline:
        """See `OutlinedHost`."""
        return outline(source)

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether this is a `SeedLlama`."""
        return isinstance(model, SeedLlama)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any = None) -> Self:
        """Drive a `SeedLlama`; `processor` is the language model's text tokenizer.

        Raises:
            CheckpointError: a bare language model, or no text tokenizer and no folder to read one from.
        """
        if not isinstance(model, SeedLlama):
            raise CheckpointError(
                f"A {type(model).__name__} alone is no SEED-LLaMA: give load_host(SeedLlama(tokenizer, model)), "
                "or load_host with its folder."
            )
        origin = str(cast(LanguageModel, model.language_model).config.name_or_path)
        if processor is None and not origin:
            raise CheckpointError("A SeedLlama without a text tokenizer: give load_host(model, processor=tokenizer).")
        return cls(model, processor or load_tokenizer(origin), name=origin or "SEED-LLaMA")

    @property
    def language_model(self) -> LanguageModel:
        """The language model."""
        return cast(LanguageModel, self.model.language_model)

    @property
    def detokenizer(self) -> Detokenizer:
        """What draws pictures; loaded now if it was not before.

        Raises:
            CheckpointError: its weights cannot be loaded.
            MissingDependency: diffusers is not installed.
            DoesNotFit: it reads image embeddings of another width.
        """
        with self._loading:
            if not isinstance(self._unclip, Detokenizer):
                device = self.model.tokenizer.codebook.weight.device
                dtype = self.language_model.dtype
                made = Detokenizer.load(self._unclip, dtype=dtype, device=device, offload=self.offload)
                own = self.model.tokenizer.embedding_width
                if made.embedding_width != own:
                    raise DoesNotFit(
                        f"{made.name} reads image embeddings of {made.embedding_width}; {self.name} makes {own}."
                    )
                self._unclip = made
            return self._unclip

    def to(self, device: str | torch.device) -> Self:
        """See `Host.to`; what draws moves along, unless it is offloaded."""
        super().to(device)
        if isinstance(self._unclip, Detokenizer) and not self.offload:
            self._unclip.pipeline.to(device)
        return self

    # Codes

    def encode_codes(self, inputs: Source | Sequence[Source]) -> Tensor:
        """Codes of each input, a file or array or several: (B, Q) int64 on the CPU."""
        seen = self.look(inputs, fuse="llm")
        return torch.stack([codes for one in self._codes([seen]) for codes in one])

    @torch.no_grad()
    def decode_codes(self, codes: Tensor, *, seed: int = 0, **drawing: Any) -> list[Image.Image]:
        """One picture for each row of codes.

        Args:
            codes: (B, Q), whole numbers below the size of the codebook.
            seed: a picture depends on its own codes and this alone; that of a reply draws its pictures again.
            drawing: fields of `Drawing`.

        Raises:
            InputError: not codes of this host.
            ConfigError: an unknown or wrong field of `Drawing`.
        """
        return self._pictures(codes, [seed] * len(codes), self._drawing(drawing))

    # Asking

    def imagine(
        self,
        inputs: Source | Sequence[Source] | Seen,
        prompt: str | None = None,
        *,
        count: int = 1,
        seed: int = 0,
        fuse: str | None = None,
        clips: int | None = None,
        **options: Any,
    ) -> list[SeedReply]:
        """Pictures of one or several inputs: the same, an edit of it ("Make it Halloween style."), or all in one.

        Args:
            prompt: what to draw; None: the input itself, or a combination of several.
            count: how many replies, each of its own seed from `seed` upwards.
            options: as in `generate`; unless `max_new_tokens` says otherwise, a reply ends with its picture.

        Returns:
            `count` replies, each beginning with a picture.
        """
        if count < 1:
            raise ConfigError(f"count is {count}; it must be at least 1.")
        # looked at once for all replies
        seen = self.look(inputs, fuse=fuse, clips=clips)
        prompt = self.prompt_of(prompt, len(seen.features))
        options.setdefault("max_new_tokens", self.vocabulary.queries + 1)
        replies = [self.generate(seen, prompt, force_image=True, seed=seed + k, **options) for k in range(count)]
        return cast("list[SeedReply]", replies)

    def prompt_of(self, prompt: str | None, pictures: int) -> str:
        """What `imagine` asks: the prompt given, or one that draws the input or combines several."""
        if prompt is not None:
            return prompt
        return IMAGINE if pictures == 1 else f"{', '.join([PLACE] * pictures)}, {COMPOSE}"

    def chat(self) -> SeedChat:
        """A conversation in which earlier pictures stay as their codes."""
        from .chat import SeedChat

        return SeedChat(self)

    def answer(self, seen: Sequence[Seen], prompts: Sequence[str], **generation: Any) -> list[Reply]:
        """Answer a batch: all inputs become codes together, all pictures are drawn together."""
        texts = [self.style.render(text) for text in self.place(seen, prompts)]
        replies, _ = self.reply(texts, **generation)
        return [*replies]

    def pieces(self, seen: Seen, prompt: str, **generation: Any) -> Iterator[str]:
        """Answer one request in pieces of text, with one beam."""
        check_one_beam(generation)
        order = self._order(generation)
        (text,) = self.place([seen], [prompt])
        ids, mask = self._batch([self._opened(self.style.render(text), order)])
        yield from stream_text(partial(self._generate, ids, mask, order), _TextOnly(self.tokenizer, self.vocabulary))

    def decode(self, ids: Tensor) -> str:
        """Text of new token ids (T,); pictures are left out."""
        with TOKENIZING:
            words = _TextOnly(self.tokenizer, self.vocabulary)
            return words.decode(ids.tolist(), skip_special_tokens=True).strip()

    def place(self, seen: Sequence[Seen], prompts: Sequence[str]) -> list[str]:
        """Instructions with the codes of what was seen put in their places."""
        return [
            place_pictures(prompt, [self.vocabulary.text(picture) for picture in pictures])
            for prompt, pictures in zip(prompts, self._codes(seen))
        ]

    def reply(self, texts: Sequence[str], **generation: Any) -> tuple[list[SeedReply], list[Written]]:
        """Replies to whole prompts, codes in place; and the same as written, for the history of a conversation."""
        order = self._order(generation)
        written = self._write(texts, order)
        replies = self._drawn(written, order)
        several = replies_each(order.generation)
        return best_of(replies, several) if several > 1 else replies, [one for one, _ in written]

    def write(self, texts: Sequence[str], **generation: Any) -> list[Written]:
        """What the language model writes to whole prompts; no picture is drawn."""
        return [written for written, _ in self._write(texts, self._order(generation))]

    # Steps

    def _write(self, texts: Sequence[str], order: _Order) -> list[tuple[Written, float | None]]:
        """What is written to each prompt, and how likely it is where several replies are asked for."""
        ids, mask = self._batch([self._opened(text, order) for text in texts])
        scores: list[float | None] = [None] * len(texts)
        if replies_each(order.generation) == 1:
            made = self._generate(ids, mask, order)
        else:
            scored = self._generate(ids, mask, order, **SCORED)
            made, scores = scored.sequences, scores_of(self.language_model, scored).tolist()
        with TOKENIZING:
            rows = [row.tolist() for row in made[:, ids.shape[1] :]]
            written = [self.vocabulary.read(row, self.tokenizer, forced=order.force_image) for row in rows]
        return list(zip(written, scores))

    @torch.no_grad()
    def _codes(self, seen: Sequence[Seen]) -> list[list[Tensor]]:
        """Codes (Q,) of every unit seen; equal units pass the Q-Former once, those of one length together."""
        units = {id(unit): unit for one in seen for unit in one.features}
        lengths: dict[int, list[int]] = {}
        for key, unit in units.items():
            lengths.setdefault(len(unit), []).append(key)
        codes: dict[int, Tensor] = {}
        for keys in lengths.values():
            codes.update(zip(keys, self.model.tokenizer.quantize(torch.stack([units[key] for key in keys])).cpu()))
        return [[codes[id(unit)] for unit in one.features] for one in seen]

    def _order(self, options: Mapping[str, Any]) -> _Order:
        """Sort the options of a call into those of its reader."""
        check_options(options)
        rest = dict(options)
        force_image, seed = bool(rest.pop("force_image", False)), rest.pop("seed", None)
        seed = int(torch.randint(2**31, ())) if seed is None else seed
        drawing = self._drawing({name: rest.pop(name) for name in _DRAWING if name in rest})
        # who asks for beams means the likeliest answer
        defaults = dict(self.generation)
        if "num_beams" in rest and "do_sample" not in rest:
            rest["do_sample"] = False
        if not rest.get("do_sample", defaults["do_sample"]):
            defaults = {"do_sample": False, "max_new_tokens": defaults["max_new_tokens"]}
        order = _Order(force_image, seed, drawing, {**defaults, **rest})
        # its beginning is in the prompt
        need = self.vocabulary.queries + 1
        if force_image and order.generation["max_new_tokens"] < need:
            raise ConfigError(
                f"max_new_tokens is {order.generation['max_new_tokens']}; a picture alone takes {need} with its end."
            )
        return order

    def _drawing(self, given: Mapping[str, Any]) -> Drawing:
        try:
            return replace(self.drawing, **given)
        except TypeError as error:
            raise ConfigError(f"A picture is drawn with {', '.join(_DRAWING)}: {error}.") from error

    def _opened(self, text: str, order: _Order) -> str:
        return text + BEGIN if order.force_image else text

    def _batch(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask (B, T), padded on the left."""
        # once, at the very start of a conversation: the style renders none
        start = self.tokenizer.bos_token or ""
        with TOKENIZING:
            ids = [self.tokenizer(start + text, add_special_tokens=False)["input_ids"] for text in texts]
        rows = [torch.tensor(row, dtype=torch.long) for row in ids]
        cure = "Shorten the conversation, or fuse the inputs."
        check_room(max(map(len, rows)), self.language_model, "Pictures and prompt", self.name, cure)
        device = device_of(self.language_model)
        padded, mask = pad_rows(rows, value=self._pad)
        return padded.to(device), mask.to(device)

    @property
    def _pad(self) -> int:
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(id_ for id_ in known if id_ is not None)

    def _generate(self, ids: Tensor, mask: Tensor, order: _Order, **how: Any) -> Any:  # -> (B, prompt and new tokens)
        options = {"pad_token_id": self._pad, **order.generation, **how}
        if order.force_image:
            from transformers import LogitsProcessorList

            whole = WholePictures(
                self.vocabulary,
                self.language_model.get_output_embeddings().out_features,
                forced=True,
                prompt_length=ids.shape[1],
                max_new_tokens=options["max_new_tokens"],
            )
            options["logits_processor"] = LogitsProcessorList([*options.get("logits_processor", ()), whole])
        seeded = partial(generate_seeded, self.language_model, order.seed)
        return run_generate(seeded, input_ids=ids, attention_mask=mask, **options)

    def _drawn(self, written: Sequence[tuple[Written, float | None]], order: _Order) -> list[SeedReply]:
        """Draw the pictures of all replies together; each with its reply's seed, so neighbours change nothing."""
        several = replies_each(order.generation)
        seeds = [order.seed + number % several for number in range(len(written))]  # as its words were sampled
        asked = [
            (part, seed) for (one, _), seed in zip(written, seeds) for part in one.parts if isinstance(part, Tensor)
        ]
        pictures: Iterator[Image.Image] = iter(())
        if asked:
            codes = torch.stack([part for part, _ in asked])
            pictures = iter(self._pictures(codes, [seed for _, seed in asked], order.drawing))
        replies = []
        for (one, score), seed in zip(written, seeds):
            for problem in one.problems:
                log.warning("%s left out a malformed picture: %s.", self.name, problem)
            own = [part for part in one.parts if isinstance(part, Tensor)]
            parts = [part if isinstance(part, str) else next(pictures) for part in one.parts]
            replies.append(SeedReply.of(parts, one.text, own, one.problems, seed, score))
        return replies

    @torch.no_grad()
    def _pictures(self, codes: Tensor, seeds: Sequence[int], how: Drawing) -> list[Image.Image]:  # codes: (B, Q)
        """Draw codes; of several candidates each keep the one that reads most like them (as DALL·E ranks by CLIP)."""
        embeds = self.model.tokenizer.image_embeds(codes).repeat_interleave(how.candidates, 0)  # (B·K, E)
        apart = [seed + k * _APART for seed in seeds for k in range(how.candidates)]
        drawn = self.detokenizer.draw(embeds, apart, how)
        if how.candidates == 1:
            return drawn
        # how the host itself would read what was drawn, beside what it was drawn of
        read = self.model.tokenizer.image_embeds(self.encode_codes(drawn))
        normalised = self.detokenizer.normalised
        alike = F.cosine_similarity(normalised(read), normalised(embeds), dim=1)
        best = alike.view(-1, how.candidates).argmax(1).tolist()
        return [drawn[number * how.candidates + k] for number, k in enumerate(best)]


class _TextOnly:
    """A tokenizer for the streamer, which does not read pictures out."""

    def __init__(self, tokenizer: Any, vocabulary: CodeVocabulary) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary

    def decode(self, ids: Any, **how: Any) -> str:
        return self._tokenizer.decode([int(id_) for id_ in ids if not self._vocabulary.is_picture(int(id_))], **how)
