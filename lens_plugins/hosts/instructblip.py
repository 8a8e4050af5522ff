"""Q-Former hosts in transformers' own classes, whose modules are called one by one.

ViT features → Q-Former (InstructBLIP: together with the instruction) → `language_projection` → prefix of the prompt →
`language_model.generate` with embeddings and mask only, so that, as in LAVIS, lengths and the repetition penalty count
new tokens alone.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn
from typing_extensions import Self

from ..errors import CheckpointError, Unsupported
from ..splice import FrozenViT, Held, vit_from_tower
from ..splice.sharing import share_tower
from .base import LoadOptions
from .layouts.lavis import EVA_VIT
from .loading import image_settings_of, load_pretrained, load_tokenizer
from .messages import Seen
from .outline import Outline, Weights, read_config
from .prefix import LanguageHost, LanguageModel, check_ids
from .source import HostNotes, name_of
from .streaming import TOKENIZING

if TYPE_CHECKING:
    from ..inputs.image import ImageSettings

__all__ = ["GENERATION", "Blip2Host", "InstructBlipHost", "InstructBlipVideoHost"]

GENERATION = {
    "num_beams": 5,
    "max_new_tokens": 256,
    "min_new_tokens": 1,
    "repetition_penalty": 1.5,
    "length_penalty": 1.0,
}
"""LAVIS's defaults; `top_p` 0.9 joins them where sampling is asked for."""
_QFORMER_TOKENS = 128
_PARTS = ("vision_model", "qformer", "language_projection", "language_model")


class Blip2Model(Protocol):
    """The modules of transformers' BLIP-2 and its relatives, by the names that they all have."""

    config: Any
    vision_model: Any
    qformer: Any
    language_projection: nn.Linear
    language_model: LanguageModel


class Blip2Host(LanguageHost):
    """BLIP-2: the Q-Former reads features only."""

    default_prompt: str = "a photo of"
    defaults: ClassVar[Mapping[str, Any]] = GENERATION
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
        vit = vit or vit_from_tower(_parts(model).vision_model, f"the ViT of {name}")
        super().__init__(
            model, vit, name=name, tokenizer=tokenizer, image_settings=image_settings, default_prompt=default_prompt
        )

    @classmethod
    def load(cls, source: str | Path, options: LoadOptions) -> Self:
        """Load from a folder or a hub id, tokenizers and image processor included.

        Raises:
            CheckpointError: a file is missing, or does not go with the others.
        """
        import transformers

        notes = HostNotes.of(source)
        model = load_pretrained(getattr(transformers, cls.model_class), source, options, notes)
        # the tower that was just loaded is dropped again: it is the proof that both are the same
        if options.vit is not None:
            share_tower(model.vision_model, options.vit)
        host = cls(
            model,
            name=name_of(source),
            image_settings=image_settings_of(source, _parts(model).config.vision_config.image_size),
            default_prompt=notes.default_prompt,
            **cls._text_parts(source, notes.language_model_folder()),
        )
        try:
            host.check_tokenizers()
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
            # a tokenizer's own settings are read by it only when it is first used
            reason = str(error).split("\n")[0][:200]
            raise CheckpointError(f"A tokenizer of {source} cannot be used: {reason}.") from error
        return host

    @classmethod
    def outline(cls, source: str | Path) -> Outline:
        """See `OutlinedHost`."""
        import transformers

        config = read_config(source)
        # shapes alone are wanted: on the meta device seven billion parameters cost nothing
        with torch.device("meta"):
            model = getattr(transformers, cls.model_class)(config)
        parts = {name: module for name, module in model.named_children() if name in _PARTS}
        return Outline(config, parts, (Weights(source),))

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any = None) -> Self:
        """Drive a loaded model; `processor` (transformers' own) brings its tokenizers.

        Without one they are looked for where the model was loaded from, when text is first needed.
        """
        name = Path(_parts(model).config.name_or_path).name or type(model).__name__
        return cls(model, name=name, **cls._processor_parts(processor))

    @property
    def language_model(self) -> LanguageModel:
        """What reads the prefix."""
        return _parts(self.model).language_model

    @property
    def projection(self) -> nn.Linear:
        """From the Q-Former's width to the language model's."""
        return _parts(self.model).language_projection

    @property
    def qformer(self) -> Any:
        """What reads the features."""
        return _parts(self.model).qformer

    @property
    def qformer_norm(self) -> nn.LayerNorm:
        """The norm that queries pass first."""
        return self.qformer.layernorm

    def vit_state(self) -> dict[str, Tensor]:
        """See `Host.vit_state`."""
        tower = _parts(self.model).vision_model
        state = {f"vision_model.{name}": tensor for name, tensor in tower.state_dict().items()}
        # offloaded weights lie on the meta device, where there is nothing to compare
        if any(tensor.is_meta for tensor in state.values()):
            return {}
        # a trained host may have key biases, which LAVIS's names have no place for
        rows = EVA_VIT.inverse()
        try:
            return rows.match(state).tensors
        except CheckpointError:
            return rows.match({name: t for name, t in state.items() if not name.endswith("qkv.bias")}).tensors

    @classmethod
    def _text_parts(cls, source: str | Path, language_model: Path | None) -> dict[str, Any]:
        return {"tokenizer": load_tokenizer(language_model or source)}

    @classmethod
    def _processor_parts(cls, processor: Any) -> dict[str, Any]:
        return {"tokenizer": getattr(processor, "tokenizer", None)}

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
        # fused before the Q-Former means side by side on the token axis, whose length it does not mind
        features = features if isinstance(features, Tensor) else torch.cat(list(features), dim=1)
        output = self.query_output(features, qformer_input_ids, qformer_attention_mask)  # (B, Q, C)
        # the bias tells the dtype: a quantised weight is uint8
        return self.projection(output.to(self.projection.bias.dtype))  # (B, Q, C) -> (B, Q, H)

    def query_output(
        self, features: Tensor, qformer_input_ids: Tensor | None = None, qformer_attention_mask: Tensor | None = None
    ) -> Tensor:
        """The Q-Former's output at its queries, before the projection: (B, Q, C)."""
        if qformer_input_ids is not None:
            raise Unsupported(f"{self.name} is a BLIP-2: its Q-Former reads no text, yet qformer_input_ids were given.")
        return self.qformer(query_embeds=self._queries(features), **self._context(features))[0]

    def prefixes(self, seen: Sequence[Seen], prompts: Sequence[str]) -> list[Tensor]:
        """The prefix (u·Q, H) of every request; equal units with equal prompts pass the Q-Former once."""
        # the instruction is read together with the features, so the same unit under another prompt is another row
        units = {(id(unit), prompt): unit for s, prompt in zip(seen, prompts) for unit in s.features}
        made: dict[tuple[int, str], Tensor] = {}
        lengths: dict[int, list[tuple[int, str]]] = {}
        for key, unit in units.items():
            lengths.setdefault(len(unit), []).append(key)
        # the Q-Former's words are padded, its features are not: frames of one length go together
        for keys in lengths.values():
            text = self.qformer_text([prompt for _, prompt in keys])
            made.update(zip(keys, self.prefix(torch.stack([units[key] for key in keys]), *text)))
        return [torch.cat([made[id(unit), prompt] for unit in s.features]) for s, prompt in zip(seen, prompts)]

    def qformer_text(self, prompts: list[str]) -> tuple[Tensor, ...]:
        """Ids and mask for the Q-Former, or nothing where it reads no text."""
        return ()

    def _queries(self, features: Tensor) -> Tensor:
        # read through its owner: under offloading the parameter itself is on the meta device
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


class InstructBlipHost(Blip2Host):
    """InstructBLIP: the Q-Former reads the instruction together with its queries."""

    default_prompt: str = "A short image caption."
    model_class: ClassVar[str] = "InstructBlipForConditionalGeneration"

    def __init__(self, model: nn.Module, *, qformer_tokenizer: Any = None, **parts: Any) -> None:
        super().__init__(model, **parts)
        self.qformer_tokenizer = qformer_tokenizer

    @property
    def qformer_norm(self) -> nn.LayerNorm:
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
        # queries stand before the text, and the mask covers both
        mask = torch.cat([mask.new_ones(queries.shape[:2]), mask], dim=1)  # (B, Q + L)
        output = self.qformer(input_ids=ids, attention_mask=mask, query_embeds=queries, **self._context(features))[0]
        return output[:, : queries.shape[1]]  # (B, Q + L, C) -> (B, Q, C)

    def check_tokenizers(self) -> None:
        """See `LanguageHost.check_tokenizers`."""
        super().check_tokenizers()
        self.qformer_text([self.default_prompt])

    def qformer_text(self, prompts: list[str]) -> tuple[Tensor, ...]:
        """Ids and mask (B, L): at most 128 tokens, cut on the left, padded on the right."""
        if self.qformer_tokenizer is None:
            origin = self._origin("the tokenizer of its Q-Former")
            self.qformer_tokenizer = load_tokenizer(origin, subfolder="qformer_tokenizer")
        # a copy, since the side is a setting of the tokenizer that the user may have handed over
        tokenizer = copy.copy(self.qformer_tokenizer)
        tokenizer.truncation_side = "left"
        room = min(_QFORMER_TOKENS, self.qformer.config.max_position_embeddings)
        with TOKENIZING:
            text = tokenizer(
                prompts, padding=True, padding_side="right", truncation=True, max_length=room, return_tensors="pt"
            )
        embeddings = self.qformer.get_input_embeddings()
        check_ids(text["input_ids"].flatten().tolist(), embeddings, f"the Q-Former of {self.name}")
        return text["input_ids"], text["attention_mask"]


class InstructBlipVideoHost(InstructBlipHost):
    """InstructBLIP for video: every frame passes ViT and Q-Former by itself, prefixes stand in order of time.

    Frames are a list of pictures, or one `ModalityInput` of "image" whose tensor is (F, 3, S, S). transformers' own
    processor counts on 4 frames; any number is read here that the language model has room for.
    """

    default_place: ClassVar[str] = "llm"
    model_class: ClassVar[str] = "InstructBlipVideoForConditionalGeneration"


def _parts(model: nn.Module) -> Blip2Model:
    """The same model by its modules' names, which `nn.Module` does not tell."""
    return cast(Blip2Model, model)
