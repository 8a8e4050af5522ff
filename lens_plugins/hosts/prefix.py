"""A language model that reads vectors before, or inside, a prompt.

`LanguageHost` is a host around such a model: ids of the prompt, room, padding, generation, streaming. Its children make
the vectors, as the Q-Former of `instructblip.py` does. The functions before it also serve hosts that read ids alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, ConfigError, InputError
from ..splice import FrozenViT
from .base import Host
from .loading import load_tokenizer
from .messages import Reply, Seen
from .streaming import TOKENIZING, cut_at, stopping_at, stream_text

if TYPE_CHECKING:
    from ..inputs.image import ImageSettings

__all__ = [
    "HERE",
    "SCORED",
    "LanguageHost",
    "LanguageModel",
    "best_of",
    "check_ids",
    "check_one_beam",
    "check_options",
    "check_room",
    "mean_chance",
    "pad_rows",
    "replies_each",
    "run_generate",
    "sampled",
    "scores_of",
    "with_penalty",
]

HERE = -1
"""Stands among the ids of a prompt where vectors are read; without one they are read before the prompt."""

R = TypeVar("R", bound=Reply)

_FROM_FOLDER = (
    "num_beams", "max_new_tokens", "min_new_tokens", "repetition_penalty", "length_penalty", "do_sample", "top_p",
    "top_k", "temperature", "no_repeat_ngram_size",
)  # fmt: skip
_OURS = {
    "inputs", "input_ids", "inputs_embeds", "attention_mask", "past_key_values", "streamer", "return_dict_in_generate",
    "custom_generate", "trust_remote_code", "assistant_model",
}  # fmt: skip
"""What a host gives `generate` by itself, and what would load and run code of a repository."""
_VICUNA_PAD = 32000  # id of the [PAD] that LAVIS adds to Vicuna's tokenizer
_END = 2  # "</s>" of LLaMA, with which LAVIS's prompts for Vicuna begin


class LanguageModel(Protocol):
    """What is asked of a language model in transformers' classes."""

    config: Any
    generation_config: Any
    dtype: torch.dtype
    base_model: Any  # without its head

    def __call__(self, **inputs: Any) -> Any: ...

    def generate(self, **options: Any) -> Any: ...

    def get_input_embeddings(self) -> nn.Embedding: ...

    def get_output_embeddings(self) -> nn.Linear: ...


# For every host that generates


def check_one_beam(generation: Mapping[str, Any]) -> None:
    """Refuse to stream several beams.

    Raises:
        ConfigError: `num_beams` is another number than 1.
    """
    beams = generation.get("num_beams", 1)
    if beams != 1:
        raise ConfigError(f"Streaming runs 1 beam, got num_beams={beams}.")


def check_room(length: int, model: LanguageModel, what: str, name: str, cure: str) -> None:
    """Refuse a prompt that leaves no position for an answer.

    Args:
        length: positions of vectors and prompt.
        model: the language model.
        what: names what takes the positions, in the plural.
        name: of the host.
        cure: what would make it shorter.

    Raises:
        InputError: with both numbers.
    """
    # T5 has no such number: its positions are relative
    room = getattr(model.config, "max_position_embeddings", None)
    if room is not None and length >= room:
        raise InputError(f"{what} take {length} positions; the language model of {name} has {room}. {cure}")


def pad_rows(rows: Sequence[Tensor], *, side: str = "left", value: float = 0.0) -> tuple[Tensor, Tensor]:
    """Rows of unequal lengths as one batch.

    Args:
        rows: B of (L, ...).
        side: where the padding stands, "left" or "right".
        value: what it is.

    Returns:
        The batch (B, L, ...) and its mask (B, L), 1 where a row stands.
    """
    # the mask is told by the lengths: a padding of 0 may be a value like any other
    pad = nn.utils.rnn.pad_sequence
    mask = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
    return (
        pad(list(rows), batch_first=True, padding_value=value, padding_side=side),
        pad(mask, batch_first=True, padding_side=side),
    )


def check_options(generation: Mapping[str, Any]) -> None:
    """Refuse generation options that are the host's own, would run code of others, or are no counts.

    Raises:
        ConfigError: names the option.
    """
    for name in _OURS & generation.keys():
        raise ConfigError(f"The generation option {name} is not the caller's to give; leave it out.")
    for name in ("num_beams", "num_return_sequences"):
        count = generation.get(name)
        if count is not None and not (isinstance(count, int) and count >= 1):
            raise ConfigError(f"{name} is {count!r}; it must be a whole number of at least 1.")


def run_generate(generate: Callable[..., Any], **options: Any) -> Any:
    """Call transformers' `generate`.

    Raises:
        ConfigError: it refuses the options, or fails on what they hold.
    """
    # MemoryError and RuntimeError are no fault of the options and pass
    try:
        return generate(**options)
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise ConfigError(f"transformers refuses these generation options: {error}") from error


def sampled(options: dict[str, Any]) -> dict[str, Any]:
    """Options to which LAVIS's `top_p` is added where sampling is asked for."""
    return {"top_p": 0.9, **options} if options.get("do_sample") else options


def with_penalty(generation: dict[str, Any]) -> dict[str, Any]:
    """Options with the repetition penalty as a processor of our own, which counts new tokens alone as LAVIS does.

    transformers' option takes as many ids as a row is padded for its prompt and spares them, but with embeddings the
    ids are the new tokens alone: a padded row would repeat itself where the same row by itself does not.
    """
    penalty = generation.get("repetition_penalty", 1.0)
    if penalty == 1:
        return generation
    from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

    processors = [RepetitionPenaltyLogitsProcessor(float(penalty)), *generation.get("logits_processor", ())]
    return {**generation, "repetition_penalty": 1.0, "logits_processor": LogitsProcessorList(processors)}


SCORED: dict[str, Any] = {"return_dict_in_generate": True, "output_scores": True}
"""Options of `generate` that `scores_of` needs."""


def replies_each(generation: Mapping[str, Any]) -> int:
    """How many replies to one request the options ask for."""
    return generation.get("num_return_sequences") or 1


def scores_of(model: Any, made: Any) -> Tensor:
    """The mean logarithm of the chances of each reply's tokens (B,), as beams are ranked by.

    Args:
        model: whose `generate` was called with `SCORED`.
        made: what it returned.
    """
    # beams bring theirs, with the length penalty in it
    if getattr(made, "sequences_scores", None) is not None:
        return made.sequences_scores
    chances = model.compute_transition_scores(made.sequences, made.scores, normalize_logits=True)  # (B, T)
    return mean_chance(chances, made.sequences[:, -chances.shape[1] :], model.generation_config.pad_token_id)


def mean_chance(chances: Tensor, ids: Tensor, pad: int | None) -> Tensor:
    """The mean of logarithms (B, T) over what was written: padding (B, T) follows the end and does not count."""
    written = ids != (-1 if pad is None else pad)
    return chances.masked_fill(~written, 0.0).sum(-1) / written.sum(-1).clamp(min=1)


def best_of(replies: Sequence[R], several: int) -> list[R]:
    """The likeliest of each request's replies, which carries all of them, best first.

    Args:
        replies: with their scores; those of one request follow one another.
        several: replies to each request.
    """
    best = []
    for start in range(0, len(replies), several):
        ranked = sorted(replies[start : start + several], key=lambda reply: reply.score or 0.0, reverse=True)
        # a copy, so that no reply carries itself
        first = copy(ranked[0])
        first.alternatives = tuple(ranked)
        best.append(first)
    return best


def check_ids(ids: Sequence[int], embeddings: nn.Embedding, reader: str) -> None:
    """Refuse ids that a reader has no embedding for.

    Raises:
        CheckpointError: with the largest id and the number of embeddings.
    """
    if ids and max(ids) >= embeddings.num_embeddings:
        raise CheckpointError(
            f"The tokenizer does not go with {reader}: it makes id {max(ids)}, the model has "
            f"{embeddings.num_embeddings} embeddings."
        )


class LanguageHost(Host):
    """A host whose language model reads vectors before, or inside, a prompt.

    A kind of host gives `language_model` and `prefixes`; it may give `prompt_ids`, where vectors stand inside.

    Args:
        tokenizer: the language model's; None: looked for where the model came from, when text is first needed.

    The other arguments are those of `Host`.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}
    """Generation options of this kind; a folder's generation_config.json overrides them, and a call overrides both."""
    stop: str | None = None
    """Where an answer ends, besides the language model's own end."""

    def __init__(
        self,
        model: nn.Module,
        vit: FrozenViT,
        *,
        name: str,
        tokenizer: Any = None,
        image_settings: ImageSettings | None = None,
        default_prompt: str | None = None,
    ) -> None:
        super().__init__(model, vit, name=name, image_settings=image_settings, default_prompt=default_prompt)
        self.tokenizer = tokenizer
        self.generation = {**self.defaults, **_own_generation(model)}

    @property
    @abstractmethod
    def language_model(self) -> LanguageModel:
        """What reads vectors and prompt."""

    @abstractmethod
    def prefixes(self, seen: Sequence[Seen], prompts: Sequence[str]) -> list[Tensor]:
        """The vectors (u·Q, H) of every request: Q of each unit seen, in order."""

    # Tensor-level calls

    def logits(
        self, prefix: Tensor | Sequence[Tensor], input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Scores of the language model.

        Args:
            prefix: (B, Q, H), or a list of such, fused before the language model.
            input_ids: (B, T) of the prompt. Where an id is `HERE` the vectors stand, an equal part of them at each;
                without one they stand before the prompt.
            attention_mask: (B, T), 1 where there is text; None: everywhere.

        Returns:
            (B, Q + T, V) over prefix and prompt; for T5, which reads those in its encoder, (B, 1, V) of the decoder's
            first step.
        """
        embeds, mask = self._embedded(prefix, input_ids, attention_mask)
        model = self.language_model
        # T5 reads vectors and prompt in its encoder, so only the decoder's first step is left to score
        if model.config.is_encoder_decoder:
            start = mask.new_full((len(mask), 1), model.config.decoder_start_token_id)
            return model(inputs_embeds=embeds, attention_mask=mask, decoder_input_ids=start).logits
        # without padding the model counts positions by itself, as in the recordings
        if bool(mask.all()):
            return model(inputs_embeds=embeds, attention_mask=mask).logits
        places = (mask.cumsum(-1) - 1).clamp(min=0)  # padding takes no position, as in `generate`
        return model(inputs_embeds=embeds, attention_mask=mask, position_ids=places).logits

    def generate_from_prefix(
        self,
        prefix: Tensor | Sequence[Tensor],
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        **generation: Any,
    ) -> Tensor:
        """New token ids (B, new tokens) after prefix and prompt; `generation` goes to transformers unread.

        Arguments as in `logits`. None of the host's defaults are added here.
        """
        return self._generate(*self._embedded(prefix, input_ids, attention_mask), **generation)

    # Text-level steps

    def answer(self, seen: Sequence[Seen], prompts: Sequence[str], **generation: Any) -> list[Reply]:
        """Answer a batch in one `generate`; decoder-only models are padded on the left, T5 on the right."""
        embeds, mask = self._batch(seen, prompts)
        options = self._options(generation)
        several = replies_each(options)
        if several == 1:
            return [Reply(self.decode(row)) for row in self._generate(embeds, mask, **options)]
        # T5's sequences begin with its start token, which the scores do not count
        made: Any = self._generate(embeds, mask, **options, **SCORED)
        start = 1 if self.language_model.config.is_encoder_decoder else 0
        scored = zip(made.sequences[:, start:], scores_of(self.language_model, made).tolist())
        return best_of([Reply(self.decode(row), score=score) for row, score in scored], several)

    def pieces(self, seen: Seen, prompt: str, **generation: Any) -> Iterator[str]:
        """Answer one request in pieces, with one beam."""
        check_one_beam(generation)
        embeds, mask = self._batch([seen], [prompt])
        options = self._options({**generation, "num_beams": 1})
        made = stream_text(partial(self._generate, embeds, mask), self._words(), **options)
        yield from cut_at(made, self.stop) if self.stop else made

    def prompt_ids(self, prompt: str, count: int = 1) -> list[int]:
        """The prompt as the language model reads it: raw, and for LAVIS's Vicuna with id 2 in front.

        Args:
            prompt: as the user gave it.
            count: how many things are seen; a kind whose vectors stand inside puts `HERE` that many times.

        Raises:
            CheckpointError: the tokenizer makes ids that the model has no embeddings for.
        """
        # the words after id 2 are tokenised alone: with a <s> in front Vicuna answers something else
        with TOKENIZING:
            vicuna = self._words().convert_tokens_to_ids("[PAD]") == _VICUNA_PAD
        ids = self._ids(prompt, special=not vicuna)
        return [_END, *ids] if vicuna else ids

    def decode(self, ids: Tensor) -> str:
        """Text of new token ids (T,)."""
        tokenizer = self._words()
        with TOKENIZING:
            # LAVIS reads Vicuna's id 0 as the end
            if tokenizer.convert_ids_to_tokens(0) == "<unk>":
                ids = ids[ids != 0]
            text = tokenizer.decode(ids, skip_special_tokens=True)
        return (text.partition(self.stop)[0] if self.stop else text).strip()

    def check_tokenizers(self) -> None:
        """Tokenise the default prompt for every part that reads text.

        Raises:
            CheckpointError: a tokenizer is absent, or makes ids that the embeddings do not have.
        """
        self.prompt_ids(self.default_prompt)

    def _ids(self, text: str, *, special: bool) -> list[int]:
        tokenizer = self._words()
        with TOKENIZING:
            ids = list(tokenizer(text, add_special_tokens=special)["input_ids"])
        check_ids(ids, self.language_model.get_input_embeddings(), f"the language model of {self.name}")
        return ids

    def _words(self) -> Any:
        """The tokenizer, loaded now if it was not before."""
        if self.tokenizer is None:
            self.tokenizer = load_tokenizer(self._origin("the tokenizer of its language model"))
        return self.tokenizer

    def _origin(self, missing: str) -> str:
        """Where a wrapped model came from.

        Raises:
            CheckpointError: from nowhere, so that `missing` cannot be found.
        """
        origin = cast(Any, self.model).config.name_or_path
        if not origin:
            raise CheckpointError(
                f"{self.name} was given as a loaded model, which lacks {missing}. Give load_host(model, processor=...)."
            )
        return str(origin)

    def _embedded(
        self, prefix: Tensor | Sequence[Tensor], input_ids: Tensor, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (B, Q + T, H) and mask (B, Q + T) of prefix and prompt."""
        prefix = prefix if isinstance(prefix, Tensor) else torch.cat(list(prefix), dim=1)
        ids = input_ids.to(prefix.device)
        if len(prefix) != len(ids):
            raise InputError(f"There are {len(prefix)} prefixes for {len(ids)} prompts; one goes with each.")
        # HERE has no embedding; what stands in for it is cut out again below
        text = self.language_model.get_input_embeddings()(ids.clamp(min=0))  # (B, T, H)
        prefix = prefix.to(text.device, text.dtype)
        mask = torch.ones_like(ids) if attention_mask is None else attention_mask.to(ids.device)
        rows = [_inserted(*row) for row in zip(prefix, text, ids, mask)]
        lengths = sorted({len(row) for row, _ in rows})
        if len(lengths) > 1:
            raise InputError(f"Prompts of one batch take {lengths[0]} to {lengths[-1]} positions; pad their ids alike.")
        embeds, masks = zip(*rows)
        return torch.stack(embeds), torch.stack(masks).to(text.device)

    @torch.no_grad()
    def _batch(self, seen: Sequence[Seen], prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, L, H) and mask (B, L) of vectors and prompts of unequal lengths."""
        rows = []
        for one, prefix, prompt in zip(seen, self.prefixes(seen, prompts), prompts):
            # an empty prompt has no ids, whose type torch would guess wrongly
            ids = torch.tensor([self.prompt_ids(prompt, len(one.features))], dtype=torch.long)  # (1, T)
            rows.append(self._embedded(prefix[None], ids, None)[0][0])
        cure = "Shorten the prompt, or fuse the inputs earlier."
        check_room(max(map(len, rows)), self.language_model, "Inputs and prompt", self.name, cure)
        return pad_rows(rows, side="right" if self.language_model.config.is_encoder_decoder else "left")

    def _options(self, generation: dict[str, Any]) -> dict[str, Any]:
        """A call's options over the host's own, and where an answer ends.

        Raises:
            ConfigError: see `check_options`.
        """
        check_options(generation)
        if generation.get("guidance_scale") not in (None, 1):
            raise ConfigError("guidance_scale needs a prompt of ids alone, and this one has vectors; leave it out.")
        options = sampled({**self.generation, **generation})
        if self.stop is not None:
            others = options.get("stopping_criteria") or ()
            options["stopping_criteria"] = stopping_at(self.stop, self._words(), others)
        return options

    def _generate(self, embeds: Tensor, mask: Tensor, **generation: Any) -> Tensor:  # -> (B, new tokens)
        model = self.language_model
        # over several devices the model's own generate does this before it calls the language model's
        if getattr(self.model, "hf_device_map", None):
            cast(Any, self.model)._preprocess_accelerate()
        # transformers warns on every call where no padding is set, and pads with the end token
        if model.generation_config.pad_token_id is None and "pad_token_id" not in generation:
            generation["pad_token_id"] = getattr(self.tokenizer, "pad_token_id", None) or 0
        ids = run_generate(
            lambda **options: model.generate(inputs_embeds=embeds, attention_mask=mask, **with_penalty(options)),
            **generation,
            **_read_once(model, embeds, mask, generation),
        )
        # asked for with its scores, it comes as it is
        if not isinstance(ids, Tensor):
            return ids
        return ids[:, 1:] if model.config.is_encoder_decoder else ids  # T5 begins with its start token


@torch.no_grad()
def _read_once(model: LanguageModel, embeds: Tensor, mask: Tensor, generation: Mapping[str, Any]) -> dict[str, Any]:
    """The cache of all positions but the last, for `generate`, which would otherwise read them once for every beam.

    Args:
        embeds: (B, L, H) of vectors and prompt.
        mask: (B, L).
        generation: the call's options; nothing is read where one row is made of each, or where they bring a cache.
    """
    given = (generation.get(name) for name in ("past_key_values", "cache_implementation", "use_cache"))
    rows = max(generation.get("num_beams") or 1, generation.get("num_return_sequences") or 1)
    if model.config.is_encoder_decoder or rows == 1 or embeds.shape[1] == 1 or any(one is not None for one in given):
        return {}
    from transformers import DynamicCache

    # the head is left out: nobody asks for the scores of these positions
    cache = DynamicCache(config=model.config)
    places = (mask.cumsum(-1) - 1).clamp(min=0)  # padding takes no position
    model.base_model(
        inputs_embeds=embeds[:, :-1],
        attention_mask=mask[:, :-1],
        position_ids=places[:, :-1],
        past_key_values=cache,
        use_cache=True,
    )
    cache.batch_repeat_interleave(rows)
    return {"past_key_values": cache}


def _inserted(prefix: Tensor, text: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (Q, H) put among embeddings (T, H) where an id (T,) is `HERE`, or before all; and the mask that results.

    Raises:
        InputError: the vectors cannot be shared out evenly.
    """
    places = (ids == HERE).nonzero().flatten().tolist()
    ones = mask.new_ones(len(prefix))
    if not places:
        return torch.cat([prefix, text]), torch.cat([ones, mask])
    if len(prefix) % len(places):
        raise InputError(f"{len(prefix)} vectors cannot be shared out to {len(places)} places of a prompt.")
    # text up to a place, vectors, text up to the next one
    parts, masks, start = [], [], 0
    for place, vectors in zip(places, prefix.chunk(len(places))):
        parts += [text[start:place], vectors]
        masks += [mask[start:place], mask.new_ones(len(vectors))]
        start = place + 1
    return torch.cat([*parts, text[start:]]), torch.cat([*masks, mask[start:]])


def _own_generation(model: nn.Module) -> dict[str, Any]:
    """Generation defaults that the model's own folder sets."""
    # only what differs from transformers' defaults: those would take the place of the kind's own
    config = getattr(model, "generation_config", None)
    own = config.to_diff_dict() if config is not None else {}
    return {key: own[key] for key in _FROM_FOLDER if own.get(key) is not None}
