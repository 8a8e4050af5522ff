"""Small hosts, lenses and inputs with random weights, in real formats: seconds to build, nothing to download."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .._config import trait
from ..catalog import find_modality
from ..inputs import ModalityInput
from ..inputs.settings import InputSettings, ViTShape
from ..lens.config import LensConfig, embedding_class, settings_class
from ..lens.embeddings.base import EmbeddingConfig, required_input
from ..lens.lens import Lens
from ..lens.perceiver import PerceiverConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "HOSTS",
    "IMAGE_SIZE",
    "PATCHES",
    "TEXT_WIDTH",
    "WIDTH",
    "small_config",
    "small_host",
    "small_input",
    "small_lens",
    "write_host",
    "write_text_tower",
]

WIDTH, PATCHES, IMAGE_SIZE = 32, 4, 28
TEXT_WIDTH = 8
_FREE_AXIS = 40  # where the inputs of one lens may differ in size
HOSTS = ("instructblip-llama", "instructblip-t5", "blip2-opt", "blip2-t5", "instructblipvideo-llama", "minigpt4-llama")

_WORDS = (
    "a",
    "short",
    "image",
    "caption",
    ".",
    "what",
    "is",
    "this",
    "it",
    "of",
    "the",
    "photo",
    "piano",
    "tell",
    "story",
)
_VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": IMAGE_SIZE,
    "patch_size": 14,
}
_QFORMER = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 160,
    "encoder_hidden_size": WIDTH,
}


def small_host(name: str, *, seed: int = 0) -> PreTrainedModel:
    """One of `HOSTS` in transformers' own classes, random but lively: every stage changes what it is given."""
    import transformers

    from .small_prefix import MODELS

    if name in MODELS:
        return MODELS[name](seed=seed)
    family, language_model = name.split("-")
    kind = {"instructblip": "InstructBlip", "blip2": "Blip2"}[family]
    config = getattr(transformers, f"{kind}Config")(
        vision_config=_VISION,
        qformer_config=_QFORMER,
        text_config=_text_config(language_model),
        num_query_tokens=3,
        image_token_index=39,
    )
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight_name, weight in model.named_parameters():
            # Norms around 1, all else around 0: with weights near 0 every stage would pass its input through.
            norm = weight.ndim == 1 and not weight_name.endswith("bias")
            weight.normal_(float(norm), 0.1 if weight.ndim == 1 else 0.3, generator=generator)
    return model


def write_host(folder: str | os.PathLike[str], name: str, *, seed: int = 0) -> Path:
    """The same as a folder that transformers and `load_host` read, tokenizers included."""
    from .small_prefix import WRITERS

    if name in WRITERS:
        return WRITERS[name](folder, seed=seed)
    folder = Path(folder)
    small_host(name, seed=seed).save_pretrained(folder)
    family, language_model = name.split("-")
    _tokenizer(language_model).save_pretrained(folder)
    if family == "instructblip":
        _tokenizer("bert").save_pretrained(folder / "qformer_tokenizer")
    return folder


def write_text_tower(folder: str | os.PathLike[str], *, seed: int = 0) -> Path:
    """A small sentence encoder as a folder that `load_host(..., text_tower=...)` reads.

    In it lies `text_head.safetensors`, which leads to its space from the ViT of `small_host`.
    """
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=40, hidden_size=TEXT_WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=40,
    )  # fmt: skip
    folder, generator = Path(folder), torch.Generator().manual_seed(seed)
    model = BertModel(config).requires_grad_(False)
    for name, weight in model.named_parameters():
        weight.normal_(float(weight.ndim == 1 and not name.endswith("bias")), 0.3, generator=generator)
    model.save_pretrained(folder)
    _tokenizer("bert").save_pretrained(folder)
    head = {"weight": torch.randn(TEXT_WIDTH, WIDTH, generator=generator), "bias": torch.zeros(TEXT_WIDTH)}
    save_file(head, folder / "text_head.safetensors")
    return folder


def small_lens(modality: str, *, width: int = WIDTH, latents: int = PATCHES, clips: int = 3, seed: int = 0) -> Lens:
    """A lens of any modality that fits `small_host`, frozen; sized as its embedding and settings say in `small`."""
    lens = Lens(small_config(modality, width, latents, clips)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for weight in lens.parameters():
        weight.normal_(0.0, 0.3, generator=generator)
    return lens


def small_input(modality: str, *, clips: int = 3, seed: int = 0) -> ModalityInput:
    """What `read` makes of a file, for `small_lens` and the small hosts' own pictures."""
    if find_modality(modality).embedding is None:
        settings = settings_class(modality).for_vit(ViTShape(WIDTH, PATCHES, IMAGE_SIZE))
    else:
        settings = small_config(modality, WIDTH, PATCHES, clips).input
    shape = [_FREE_AXIS if size is None else size for size in trait(settings, "shape", InputSettings)]
    return ModalityInput(modality, torch.randn(shape, generator=torch.Generator().manual_seed(seed)), None)


def small_config(modality: str, width: int, latents: int, clips: int) -> LensConfig:
    """The classes of a modality at their small sizes, with the parts of a lens for a large ViT."""
    embedding_type, settings_type = embedding_class(modality).config_class, settings_class(modality)
    vit = ViTShape(WIDTH, PATCHES, IMAGE_SIZE)
    embedding = trait(embedding_type, "for_vit", EmbeddingConfig)(vit)
    embedding = replace(embedding, **trait(embedding_type, "small", EmbeddingConfig))
    settings = trait(settings_type, "for_vit", InputSettings)(vit)
    values = {**trait(settings_type, "small", InputSettings), **required_input(embedding, settings_type)}
    settings = replace(settings, **values, **({"clips": clips} if hasattr(settings, "clips") else {}))
    # As a large ViT would have it, so that lenses with and without a resampler are both tested.
    depth, _ = trait(embedding_type, "resampling", EmbeddingConfig)(replace(vit, width=1024))
    if depth == 0:
        return LensConfig(modality, width, replace(embedding, width=width), None, settings)
    resampler = PerceiverConfig(width, latents, embedding.width, 1, 1, 1, 16, 2, 16)
    return LensConfig(modality, width, embedding, resampler, settings)


def _text_config(name: str) -> Any:
    from transformers import LlamaConfig, OPTConfig, T5Config

    if name == "llama":
        return LlamaConfig(
            vocab_size=40, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
    if name == "opt":
        return OPTConfig(
            vocab_size=40, hidden_size=64, word_embed_proj_dim=64, ffn_dim=64, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=256, bos_token_id=2, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
    return T5Config(
        vocab_size=40, d_model=64, d_kv=16, d_ff=64, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu",
        decoder_start_token_id=0, eos_token_id=2, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip


def _tokenizer(name: str) -> Any:
    """Whole words, with the special tokens that each family puts around a prompt."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"] if name == "bert" else ["<pad>", "<s>", "</s>", "<unk>"]
    pad, start, end, unknown = special
    vocabulary = {word: number for number, word in enumerate([*special, *_WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=unknown))
    tokenizer.pre_tokenizer = Whitespace()
    template = {"bert": f"{start} $A {end}", "llama": f"{start} $A", "opt": f"{end} $A", "t5": f"$A {end}"}[name]
    numbers = [(token, vocabulary[token]) for token in (start, end)]
    tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=numbers)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, bos_token=start, eos_token=end, unk_token=unknown
    )
