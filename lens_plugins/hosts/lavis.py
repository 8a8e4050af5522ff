"""Models of LAVIS (`salesforce-lavis` or its main branch), driven as they were loaded.

Told by their attributes, not by their classes: `visual_encoder, ln_vision, Qformer, query_tokens`, and a language model
under `opt_`, `t5_` or `llm_` with its projection and tokenizer. InstructBLIP differs from BLIP-2 in that its Q-Former
has word embeddings. LAVIS itself is never imported here; what brings its release up to today is in `patches/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from typing_extensions import Self

from ..errors import Unsupported
from ..splice import FrozenViT, Held
from .base import Host, LoadOptions
from .instructblip import Blip2Host, InstructBlipHost
from .messages import Reply, Request, Seen
from .prefix import (
    SCORED,
    LanguageModel,
    best_of,
    check_one_beam,
    check_options,
    replies_each,
    run_generate,
    sampled,
    scores_of,
)
from .streaming import TOKENIZING, stream_text

if TYPE_CHECKING:
    from ..inputs.base import Source

__all__ = ["LavisHost", "LavisQFormerHost", "vit_from_lavis"]

_EYES = ("visual_encoder", "ln_vision", "Qformer", "query_tokens")
_LANGUAGE_MODELS = ("opt", "t5", "llm")  # X_model, X_proj and X_tokenizer
_VIT_PARTS = ("patch_embed", "cls_token", "pos_embed", "pos_drop", "blocks")


class LavisModel(Protocol):
    """The modules of LAVIS's BLIP-2 and InstructBLIP that all of them have."""

    visual_encoder: Any
    ln_vision: nn.LayerNorm
    Qformer: Any
    query_tokens: nn.Parameter
    tokenizer: Any


class LavisFirstStage(LavisModel, Protocol):
    """Besides those: what brings pictures and texts into one space."""

    vision_proj: nn.Linear
    text_proj: nn.Linear


class _Blocks(nn.Module):
    """Dropout and blocks of LAVIS's VisionTransformer, as its `forward_features` runs them after the positions."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.pos_drop: nn.Module = encoder.pos_drop
        self.blocks: nn.ModuleList = encoder.blocks

    def forward(self, tokens: Tensor) -> Tensor:  # (B, T, D) -> (B, T, D)
        weight = cast(Any, self.blocks[0]).mlp.fc1.weight.dtype
        # vit_precision="fp16" halves linear weights and leaves norms in float32: LAVIS runs that under autocast
        with torch.autocast(tokens.device.type, weight, enabled=weight != tokens.dtype):
            tokens = self.pos_drop(tokens)
            for block in self.blocks:
                tokens = block(tokens)
        return tokens


def vit_from_lavis(encoder: Any, norm: nn.Module, name: str | None = None) -> FrozenViT:
    """The ViT of LAVIS's EVA `VisionTransformer`, which SEED's tokenizer has too.

    Args:
        encoder: `visual_encoder`.
        norm: the host's own `ln_vision`.

    Raises:
        Unsupported: it is another ViT, or one with relative positions, which a fused sequence does not have.
    """
    absent = [part for part in _VIT_PARTS if getattr(encoder, part, None) is None]
    if absent:
        raise Unsupported(
            f"The visual encoder is a {type(encoder).__name__} without {', '.join(absent)}; lenses for these hosts go "
            "before LAVIS's EVA ViT (vit_model='eva_clip_g')."
        )
    if getattr(encoder, "rel_pos_bias", None) is not None or getattr(encoder, "use_rel_pos_bias", False):
        raise Unsupported("The visual encoder has relative positions; a lens needs absolute ones (`pos_embed`).")
    return FrozenViT(
        name=name or f"LAVIS's ViT of width {encoder.num_features} with {len(encoder.blocks)} blocks",
        patch_embedding=encoder.patch_embed,
        class_token=Held(encoder, "cls_token"),
        positions=Held(encoder, "pos_embed"),
        blocks=_Blocks(encoder),
        norm=norm,
        image_size=encoder.patch_embed.img_size[0],
    )


def _language_model_of(model: nn.Module) -> str | None:
    """The prefix of the language model's attributes, or None."""
    return next((name for name in _LANGUAGE_MODELS if hasattr(model, f"{name}_proj")), None)


def _is_lavis(model: nn.Module) -> bool:
    return all(hasattr(model, name) for name in _EYES) and not hasattr(model, "quantize")  # which SEED's tokenizer has


class LavisHost(InstructBlipHost):
    """BLIP-2 (OPT, T5) and InstructBLIP (Vicuna, T5) in LAVIS's classes.

    Prompts, padding, generation and their defaults are those of `InstructBlipHost`, so that a model answers the same in
    either library.
    """

    def __init__(self, model: nn.Module, *, name: str) -> None:
        parts = cast(LavisModel, model)
        self._family = _language_model_of(model)
        # LAVIS sets them to None in a BLIP-2
        words = parts.Qformer.bert.embeddings.word_embeddings
        self._instructed = words is not None and getattr(model, "qformer_text_input", True)
        kind = InstructBlipHost if self._instructed else Blip2Host
        super().__init__(
            model,
            name=name,
            vit=vit_from_lavis(parts.visual_encoder, parts.ln_vision, f"the ViT of {name}"),
            tokenizer=getattr(model, f"{self._family}_tokenizer"),
            qformer_tokenizer=parts.tokenizer,
            default_prompt=getattr(model, "prompt", None) or kind.default_prompt,
        )
        # BLIP-2 with OPT ends at a line break
        if hasattr(model, "eos_token_id"):
            self.generation["eos_token_id"] = model.eos_token_id

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether the attributes are those of a LAVIS model with a language model."""
        return _is_lavis(model) and _language_model_of(model) is not None

    @classmethod
    def load(cls, source: str | Path, options: LoadOptions) -> Self:
        """Refuse: LAVIS loads its own models.

        Raises:
            Unsupported: always, with the two ways there are.
        """
        raise _load_with_lavis(source)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any = None) -> Self:
        """Drive a loaded model; its tokenizers are its own."""
        return cls(model, name=type(model).__name__)

    @property
    def language_model(self) -> LanguageModel:
        """`opt_model`, `t5_model` or `llm_model`."""
        return getattr(self.model, f"{self._family}_model")

    @property
    def projection(self) -> nn.Linear:
        """`opt_proj`, `t5_proj` or `llm_proj`."""
        return getattr(self.model, f"{self._family}_proj")

    @property
    def qformer(self) -> Any:
        """The BERT inside `Qformer`."""
        return cast(LavisModel, self.model).Qformer.bert

    @property
    def qformer_norm(self) -> nn.LayerNorm:
        """The norm that queries pass first."""
        return self.qformer.embeddings.LayerNorm

    def query_output(
        self, features: Tensor, qformer_input_ids: Tensor | None = None, qformer_attention_mask: Tensor | None = None
    ) -> Tensor:
        """The Q-Former's output at its queries, before the projection: (B, Q, C)."""
        kind = InstructBlipHost if self._instructed else Blip2Host
        return kind.query_output(self, features, qformer_input_ids, qformer_attention_mask)

    def vit_state(self) -> dict[str, Tensor]:
        """See `Host.vit_state`."""
        return _vit_state(self.model)

    def qformer_text(self, prompts: list[str]) -> tuple[Tensor, ...]:
        """See `InstructBlipHost.qformer_text`; nothing where the Q-Former reads no text."""
        return super().qformer_text(prompts) if self._instructed else ()


class LavisQFormerHost(Host):
    """BLIP-2's first stage (`Blip2Qformer`, `Blip2ITM`): features of every modality beside those of text, and captions
    that the Q-Former itself writes.
    """

    places: ClassVar[tuple[str, ...]] = ("vit", "qformer")
    default_prompt: str = ""
    generation: ClassVar[dict[str, Any]] = {"num_beams": 3, "max_length": 30, "min_length": 10}
    """LAVIS's defaults; `top_p` 0.9 joins them where sampling is asked for."""

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether the attributes are those of BLIP-2's first stage."""
        return _is_lavis(model) and hasattr(model, "vision_proj") and hasattr(model, "text_proj")

    @classmethod
    def load(cls, source: str | Path, options: LoadOptions) -> Self:
        """Refuse: see `LavisHost.load`."""
        raise _load_with_lavis(source)

    @classmethod
    def wrap(cls, model: nn.Module, processor: Any = None) -> Self:
        """Drive a loaded model; its tokenizer is its own."""
        name, parts = type(model).__name__, cast(LavisModel, model)
        return cls(model, vit_from_lavis(parts.visual_encoder, parts.ln_vision, f"the ViT of {name}"), name=name)

    @property
    def stage(self) -> LavisFirstStage:
        """The model by its modules' names."""
        return cast(LavisFirstStage, self.model)

    def vit_state(self) -> dict[str, Tensor]:
        """See `Host.vit_state`."""
        return _vit_state(self.model)

    @torch.no_grad()
    def query_features(self, inputs: Source | Sequence[Source]) -> Tensor:
        """Unit vectors of every input's queries, in one space with `text_features`.

        LAVIS's similarity of an input and a text is the largest of its queries' products with the text.

        Returns:
            (B, Q, E)
        """
        seen = self.look_batch([Request(source) for source in Request(inputs).sources])
        rows = [self._queries_after(torch.cat(one.features)[None]) for one in seen]
        return normalize(self.stage.vision_proj(torch.cat(rows)), dim=-1)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of texts, (B, E): LAVIS's `extract_features` in mode "text", of the first token."""
        with TOKENIZING:
            text = self.stage.tokenizer(list(texts), padding=True, return_tensors="pt").to(self.vit.device)
        output = self.stage.Qformer.bert(text.input_ids, attention_mask=text.attention_mask, return_dict=True)
        return normalize(self.stage.text_proj(output.last_hidden_state[:, 0]), dim=-1)

    def answer(self, seen: Sequence[Seen], prompts: Sequence[str], **generation: Any) -> list[Reply]:
        """A caption of each thing seen, which goes on from the prompt; rows of one length go through together."""
        rows = [(torch.cat(one.features), self._prompt_ids(prompt)) for one, prompt in zip(seen, prompts)]
        # rows of one length need no padding, and so no mask of words
        groups: dict[tuple[int, int], list[int]] = {}
        for number, (features, ids) in enumerate(rows):
            groups.setdefault((len(features), len(ids)), []).append(number)
        check_options(generation)
        replies: dict[int, Reply] = {}
        several = replies_each(generation)
        for numbers in groups.values():
            features = torch.stack([rows[i][0] for i in numbers])  # (B, T, D)
            ids = torch.stack([rows[i][1] for i in numbers])  # (B, L)
            made = self._caption(features, ids, **generation, **SCORED)
            with TOKENIZING:
                texts = self.stage.tokenizer.batch_decode(made.sequences[:, ids.shape[1] :], skip_special_tokens=True)
            scores = scores_of(self.stage.Qformer, made).tolist() if several > 1 else [None] * len(texts)
            written = [Reply(text.strip(), score=score) for text, score in zip(texts, scores)]
            replies.update(zip(numbers, best_of(written, several) if several > 1 else written))
        return [replies[i] for i in range(len(rows))]

    def pieces(self, seen: Seen, prompt: str, **generation: Any) -> Iterator[str]:
        """A caption in pieces, with one beam."""
        check_options(generation)
        check_one_beam(generation)
        features, ids = torch.cat(seen.features)[None], self._prompt_ids(prompt)[None]
        options = {**generation, "num_beams": 1}
        yield from stream_text(partial(self._caption, features, ids), self.stage.tokenizer, **options)

    def _queries_after(self, features: Tensor) -> Tensor:  # (B, T, D) -> (B, Q, C)
        queries = self.stage.query_tokens.expand(len(features), -1, -1)
        bert = self.stage.Qformer.bert
        return bert(query_embeds=queries, encoder_hidden_states=features, return_dict=True).last_hidden_state

    def _prompt_ids(self, prompt: str) -> Tensor:
        tokenizer = self.stage.tokenizer
        with TOKENIZING:
            ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return torch.tensor([tokenizer.bos_token_id, *ids], device=self.vit.device)

    def _caption(self, features: Tensor, ids: Tensor, **generation: Any) -> Any:
        tokenizer = self.stage.tokenizer
        return run_generate(
            self.stage.Qformer.generate,
            input_ids=ids,
            query_embeds=self.stage.query_tokens.expand(len(features), -1, -1),
            encoder_hidden_states=features,
            encoder_attention_mask=torch.ones(features.shape[:2], dtype=torch.long, device=features.device),
            eos_token_id=tokenizer.sep_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **sampled({**self.generation, **generation}),
        )


def _vit_state(model: nn.Module) -> dict[str, Tensor]:
    # offloaded weights have no values to compare
    state = cast(LavisModel, model).visual_encoder.state_dict()
    return {} if any(tensor.is_meta for tensor in state.values()) else state


def _load_with_lavis(source: str | Path) -> Unsupported:
    return Unsupported(
        f"{source} cannot be loaded as a LAVIS host: let LAVIS load it and give load_host the model, or turn its files "
        "into a transformers model with lens_plugins.hosts.convert.from_lavis."
    )
