"""How the pocket host draws: a small unCLIP diffusion in diffusers' own classes.

Diffusion runs on the autoencoder's latents and learns from cached ones. Its condition is the image embedding of a
scene's codes, most of the time, or the scene's own; more or less noisy, and absent one time in ten, for guidance.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..._optional import require
from ...hosts.seed_llama.detokenizer import Detokenizer, Drawing
from ..loop import Stage, run
from .autoencoder import FACTOR
from .embedding import ImageEmbedding, Judge
from .scenes import Scenes
from .sizes import Sizes

if TYPE_CHECKING:
    from diffusers import AutoencoderDC, StableUnCLIPImg2ImgPipeline, UNet2DConditionModel

__all__ = ["DRAWING", "new_pipeline", "new_unet", "train_unet"]

DRAWING = {"steps": 20, "guidance": 4.0, "candidates": 2}
DROPPED = 0.1  # of the conditions
OWN = 0.2  # of the conditions are the scene's own embedding
_TEXT = 16  # width of the text encoder that the pipeline wants and the diffusion does not read
_WORDS = 8  # length of its prompts


def new_unet(sizes: Sizes) -> UNet2DConditionModel:
    """Attends over latents, not over words; the image embedding scales and shifts every block."""
    diffusers = require("diffusers", extra="seed", purpose="Training what draws")
    torch.manual_seed(17)
    deep = len(sizes.unet_widths) - 1
    return diffusers.UNet2DConditionModel(
        sample_size=sizes.pixels // FACTOR,
        in_channels=sizes.latent_channels,
        out_channels=sizes.latent_channels,
        block_out_channels=sizes.unet_widths,
        down_block_types=("AttnDownBlock2D",) * deep + ("DownBlock2D",),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D",) + ("AttnUpBlock2D",) * deep,
        layers_per_block=2,
        attention_head_dim=min(32, *sizes.unet_widths),
        norm_num_groups=sizes.norm_groups,
        cross_attention_dim=_TEXT,
        resnet_time_scale_shift="scale_shift",
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * sizes.embedding,
    )


def train_unet(
    pipeline: StableUnCLIPImg2ImgPipeline,
    scenes: Scenes,
    latents: np.ndarray,
    embeds: np.ndarray,
    embedding: ImageEmbedding,
    held: tuple[Tensor, Sequence[str], Judge],
    sizes: Sizes,
    folder: Path,
) -> None:
    """Train the pipeline's U-Net in two runs, or go on; leaves it rounded to float16.

    Args:
        latents: (C, c, h, w) of unit variance, of all scenes.
        embeds: (C, E) of all scenes' codes.
        embedding: makes the scenes' own.
        held: (B, E) of held-out pictures' codes, their classes, and who judges what is drawn of them.
    """
    unet, levels = pipeline.unet, pipeline.scheduler.config.num_train_timesteps

    def loss(drawn: int, step: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        numbers = scenes.draw(np.random.default_rng([drawn, step]), sizes.unet_batch)
        clean = torch.from_numpy(latents[numbers].astype(np.float32))
        noise = torch.randn(clean.shape, generator=g)
        time = torch.randint(levels, (len(clean),), generator=g)
        given = torch.from_numpy(embeds[numbers].astype(np.float32))
        own = torch.rand(len(given), 1, generator=g) < OWN
        given = torch.where(own, embedding(scenes.take(numbers)), given)
        found = _predict(pipeline, clean, noise, time, _condition(pipeline, given, g))
        missed = F.mse_loss(found, pipeline.scheduler.get_velocity(clean, noise, time))
        return missed, {"velocity": missed.item()}

    unet.to(memory_format=torch.channels_last)
    check = _check_drawings(pipeline, held)
    runs = (("first", sizes.unet_steps, 6e-4, (17, 59)), ("further", sizes.unet_further, 4e-4, (18, 60)))
    for name, steps, rate, (seed, drawn) in runs:
        stage = Stage(
            steps=steps,
            lr=rate,
            warmup=100,
            weight_decay=0.01,
            average=0.995,
            check_every=sizes.check_every,
            seed=seed,
        )
        run(unet, partial(loss, drawn), check, stage, folder / name)
    unet.half().float().eval()


def _check_drawings(pipeline: StableUnCLIPImg2ImgPipeline, held: tuple[Tensor, Sequence[str], Judge]):
    """Draw held-out pictures from their codes; how many keep their class, by the frozen ViT."""
    embeds, labels, judge = held

    def check(_: nn.Module) -> dict[str, float]:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            drawn = Detokenizer(pipeline).draw(embeds, [0] * len(embeds), Drawing.from_dict(DRAWING))
        rgb = torch.stack([torch.from_numpy(np.asarray(p, np.float32) / 255).permute(2, 0, 1) for p in drawn])
        return {"test_class": judge.share(judge.of_pictures(rgb), labels)}

    return check


def _condition(pipeline: StableUnCLIPImg2ImgPipeline, embeds: Tensor, g: torch.Generator) -> Tensor:
    """Noisy embeddings and how noisy, as the pipeline's `noise_image_embeddings` puts them; some absent: (B, 2E)."""
    from diffusers.models.embeddings import get_timestep_embedding

    schedule = pipeline.image_noising_scheduler
    levels = schedule.config.num_train_timesteps
    level = (levels * torch.rand(len(embeds), generator=g) ** 3).long()
    level = torch.where(torch.rand(len(embeds), generator=g) < 0.5, 0, level)  # half of them as they are drawn
    normal = pipeline.image_normalizer
    noisy = schedule.add_noise(normal.scale(embeds), torch.randn(embeds.shape, generator=g), level)
    known = get_timestep_embedding(level, embeds.shape[1], flip_sin_to_cos=True, downscale_freq_shift=0)
    kept = torch.rand(len(embeds), 1, generator=g) >= DROPPED
    return torch.cat([normal.unscale(noisy), known], 1).detach() * kept


def _predict(pipeline: Any, clean: Tensor, noise: Tensor, time: Tensor, condition: Tensor) -> Tensor:
    noisy = pipeline.scheduler.add_noise(clean, noise, time)
    words = noisy.new_zeros(len(noisy), 1, _TEXT)  # no block reads them
    with torch.autocast("cpu", torch.bfloat16):
        return pipeline.unet(noisy, time, encoder_hidden_states=words, class_labels=condition).sample.float()


def new_pipeline(vae: AutoencoderDC, unet: UNet2DConditionModel, spread: Tensor, folder: Path) -> Any:
    """diffusers' pipeline around both.

    Args:
        spread: (2, E) mean and deviation of the image embeddings.
        folder: for the files of its text tokenizer.
    """
    from diffusers import DDIMScheduler, DDPMScheduler, StableUnCLIPImg2ImgPipeline
    from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
    from transformers import CLIPTextConfig, CLIPTextModel

    normal = StableUnCLIPImageNormalizer(embedding_dim=spread.shape[1]).requires_grad_(False)
    normal.mean.copy_(spread[:1])
    normal.std.copy_(spread[1:])
    text = CLIPTextConfig(
        vocab_size=4,
        hidden_size=_TEXT,
        intermediate_size=_TEXT,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=_WORDS,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=3,
    )
    torch.manual_seed(19)
    return StableUnCLIPImg2ImgPipeline(
        feature_extractor=None,
        image_encoder=None,
        image_normalizer=normal,
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=_clip_words(folder),
        text_encoder=CLIPTextModel(text).requires_grad_(False).eval(),
        unet=unet,
        # From pure noise down: pictures on white are bright as a whole, which a schedule that ends early cannot draw.
        scheduler=DDIMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            timestep_spacing="trailing",
            clip_sample=False,
            set_alpha_to_one=True,
        ),
        vae=vae,
    )


def _clip_words(folder: Path) -> Any:
    """The smallest tokenizer of CLIP's kind: prompts are always empty."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    known = {token: n for n, token in enumerate(["a", "a</w>", "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(known), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=_WORDS)
