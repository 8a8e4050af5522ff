"""InstructBLIP and BLIP-2 in transformers' own classes, whose modules are called one by one.

ViT features → Q-Former (InstructBLIP: together with the instruction) → `language_projection` → prefix of the prompt →
`language_model.generate` with embeddings and mask only, so that, as in LAVIS, lengths and the repetition penalty count
new tokens alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ..errors import CheckpointError, ConfigError, InputError, Unsupported
from ..splice import FrozenViT, Held, vit_from_tower
from ..splice.sharing import share_tower
from .base import Host, LoadOptions
from .layouts.lavis import EVA_VIT
from .loading import image_settings_of, load_pretrained, load_tokenizer
from .messages import Reply, Seen
from .outline import Outline, Weights, read_config
from .source import HostNotes, name_of
from .streaming import stream_text

if TYPE_CHECKING:
    from ..inputs.image import ImageSettings

__all__ = ["GENERATION", "Blip2Host", "InstructBlipHost"]

GENERATION = {
    "num_beams": 5,
    "max_new_tokens": 256,
    "min_new_tokens": 1,
    "repetition_penalty": 1.5,
    "length_penalty": 1.0,
}
"""LAVIS's defaults; `top_p` 0.9 joins them where sampling is asked for. A folder's generation_config.json overrides."""
_OVERRIDABLE = (*GENERATION, "do_sample", "top_p", "top_k", "temperature", "no_repeat_ngram_size")
_QFORMER_TOKENS = 128
_PARTS = ("vision_model", "qformer", "language_projection", "language_model")
_VICUNA_PAD = 32000  # id of the [PAD] that LAVIS adds to Vicuna's tokenizer
_END = 2  # "</s>" of LLaMA, with which LAVIS's prompts for Vicuna begin


class Blip2Host(Host):
    """BLIP-2: the Q-Former reads features only."""

    default_prompt: str = "a photo of"
    model_class: ClassVar[str] = "Blip2ForConditionalGeneration"

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str,
        vit: FrozenViT | None = None,
        tokenizer: Any = None,
        image_settings: ImageSettings | None = None,
        default_prompt: str | None = None,
    ) -> None:
        vit = vit or vit_from_tower(model.vision_model, f"the ViT of {name}")
        super().__init__(model, vit, name=name, image_settings=image_settings, default_prompt=default_prompt)
        self.tokenizer = tokenizer
        self.generation = {**GENERATION, **_own_generation(model)}

    @classmethod
    def load(cls, source: str | Path, options: LoadOptions) -> Self:
        """Load from a folder or a hub id, tokenizers and image processor included.

        Raises:
            CheckpointError: a file is missing, or does not go with the others.
        """
        import transformers

        notes = HostNotes.of(source)
        model = load_pretrained(getattr(transformers, cls.model_class), source, options, notes)
        if options.vit is not None:
            share_tower(model.vision_model, options.vit)
        parts = cls._text_parts(source, notes.language_model_folder())
        host = cls(
            model,
            name=name_of(source),
            image_settings=image_settings_of(source, model.config.vision_config.image_size),
            default_prompt=notes.default_prompt,
            **parts,
        )
        host.check_tokenizers()
        return host

    @classmethod
    def outline(cls, source: str | Path) -> Outline:
        """See `OutlinedHost`."""
        import transformers

        config = read_config(source)
        with torch.device("meta"):
            model = getattr(transformers, cls.model_class)(config)
        parts = {name: module for name, module in model.named_children() if name in _PARTS}
        return Outline(config, parts, (Weights(source),))

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any = None) -> Self:
        """Drive a loaded model; `processor` (transformers' own) brings its tokenizers.

        Without one they are looked for where the model was loaded from, when text is first needed.
        """
        name = Path(model.config.name_or_path).name or type(model).__name__
        return cls(model, name=name, **cls._processor_parts(processor))

    @property
    def language_model(self) -> nn.Module:
        """What reads the prefix."""
        return self.model.language_model

    @property
    def projection(self) -> nn.Module:
        """From the Q-Former's width to the language model's."""
        return self.model.language_projection

    @property
    def qformer(self) -> nn.Module:
        """What reads the features."""
        return self.model.qformer

    @property
    def qformer_norm(self) -> nn.Module:
        """The norm that queries pass first."""
        return self.qformer.layernorm

    def vit_state(self) -> dict[str, Tensor]:
        """See `Host.vit_state`."""
        state = {f"vision_model.{name}": tensor for name, tensor in self.model.vision_model.state_dict().items()}
        if any(tensor.is_meta for tensor in state.values()):
            return {}
        rows = EVA_VIT.inverse()
        try:
            return rows.match(state).tensors
        except CheckpointError:  # key biases, which LAVIS's names have no place for
            return rows.match({name: t for name, t in state.items() if not name.endswith("qkv.bias")}).tensors

    @classmethod
    def _text_parts(cls, source: str | Path, language_model: Path | None) -> dict[str, Any]:
        return {"tokenizer": load_tokenizer(language_model or source)}

    @classmethod
    def _processor_parts(cls, processor: Any) -> dict[str, Any]:
        return {"tokenizer": getattr(processor, "tokenizer", None)}

    # Tensor-level calls

    def prefix(
        self,
        features: Tensor | Sequence[Tensor],
        qformer_input_ids: Tensor | None = None,
        qformer_attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Vectors that the language model reads before the prompt.

        Args:
            features: (B, T, D) of the ViT, or a list of such, fused before the Q-Former.
            qformer_input_ids: (B, L) instruction in the Q-Former's vocabulary; BLIP-2 has none.
            qformer_attention_mask: (B, L), 1 where there is text; None: everywhere.

        Returns:
            (B, Q, H)
        """
        features = features if isinstance(features, Tensor) else torch.cat(list(features), dim=1)
        return self._project(self.query_output(features, qformer_input_ids, qformer_attention_mask))

    def query_output(
        self, features: Tensor, qformer_input_ids: Tensor | None = None, qformer_attention_mask: Tensor | None = None
    ) -> Tensor:
        """The Q-Former's output at its queries, before the projection: (B, Q, C)."""
        if qformer_input_ids is not None:
            raise Unsupported(f"{self.name} is a BLIP-2: its Q-Former reads no text, yet qformer_input_ids were given.")
        return self.qformer(query_embeds=self._queries(features), **self._context(features))[0]

    def logits(
        self, prefix: Tensor | Sequence[Tensor], input_ids: Tensor, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Scores of the language model.

        Args:
            prefix: (B, Q, H), or a list of such, fused before the language model.
            input_ids: (B, T) of the prompt.
            attention_mask: (B, T), 1 where there is text; None: everywhere.

        Returns:
            (B, Q + T, V) over prefix and prompt; for T5, which reads those in its encoder, (B, 1, V) of the decoder's
            first step.
        """
        embeds, mask = self._before(prefix, input_ids, attention_mask)
        model = self.language_model
        if model.config.is_encoder_decoder:
            start = mask.new_full((len(mask), 1), model.config.decoder_start_token_id)
            return model(inputs_embeds=embeds, attention_mask=mask, decoder_input_ids=start).logits
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

        Arguments as in `logits`. None of LAVIS's defaults are added here.
        """
        return self._generate(*self._before(prefix, input_ids, attention_mask), **generation)

    # Text-level steps

    def answer(self, seen: Sequence[Seen], prompts: Sequence[str], **generation: Any) -> list[Reply]:
        """Answer a batch in one `generate`; decoder-only models are padded on the left, T5 on the right."""
        with torch.no_grad():
            embeds, mask = self._batch(seen, prompts)
        ids = self._generate(embeds, mask, **self._options(generation))
        if len(ids) != len(prompts):
            raise ConfigError(f"One reply goes with each request, got {len(ids)} replies to {len(prompts)} requests.")
        return [Reply(self._decode(row)) for row in ids]

    def pieces(self, seen: Seen, prompt: str, **generation: Any) -> Iterator[str]:
        """Answer one request in pieces, with one beam."""
        if generation.get("num_beams", 1) != 1:
            raise ConfigError(f"Streaming runs 1 beam, got num_beams={generation['num_beams']}.")
        with torch.no_grad():
            embeds, mask = self._batch([seen], [prompt])
        options = self._options({**generation, "num_beams": 1})
        yield from stream_text(lambda **how: self._generate(embeds, mask, **options, **how), self._tokenizer())

    def check_tokenizers(self) -> None:
        """Tokenise the default prompt for every part that reads text.

        Raises:
            CheckpointError: a tokenizer is absent, or makes ids that the embeddings do not have.
        """
        self._prompt_ids(self.default_prompt)

    def _tokenizer(self) -> Any:
        if self.tokenizer is None:
            self.tokenizer = load_tokenizer(self._origin("the tokenizer of its language model"))
        return self.tokenizer

    def _origin(self, missing: str) -> str:
        """Where a wrapped model came from."""
        origin = self.model.config.name_or_path
        if not origin:
            raise CheckpointError(
                f"{self.name} was given as a loaded model, which lacks {missing}. Give load_host(model, processor=...)."
            )
        return origin

    def _queries(self, features: Tensor) -> Tensor:
        queries = Held(self.model, "query_tokens").read()  # (1, Q, C)
        return queries.to(features.device, self.qformer_norm.weight.dtype).expand(len(features), -1, -1)  # (B, Q, C)

    def _context(self, features: Tensor) -> dict[str, Any]:
        """What the Q-Former's cross-attention reads; cast by a norm, since a quantised weight has no float dtype."""
        mask = torch.ones(features.shape[:2], dtype=torch.long, device=features.device)
        return {
            "encoder_hidden_states": features.to(self.qformer_norm.weight.dtype),
            "encoder_attention_mask": mask,
            "return_dict": True,
        }

    def _project(self, output: Tensor) -> Tensor:  # (B, Q, C) -> (B, Q, H)
        return self.projection(output.to(self.projection.bias.dtype))

    def _before(
        self, prefix: Tensor | Sequence[Tensor], input_ids: Tensor, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (B, Q + T, H) and mask (B, Q + T) of prefix and prompt."""
        prefix = prefix if isinstance(prefix, Tensor) else torch.cat(list(prefix), dim=1)
        text = self._embed(input_ids.to(prefix.device))
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        ones = mask.new_ones(prefix.shape[:2])
        joined = torch.cat([prefix.to(text.device, text.dtype), text], dim=1)
        return joined, torch.cat([ones, mask], dim=1).to(text.device)

    def _embed(self, ids: Tensor) -> Tensor:
        return self.language_model.get_input_embeddings()(ids)

    def _generate(self, embeds: Tensor, mask: Tensor, **generation: Any) -> Tensor:
        model = self.language_model
        if getattr(self.model, "hf_device_map", None):
            self.model._preprocess_accelerate()  # as the model's own generate does before this call
        pad = model.generation_config.pad_token_id
        if pad is None and "pad_token_id" not in generation:
            generation["pad_token_id"] = getattr(self.tokenizer, "pad_token_id", None) or 0
        try:
            ids = model.generate(inputs_embeds=embeds, attention_mask=mask, **_with_penalty(generation))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"transformers refuses these generation options: {error}") from error
        return ids[:, 1:] if model.config.is_encoder_decoder else ids  # T5 begins with its start token

    def _options(self, generation: dict[str, Any]) -> dict[str, Any]:
        options = {**self.generation, **generation}
        if options.get("do_sample"):
            options.setdefault("top_p", 0.9)
        return options

    def _batch(self, seen: Sequence[Seen], prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Embeddings (B, L, H) and mask (B, L) of prefixes and prompts of unequal lengths."""
        rows = []
        for prefix, prompt in zip(self._prefixes(seen, prompts), prompts):
            ids = torch.tensor(self._prompt_ids(prompt), dtype=torch.long, device=prefix.device)
            text = self._embed(ids[None])[0]  # (T, H)
            rows.append(torch.cat([prefix.to(text.device, text.dtype), text]))
        self._check_room(max(map(len, rows)))
        side = "right" if self.language_model.config.is_encoder_decoder else "left"
        pad = nn.utils.rnn.pad_sequence
        mask = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
        return pad(rows, batch_first=True, padding_side=side), pad(mask, batch_first=True, padding_side=side)

    def _check_room(self, length: int) -> None:
        room = getattr(self.language_model.config, "max_position_embeddings", None)
        if room is not None and length >= room:
            raise InputError(
                f"Inputs and prompt take {length} positions; the language model of {self.name} has {room}. "
                "Shorten the prompt, or fuse the inputs earlier."
            )

    def _prefixes(self, seen: Sequence[Seen], prompts: Sequence[str]) -> list[Tensor]:
        """The prefix (u·Q, H) of every request; equal units with equal prompts pass the Q-Former once."""
        units = {(id(unit), prompt): unit for s, prompt in zip(seen, prompts) for unit in s.features}
        made: dict[tuple[int, str], Tensor] = {}
        lengths: dict[int, list[tuple[int, str]]] = {}
        for key, unit in units.items():
            lengths.setdefault(len(unit), []).append(key)
        for keys in lengths.values():
            text = self._qformer_text([prompt for _, prompt in keys])
            made.update(zip(keys, self.prefix(torch.stack([units[key] for key in keys]), *text)))
        return [torch.cat([made[id(unit), prompt] for unit in s.features]) for s, prompt in zip(seen, prompts)]

    def _qformer_text(self, prompts: list[str]) -> tuple[Tensor, ...]:
        """Ids and mask for the Q-Former, or nothing where it reads no text."""
        return ()

    def _prompt_ids(self, prompt: str) -> list[int]:
        """The raw prompt as the language model reads it; for LAVIS's Vicuna it begins with id 2."""
        tokenizer = self._tokenizer()
        vicuna = tokenizer.convert_tokens_to_ids("[PAD]") == _VICUNA_PAD
        ids = tokenizer(prompt, add_special_tokens=not vicuna)["input_ids"]
        ids = [_END, *ids] if vicuna else list(ids)
        _check_ids(ids, self.language_model.get_input_embeddings(), f"the language model of {self.name}")
        return ids

    def _decode(self, ids: Tensor) -> str:
        tokenizer = self._tokenizer()
        if tokenizer.convert_ids_to_tokens(0) == "<unk>":
            ids = ids[ids != 0]  # LAVIS reads Vicuna's id 0 as the end
        return tokenizer.decode(ids, skip_special_tokens=True).strip()


class InstructBlipHost(Blip2Host):
    """InstructBLIP: the Q-Former reads the instruction together with its queries."""

    default_prompt: str = "A short image caption."
    model_class: ClassVar[str] = "InstructBlipForConditionalGeneration"

    def __init__(self, model: nn.Module, *, qformer_tokenizer: Any = None, **parts: Any) -> None:
        super().__init__(model, **parts)
        self.qformer_tokenizer = qformer_tokenizer

    @property
    def qformer_norm(self) -> nn.Module:
        """See `Blip2Host.qformer_norm`."""
        return self.qformer.embeddings.layernorm

    @classmethod
    def _text_parts(cls, source: str | Path, language_model: Path | None) -> dict[str, Any]:
        qformer = load_tokenizer(source, subfolder="qformer_tokenizer")
        return {**super()._text_parts(source, language_model), "qformer_tokenizer": qformer}

    @classmethod
    def _processor_parts(cls, processor: Any) -> dict[str, Any]:
        qformer = getattr(processor, "qformer_tokenizer", None)
        return {**super()._processor_parts(processor), "qformer_tokenizer": qformer}

    def query_output(
        self, features: Tensor, qformer_input_ids: Tensor | None = None, qformer_attention_mask: Tensor | None = None
    ) -> Tensor:
        """The Q-Former's output at its queries, before the projection: (B, Q, C)."""
        if qformer_input_ids is None:
            return self.qformer(input_ids=None, query_embeds=self._queries(features), **self._context(features))[0]
        queries, ids = self._queries(features), qformer_input_ids.to(features.device)
        mask = torch.ones_like(ids) if qformer_attention_mask is None else qformer_attention_mask.to(ids.device)
        mask = torch.cat([mask.new_ones(queries.shape[:2]), mask], dim=1)  # (B, Q + L)
        output = self.qformer(input_ids=ids, attention_mask=mask, query_embeds=queries, **self._context(features))[0]
        return output[:, : queries.shape[1]]  # (B, Q + L, C) -> (B, Q, C)

    def check_tokenizers(self) -> None:
        """See `Blip2Host.check_tokenizers`."""
        super().check_tokenizers()
        self._qformer_text([self.default_prompt])

    def _qformer_text(self, prompts: list[str]) -> tuple[Tensor, ...]:
        """Ids and mask (B, L): at most 128 tokens, cut on the left, padded on the right."""
        if self.qformer_tokenizer is None:
            origin = self._origin("the tokenizer of its Q-Former")
            self.qformer_tokenizer = load_tokenizer(origin, subfolder="qformer_tokenizer")
        tokenizer = copy.copy(self.qformer_tokenizer)
        tokenizer.truncation_side = "left"
        room = min(_QFORMER_TOKENS, self.qformer.config.max_position_embeddings)
        text = tokenizer(
            prompts, padding=True, padding_side="right", truncation=True, max_length=room, return_tensors="pt"
        )
        embeddings = self.qformer.get_input_embeddings()
        _check_ids(text["input_ids"].flatten().tolist(), embeddings, f"the Q-Former of {self.name}")
        return text["input_ids"], text["attention_mask"]


def _own_generation(model: nn.Module) -> dict[str, Any]:
    """Generation defaults that the model's own folder sets."""
    config = getattr(model, "generation_config", None)
    own = config.to_diff_dict() if config is not None else {}
    return {key: own[key] for key in _OVERRIDABLE if own.get(key) is not None}


def _with_penalty(generation: dict[str, Any]) -> dict[str, Any]:
    """Options with the repetition penalty as a processor of our own.

    transformers' option takes as many ids as a row is padded for its prompt and spares them, but with embeddings the
    ids are the new tokens alone: a padded row would repeat itself where the same row by itself does not.
    """
    penalty = generation.get("repetition_penalty", 1.0)
    if penalty == 1:
        return generation
    from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

    processors = [RepetitionPenaltyLogitsProcessor(float(penalty)), *generation.get("logits_processor", ())]
    return {**generation, "repetition_penalty": 1.0, "logits_processor": LogitsProcessorList(processors)}


def _check_ids(ids: Sequence[int], embeddings: nn.Embedding, reader: str) -> None:
    if ids and max(ids) >= embeddings.num_embeddings:
        raise CheckpointError(
            f"The tokenizer does not go with {reader}: it makes id {max(ids)}, the model has "
            f"{embeddings.num_embeddings} embeddings."
        )
