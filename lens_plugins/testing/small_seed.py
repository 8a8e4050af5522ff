"""A small SEED-LLaMA with random weights, in real formats: every part that the real one has, built in seconds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from ..hosts.seed_llama.config import SeedConfig
from ..hosts.seed_llama.host import SeedLlama
from ..hosts.seed_llama.tokenizer import SeedTokenizer
from ..hosts.seed_llama.vocabulary import BEGIN, CODE, END
from .small import IMAGE_SIZE, WIDTH

if TYPE_CHECKING:
    from diffusers import StableUnCLIPImg2ImgPipeline

__all__ = [
    "SEED_CONFIG",
    "lively",
    "small_seed_llama",
    "small_tokenizer",
    "small_unclip",
    "small_words",
    "write_seed_host",
]

SEED_CONFIG = SeedConfig(
    image_size=IMAGE_SIZE,
    patch_size=14,
    vit_width=WIDTH,
    vit_mlp=64,
    vit_layers=2,
    vit_heads=2,
    qformer_width=24,
    qformer_mlp=48,
    qformer_layers=2,
    qformer_heads=2,
    queries=5,
    codes=17,
    code_width=6,
    decoder_width=24,
    decoder_mlp=48,
    decoder_layers=2,
    decoder_heads=3,
    down=(16, 4),
    embedding_width=20,
)
_WORDS = (
    "USER ASSISTANT : INST [ / ] a an the this it what is of in one picture image please generate make combine them "
    "to describe red blue piano , . provide accurate and concise description given Please"
)


M = TypeVar("M", bound=nn.Module)


def lively(module: M, *, seed: int = 0) -> M:
    """Random weights with which every stage changes what it is given; frozen, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            norm = weight.ndim == 1 and not name.endswith("bias")
            weight.normal_(float(norm), 0.1 if weight.ndim == 1 else 0.3, generator=generator)
    return module.requires_grad_(False).eval()


def small_words(*, codes: int = SEED_CONFIG.codes) -> Any:
    """A text tokenizer of whole words, with the tokens of pictures in an order that arithmetic would not guess."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *_WORDS.split()])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    words = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    # ids out of order: nobody may reckon them from the codes
    words.add_tokens([END, *(CODE.format(code) for code in reversed(range(codes))), BEGIN] if codes else [])
    return words


def small_tokenizer(*, seed: int = 0) -> SeedTokenizer:
    """Random, yet of many codes: each picture has several, and different ones."""
    # entries as far apart as what is looked up: else one code would be nearest to all
    tokenizer = lively(SeedTokenizer.from_config(SEED_CONFIG), seed=seed)
    with torch.no_grad():
        tokenizer.codebook.weight.mul_(4)
    return tokenizer


def small_seed_llama(*, seed: int = 0, layers: int = 2) -> SeedLlama:
    """The tokenizer and a LLaMA whose vocabulary has its codes, random."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(small_words()),
        hidden_size=64,  # the block of 4 bit
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return SeedLlama(small_tokenizer(seed=seed), lively(LlamaForCausalLM(config), seed=seed + 1))


def small_unclip(folder: Path, *, embedding_width: int = SEED_CONFIG.embedding_width) -> StableUnCLIPImg2ImgPipeline:
    """A pipeline of 16 pixels in diffusers' own classes, random; without a CLIP image encoder.

    Args:
        folder: for the files of its text tokenizer.
    """
    from diffusers import DDIMScheduler, DDPMScheduler, StableUnCLIPImg2ImgPipeline
    from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        parts = _unet_vae_text(embedding_width)
    return StableUnCLIPImg2ImgPipeline(
        feature_extractor=None,
        image_encoder=None,
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=embedding_width),
        image_noising_scheduler=DDPMScheduler(),
        tokenizer=_clip_tokenizer(folder),
        scheduler=DDIMScheduler(),
        **parts,
    )


def _unet_vae_text(embedding_width: int) -> dict[str, nn.Module]:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=16,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * embedding_width,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,
    )
    text = CLIPTextConfig(
        vocab_size=4,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=3,
    )
    return {"unet": unet.eval(), "vae": vae.eval(), "text_encoder": CLIPTextModel(text).eval()}


def _clip_tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: n for n, token in enumerate(["a", "a</w>", "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def write_seed_host(folder: str | os.PathLike[str], *, seed: int = 0, **notes: Any) -> Path:
    """A folder that `load_host` reads: tokenizer, language model, pipeline.

    Args:
        notes: fields of `seed_llama.json`.
    """
    folder = Path(folder)
    model = small_seed_llama(seed=seed)
    model.tokenizer.save_pretrained(folder / "tokenizer")
    language_model: Any = model.language_model
    language_model.save_pretrained(folder / "llm")
    small_words().save_pretrained(folder / "llm")
    small_unclip(folder / "clip").save_pretrained(folder / "unclip")
    (folder / "lens_plugins.json").write_text(json.dumps({"kind": "seed_llama"}))
    (folder / "seed_llama.json").write_text(json.dumps({"drawing": {"steps": 2}, **notes}))
    return folder
