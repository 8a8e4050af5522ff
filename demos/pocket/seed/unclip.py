"""How the pocket host draws: a small unCLIP diffusion in diffusers' own classes.

Diffusion runs on the autoencoder's latents and learns from cached ones. Its condition is an image embedding, more or
less noisy, and absent one time in ten, for guidance: mostly that of a scene's codes, which is what it will be given,
else the scene's own.

In the last run it draws, from noise and under guidance as it will be used, and the frozen ViT and ImageNet networks
look at what comes of it: the noise that is missed says little of what a picture shows, and noisy latents of the scene
itself tell the answer, which no drawing under way has. The decoder learns along, so that what it makes of latents that
are not quite those of a picture looks like one; the encoder stays, and with it the latents.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lens_plugins._optional import require
from lens_plugins.hosts.seed_llama.detokenizer import Detokenizer, Drawing

from ..loop import Stage, run
from .autoencoder import FACTOR, pixels_apart
from .embedding import ImageEmbedding, Judge, Reading
from .onlookers import SIDES, Critic, Onlooker, unlike
from .scenes import Look, Scenes, at_size, features_of, resized, turned
from .sizes import Sizes

if TYPE_CHECKING:
    from diffusers import AutoencoderDC, StableUnCLIPImg2ImgPipeline, UNet2DConditionModel

    from lens_plugins.splice import FrozenViT

__all__ = ["DRAWING", "Eye", "Given", "new_pipeline", "new_unet", "train_unet"]

DRAWING = {"steps": 10, "guidance": 2.5, "candidates": 4}
DROPPED = 0.1  # of the conditions
OWN = 0.2  # of the conditions are the scene's own embedding
# In the last run:
GLIMPSED = 0.25  # of the others are of codes read at a glimpse, which lenses make
GUIDANCE = 2.0  # of what is drawn
DRAWN = 0.75  # share of the latents that are of a drawing under way; the others are the scene's own, noisy
LATENTS = 0.3  # weight of how far latents are off
TURNED = 0.5  # weight of how far the ViT's features have turned
CLASS = 0.7  # share of the class token in that; the rest is the patches'
SAID = 0.1  # weight of how far what the text head says of it is from what it says of the condition
UNLIKE = 1.0  # weight of how far an ImageNet network's features are off
REAL = 0.1  # weight of the critics' opinion
REBUILT = 6  # scenes of each batch that the decoder makes of their own latents, so that it stays a decoder
SHARES = {"decoder.": 0.125, "critics.": 2.5}  # of the U-Net's rate
_TEXT = 16  # width of the text encoder that the pipeline wants and the diffusion does not read
_WORDS = 8  # length of its prompts


def new_unet(sizes: Sizes) -> UNet2DConditionModel:
    """Attends over latents, not over words; the image embedding scales and shifts every block.

    It says what is where and yet enters every place alike. Only few places, all within reach of a kernel that knows the
    border, can tell them apart: so the deepest level has 2 x 2. With 4 x 4 its guess out of pure noise was worse than
    that of a linear map.
    """
    diffusers = require("diffusers", extra="seed", purpose="Training what draws")
    torch.manual_seed(17)
    deeper = len(sizes.unet_widths) - 1
    return diffusers.UNet2DConditionModel(
        sample_size=sizes.pixels // FACTOR,
        in_channels=sizes.latent_channels,
        out_channels=sizes.latent_channels,
        block_out_channels=sizes.unet_widths,
        down_block_types=("AttnDownBlock2D",) + ("DownBlock2D",) * deeper,
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D",) * deeper + ("AttnUpBlock2D",),
        layers_per_block=sizes.unet_layers,
        attention_head_dim=min(32, *sizes.unet_widths),
        norm_num_groups=sizes.norm_groups,
        cross_attention_dim=_TEXT,
        resnet_time_scale_shift="scale_shift",
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * sizes.embedding,
    )


@dataclass(frozen=True)
class _Run:
    """One schedule of the diffusion; the next begins where it ended."""

    name: str
    steps: int
    batch: int
    lr: float
    seed: int
    close: bool = False  # the ViT looks at what is drawn


def _runs(sizes: Sizes) -> tuple[_Run, ...]:
    return (
        _Run("first", sizes.unet_steps, sizes.unet_batch, 6e-4, 17),
        _Run("close", sizes.unet_close, max(1, sizes.unet_batch // 2), 5e-4, 18, close=True),
    )


@dataclass(frozen=True)
class Given:
    """What the diffusion learns from; rows are those of the scenes."""

    scenes: Scenes
    latents: np.ndarray  # (C, c, h, w) of unit variance
    embeds: np.ndarray  # (2, C, E) that their codes stand for, read as they are and at a glimpse
    embedding: ImageEmbedding  # makes the scenes' own


@dataclass(frozen=True)
class Eye:
    """Who looks at what is drawn: the frozen ViT, its text head, and ImageNet networks."""

    vit: FrozenViT
    centre: Tensor  # (1 + N, D), the mean of many scenes' features
    reading: Reading
    onlookers: Sequence[Onlooker]

    @classmethod
    def of(cls, vit: FrozenViT, scenes: Scenes, reading: Reading, onlookers: Sequence[Onlooker]) -> Eye:
        return cls(vit, scenes.take(scenes.spread(512)).features.mean(0), reading, onlookers)

    def apart(self, rgb: Tensor, look: Look, asked: Tensor) -> tuple[Tensor, Tensor]:
        """How far features of what is drawn have turned from a look's, and what is said from what was asked for.

        Args:
            rgb: (B, 3, S, S), about 0 to 1, what is drawn.
            look: at what should be drawn.
            asked: (B, D) class tokens that the conditions stand for: unlike the look's, all that a drawing can know.

        Returns:
            (B,) each.
        """
        seen = features_of(self.vit, resized(rgb, self.vit.image_size))
        return turned(seen, look, self.centre, CLASS), self.reading.apart(seen[:, 0], asked)


class _Pupil(nn.Module):
    """What learns: the U-Net; in the last run the decoder and a critic for each onlooker, too."""

    def __init__(self, pipeline: StableUnCLIPImg2ImgPipeline, critics: Sequence[Critic]) -> None:
        super().__init__()
        self.unet = pipeline.unet
        if critics:
            self.decoder = pipeline.vae.decoder.requires_grad_(True)
            self.critics = nn.ModuleList(critics)


@dataclass(frozen=True)
class _Lesson:
    """A batch of scenes and what the diffusion is told of them."""

    look: Look
    clean: Tensor  # (B, c, h, w) latents
    noise: Tensor
    time: Tensor  # (B,)
    asked: Tensor  # (B, E)
    condition: Tensor  # (B, 2E), zeros where nothing is told
    told: Tensor  # (B,) 1 or 0


def train_unet(
    pipeline: StableUnCLIPImg2ImgPipeline,
    given: Given,
    eye: Eye,
    held: tuple[Tensor, Sequence[str], Sequence[str], Judge],
    sizes: Sizes,
    folder: Path,
) -> None:
    """Train the pipeline's U-Net in two runs, and its decoder in the second, or go on; leaves both rounded to float16.

    Args:
        eye: looks at what is drawn in the last run.
        held: (B, E) of held-out pictures' codes, their classes, those that the judge gives the pictures themselves, and
            the judge, who looks at what is drawn of them.
    """
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    check = _check_drawings(pipeline, held)
    for this in _runs(sizes):
        critics = _critics(given, eye) if this.close else []
        stage = Stage(
            steps=this.steps,
            lr=this.lr,
            warmup=100,
            weight_decay=0.01,
            average=0.99,
            check_every=sizes.check_every,
            seed=this.seed,
            shares=SHARES,
        )
        loss = partial(_loss, pipeline, given, eye, critics, this)
        run(_Pupil(pipeline, critics), loss, check, stage, folder / this.name)
    for part in (pipeline.unet, pipeline.vae):
        part.half().float().eval().requires_grad_(False)


def _critics(given: Given, eye: Eye) -> list[Critic]:
    """One for each onlooker."""
    torch.manual_seed(23)
    few = given.scenes.take(given.scenes.spread(2)).rgb
    embeds = torch.from_numpy(given.embeds[0, given.scenes.spread(2048)].astype(np.float32))
    with torch.no_grad():
        return [Critic(onlooker(few, SIDES[-1]), embeds) for onlooker in eye.onlookers]


def _lesson(pipeline: Any, given: Given, this: _Run, step: int, g: torch.Generator) -> _Lesson:
    """The batch of a step."""
    numbers = given.scenes.draw(np.random.default_rng([42 + this.seed, step]), this.batch)
    look = given.scenes.take(numbers)
    clean = torch.from_numpy(given.latents[numbers].astype(np.float32))
    noise = torch.randn(clean.shape, generator=g)
    time = torch.randint(pipeline.scheduler.config.num_train_timesteps, (2, len(clean)), generator=g)
    time = time.amax(0) if this.close else time[0]  # what a picture shows is settled early, in the noise
    glimpsed = torch.rand(len(clean), generator=g) < (GLIMPSED if this.close else 0)
    embeds = torch.from_numpy(given.embeds[glimpsed.long().numpy(), numbers].astype(np.float32))
    own = torch.rand(len(embeds), 1, generator=g) < OWN
    asked = torch.where(own, given.embedding(look), embeds)
    return _Lesson(look, clean, noise, time, asked, *_condition(pipeline, asked, g))


def _loss(
    pipeline: Any, given: Given, eye: Eye, critics: Sequence[Critic], this: _Run, step: int, g: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Of a step of either run."""
    lesson = _lesson(pipeline, given, this, step, g)
    if this.close:
        turn = step % len(critics)
        return _close(pipeline, given.embedding, eye, eye.onlookers[turn], critics[turn], lesson, g)
    return _plain(pipeline, lesson)


def _plain(pipeline: Any, this: _Lesson) -> tuple[Tensor, dict[str, float]]:
    """How far the velocity is off in noisy latents of a scene."""
    noisy = pipeline.scheduler.add_noise(this.clean, this.noise, this.time)
    wanted = _velocity(pipeline, this.clean, this.noise, this.time)
    missed = F.mse_loss(_predict(pipeline, noisy, this.time, this.condition), wanted)
    return missed, {"velocity": missed.item()}


def _close(
    pipeline: Any,
    embedding: ImageEmbedding,
    eye: Eye,
    onlooker: Onlooker,
    critic: Critic,
    this: _Lesson,
    g: torch.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """What the ViT, and one of the other networks, see in a drawing; and the critic's own loss."""
    guess, missed = _drawing(pipeline, this, g)
    rgb = _decoded(pipeline, guess)
    turn, said = eye.apart(rgb, this.look, embedding.class_token(this.asked))
    side = SIDES[int(torch.randint(len(SIDES), (), generator=g))]
    pictures = [this.look.rgb, torch.cat([rgb, _decoded(pipeline, this.clean[:REBUILT])])]
    if torch.rand((), generator=g) < 0.5:  # mirrored, all: what is no thing pleases a network from one side only
        pictures = [picture.flip(3) for picture in pictures]
    with torch.no_grad():
        true = onlooker(pictures[0], side)
    both = onlooker(pictures[1], side)
    seen, seen_again = both.part(slice(len(rgb))), both.part(slice(len(rgb), None))
    apart, unreal = unlike(seen, true), critic.against(seen, this.asked)
    judged = critic.own_loss(true, seen, this.asked)
    rebuilt = pictures[1][len(rgb) :]
    colours = pixels_apart(rebuilt, at_size(pictures[0][:REBUILT], rebuilt.shape[-1]))
    again = 2 * sum(colours) + unlike(seen_again, true.part(slice(REBUILT))).mean()
    told = {"turned": turn, "said": said, "unlike": apart, "unreal": unreal}
    parts = {name: (this.told * part).mean() for name, part in told.items()}
    weights = {"turned": TURNED, "said": SAID, "unlike": UNLIKE, "unreal": REAL}
    total = LATENTS * missed + again + judged + sum(weights[name] * part for name, part in parts.items())
    logged = {"missed": missed, "rebuilt": again, "judged": judged, **parts}
    return total, {name: part.item() for name, part in logged.items()}


def _drawing(pipeline: Any, this: _Lesson, g: torch.Generator) -> tuple[Tensor, Tensor]:  # (B, c, h, w), ()
    """The latents that a drawing under way is guessed to lead to, under guidance, and how far they are off without."""
    drawn = round(DRAWN * len(this.clean))
    noisy = pipeline.scheduler.add_noise(this.clean, this.noise, this.time)
    under_way = _under_way(pipeline, this.noise[:drawn], this.time[:drawn], this.condition[:drawn], g)
    guided = this.told.view(-1, 1, 1, 1) > 0  # told nothing, it can only draw a mean
    noisy = torch.cat([torch.where(guided[:drawn], under_way, noisy[:drawn]), noisy[drawn:]])
    found = _predict(pipeline, noisy, this.time, this.condition)
    with torch.no_grad():
        untold = _predict(pipeline, noisy, this.time, torch.zeros_like(this.condition))
    missed = (_guess(pipeline, noisy, this.time, found) - this.clean).pow(2).mean((1, 2, 3))  # (B,)
    off = (found - _velocity(pipeline, this.clean, this.noise, this.time)).pow(2).mean((1, 2, 3))
    missed = torch.cat([missed[:drawn], off[drawn:]]).mean()  # of a drawing under way no velocity is right
    return _guess(pipeline, noisy, this.time, _guided(found, untold)), missed


def _decoded(pipeline: Any, latents: Tensor) -> Tensor:
    """Pictures (B, 3, S, S), about 0 to 1, of latents of unit variance."""
    with torch.autocast("cpu", torch.bfloat16):
        return pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample.float() / 2 + 0.5


def _check_drawings(pipeline: StableUnCLIPImg2ImgPipeline, held: tuple[Tensor, Sequence[str], Sequence[str], Judge]):
    """Draw held-out pictures from their codes; how many have and how many keep their class, by the frozen ViT."""
    embeds, labels, own, judge = held

    def check(_: nn.Module) -> dict[str, float]:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            drawn = Detokenizer(pipeline).draw(embeds, [0] * len(embeds), Drawing.from_dict(DRAWING))
        rgb = torch.stack([torch.from_numpy(np.asarray(p, np.float32) / 255).permute(2, 0, 1) for p in drawn])
        said = judge.of_pictures(rgb)
        return {"test_class": judge.share(said, labels), "test_kept": judge.share(said, own)}

    return check


def _condition(
    pipeline: StableUnCLIPImg2ImgPipeline, embeds: Tensor, g: torch.Generator
) -> tuple[Tensor, Tensor]:  # -> (B, 2E), (B,)
    """Noisy embeddings and how noisy, as the pipeline's `noise_image_embeddings` puts them, and which are there."""
    from diffusers.models.embeddings import get_timestep_embedding

    schedule = pipeline.image_noising_scheduler
    levels = schedule.config.num_train_timesteps
    level = (levels * torch.rand(len(embeds), generator=g) ** 3).long()
    level = torch.where(torch.rand(len(embeds), generator=g) < 0.5, 0, level)  # half of them as they are drawn
    normal = pipeline.image_normalizer
    noisy = schedule.add_noise(normal.scale(embeds), torch.randn(embeds.shape, generator=g), level)
    known = get_timestep_embedding(level, embeds.shape[1], flip_sin_to_cos=True, downscale_freq_shift=0)
    told = torch.rand(len(embeds), 1, generator=g) >= DROPPED
    return torch.cat([normal.unscale(noisy), known], 1).detach() * told, told.flatten().float()


def _predict(pipeline: Any, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
    """The velocity that the U-Net finds: (B, c, h, w)."""
    words = noisy.new_zeros(len(noisy), 1, _TEXT)  # no block reads them
    with torch.autocast("cpu", torch.bfloat16):
        return pipeline.unet(noisy, time, encoder_hidden_states=words, class_labels=condition).sample.float()


def _velocity(pipeline: Any, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    return pipeline.scheduler.get_velocity(clean, noise, time)


def _shares(pipeline: Any, time: Tensor) -> tuple[Tensor, Tensor]:  # (B, 1, 1, 1) each
    """Of the clean latents and of the noise in noisy ones."""
    signal = pipeline.scheduler.alphas_cumprod[time].view(-1, 1, 1, 1)
    return signal.sqrt(), (1 - signal).sqrt()


def _guided(found: Tensor, untold: Tensor) -> Tensor:
    """Away from what is drawn of nothing, towards what was asked for."""
    return untold + GUIDANCE * (found - untold)


def _guess(pipeline: Any, noisy: Tensor, time: Tensor, velocity: Tensor) -> Tensor:
    """The clean latents that a velocity leads to."""
    signal, spread = _shares(pipeline, time)
    return signal * noisy - spread * velocity


@torch.no_grad()
def _under_way(pipeline: Any, noise: Tensor, time: Tensor, condition: Tensor, g: torch.Generator) -> Tensor:
    """What a drawing has come to at a time: from pure noise, in two leaps of the sampler under guidance."""
    start = torch.full_like(time, pipeline.scheduler.config.num_train_timesteps - 1)
    between = time + ((start - time) * torch.rand(len(time), generator=g)).long()
    noisy = pipeline.scheduler.add_noise(torch.zeros_like(noise), noise, start)
    both = torch.cat([condition, torch.zeros_like(condition)])
    for here, there in ((start, between), (between, time)):
        found, untold = _predict(pipeline, noisy.repeat(2, 1, 1, 1), here.repeat(2), both).chunk(2)
        velocity = _guided(found, untold)
        signal, spread = _shares(pipeline, here)
        left, more = _shares(pipeline, there)
        noisy = left * _guess(pipeline, noisy, here, velocity) + more * (spread * noisy + signal * velocity)
    return noisy


def new_pipeline(vae: AutoencoderDC, unet: UNet2DConditionModel, spread: Tensor, folder: Path) -> Any:
    """diffusers' pipeline around both.

    Args:
        spread: (2, E) mean and deviation of image embeddings.
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
