"""The SEED tokenizer of the pocket host: a causal Q-Former over frozen features, its codebook, and the way back.

Trained on cached features alone: the image embedding that codes stand for comes near to the picture's own, and the
class token inside it keeps its name. Half of the time the Q-Former sees features as a lens might make them: class token
and mean patch right, the patches apart from that hidden, shuffled or another picture's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lens_plugins.hosts.seed_llama.config import SeedConfig
from lens_plugins.hosts.seed_llama.tokenizer import SeedTokenizer

from ..build import read_tower
from ..loop import Stage, run
from ..vit import UNNAMED, Labels
from .embedding import ImageEmbedding, Judge
from .scenes import PAIR, SCENES, Look, Scenes
from .sizes import Sizes

__all__ = ["CodePupil", "check_codes", "glimpse", "kmeans", "new_tokenizer", "train_tokenizer", "turned_token"]

FREE = 0.1  # of the steps, at the start, without a codebook
REVIVED = 0.75  # of the steps; until then unused codes are put elsewhere
DECAY = 0.97  # of the running means that codes follow
SCALE = 20.0  # of cosines to names


def new_tokenizer(host: Path, sizes: Sizes) -> SeedTokenizer:
    """A fresh tokenizer around the frozen ViT of a written InstructBLIP host."""
    from transformers import InstructBlipConfig

    vit = InstructBlipConfig.from_pretrained(host).vision_config
    config = SeedConfig(
        image_size=vit.image_size,
        patch_size=vit.patch_size,
        vit_width=vit.hidden_size,
        vit_mlp=vit.intermediate_size,
        vit_layers=vit.num_hidden_layers,
        vit_heads=vit.num_attention_heads,
        qformer_width=sizes.qformer_width,
        qformer_mlp=4 * sizes.qformer_width,
        qformer_layers=sizes.qformer_layers,
        qformer_heads=4,
        queries=sizes.queries,
        codes=sizes.codes,
        code_width=sizes.code_width,
        decoder_width=sizes.qformer_width,
        decoder_mlp=3 * sizes.qformer_width,
        decoder_layers=sizes.decoder_layers,
        decoder_heads=4,
        down=sizes.down,
        embedding_width=sizes.embedding,
        norm_eps=vit.layer_norm_eps,
    )
    torch.manual_seed(7)
    tokenizer = SeedTokenizer.from_config(config)
    for module in tokenizer.qformer.modules():
        if isinstance(module, nn.Linear):  # three times the usual: features are heard from the first step on
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
    nn.init.normal_(tokenizer.query_tokens, std=0.02)
    nn.init.normal_(tokenizer.positions, std=0.2)
    tokenizer.vision_model.load_state_dict(read_tower(host))
    tokenizer.vision_model.requires_grad_(False)
    tokenizer.codebook.requires_grad_(False)  # codes follow running means, not gradients
    return tokenizer


class CodePupil(nn.Module):
    """The tokenizer with what only training needs; frozen parts are at hand, not inside."""

    def __init__(self, tokenizer: SeedTokenizer, embedding: ImageEmbedding, head: nn.Linear, names: Tensor) -> None:
        """`head` and `names` (T, 384): the ViT's text head, and unit sentence embeddings of all names."""
        super().__init__()
        self.tokenizer = tokenizer
        self.register_buffer("used", torch.ones(tokenizer.codes))  # running count of each code
        self.register_buffer("sums", torch.zeros_like(tokenizer.codebook.weight))  # and of the vectors that chose it
        self.frozen = (embedding, head, names)  # a tuple: not registered as submodules
        self.train()

    def train(self, mode: bool = True) -> CodePupil:
        """The Q-Former stays in eval mode: dropout would blur which code is nearest."""
        super().train(mode)
        self.tokenizer.qformer.eval()
        return self

    def vectors(self, features: Tensor) -> Tensor:  # (B, T, D) -> (B, Q, c)
        with torch.autocast("cpu", torch.bfloat16):
            out = self.tokenizer.causal_output(features)
        return self.tokenizer.to_code(out.float())

    def nearest(self, vectors: Tensor) -> Tensor:  # (B, Q, c) -> (B, Q)
        entries = self.tokenizer.codebook.weight
        return (entries.pow(2).sum(-1) - 2 * vectors.detach() @ entries.T).argmin(-1)

    def embeds(self, entries: Tensor) -> Tensor:  # (B, Q, c) -> (B, E)
        """As `SeedTokenizer.image_embeds`, of vectors in place of codes, so that gradients flow."""
        parts = self.tokenizer
        with torch.autocast("cpu", torch.bfloat16):
            out = parts.decoder(parts.from_code(entries) + parts.positions).last_hidden_state
        return parts.projection(parts.down(out.float()).flatten(1))

    def names(self, embeds: Tensor) -> Tensor:  # (B, E) -> (B, T)
        """Scaled cosines of the class token inside an embedding to all names."""
        embedding, head, names = self.frozen
        return SCALE * F.normalize(head(embedding.class_token(embeds)), dim=-1) @ names.T

    @torch.no_grad()
    def follow(self, vectors: Tensor, codes: Tensor) -> None:
        """Move codes towards the mean of the vectors that chose them."""
        chosen = F.one_hot(codes.flatten(), len(self.used)).float()  # (B·Q, K)
        self.used.lerp_(chosen.sum(0), 1 - DECAY)
        self.sums.lerp_(chosen.T @ vectors.detach().flatten(0, 1), 1 - DECAY)
        self.tokenizer.codebook.weight.copy_(self.sums / self.used.clamp(min=1e-3)[:, None])

    @torch.no_grad()
    def place(self, codes: Tensor, entries: Tensor) -> None:
        """Put some codes (n,) at entries (n, c), as if each had been chosen once in a while."""
        self.used[codes], self.sums[codes] = 1.0, entries
        self.tokenizer.codebook.weight[codes] = entries

    @torch.no_grad()
    def revive(self, vectors: Tensor, g: torch.Generator) -> int:
        """Put codes that are hardly used where vectors are; returns how many."""
        dead = (self.used < 0.03 * self.used.mean()).nonzero()[:, 0]
        pool = vectors.detach().flatten(0, 1)
        self.place(dead, pool[torch.randint(len(pool), (len(dead),), generator=g)])
        return len(dead)


def kmeans(vectors: Tensor, count: int, g: torch.Generator, rounds: int = 10) -> Tensor:
    """Centres of vectors (n, c): (count, c). With fewer vectors than centres some are repeated, a little apart."""
    centres = vectors[torch.randperm(len(vectors), generator=g).repeat(math.ceil(count / len(vectors)))[:count]]
    centres = centres + 1e-3 * vectors.std() * torch.randn(centres.shape, generator=g)
    for _ in range(rounds):
        chosen = F.one_hot(torch.cdist(vectors, centres).argmin(1), count).float()  # (n, count)
        sizes = chosen.sum(0)
        centres = torch.where(sizes[:, None] > 0, chosen.T @ vectors / sizes.clamp(min=1)[:, None], centres)
    return centres


def glimpse(features: Tensor, g: torch.Generator) -> Tensor:
    """Features (B, 1 + N, D) as they are, with patches missing, or as a lens makes them: (B, 1 + n, D)."""
    kind = float(torch.rand((), generator=g))
    count = features.shape[1] - 1
    order = torch.randperm(count, generator=g)
    if kind < 0.75 and kind >= 0.5:
        kept = order[: int(torch.randint(count + 1, (), generator=g))]
        features = features[:, F.pad(kept + 1, (1, 0))]  # the class token stays
    elif kind >= 0.75:
        mean = features[:, 1:].mean(1, keepdim=True)
        apart = (features[:, 1:] - mean)[:, order]
        apart = apart.roll(1, 0) if kind >= 0.875 else apart
        share = torch.rand(len(features), 1, 1, generator=g)
        features = torch.cat([features[:, :1], mean + share * apart], 1)
    noise = 0.2 * torch.rand(len(features), 1, 1, generator=g)
    return features + noise * torch.randn(features.shape, generator=g)


def train_tokenizer(
    pupil: CodePupil, scenes: Scenes, held: tuple[Look, Sequence[str]], judge: Judge, sizes: Sizes, folder: Path
) -> None:
    """Train, or go on; then codes become the means of what chooses them, and all is rounded to float16.

    `held` are held-out pictures and their classes.
    """
    names = _name_of(scenes)
    free = int(FREE * sizes.tokenizer_steps)

    def loss(step: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        numbers = scenes.draw(np.random.default_rng([51, step]), sizes.tokenizer_batch)
        look = scenes.take(numbers)
        vectors = pupil.vectors(glimpse(look.features, g))
        numbers_logged: dict[str, float] = {}
        entries, held_by = vectors, torch.zeros(())
        if step == free:
            pool = vectors.detach().flatten(0, 1)
            pupil.place(torch.arange(sizes.codes), kmeans(pool, sizes.codes, g))
        if step >= free:
            codes = pupil.nearest(vectors)
            chosen = pupil.tokenizer.codebook(codes)
            held_by = F.mse_loss(vectors, chosen)
            entries = vectors + (chosen - vectors).detach()  # gradients pass as if nothing had been rounded
            pupil.follow(vectors, codes)
            if step % 10 == 0 and step < REVIVED * sizes.tokenizer_steps:
                numbers_logged["revived"] = pupil.revive(vectors, g)
        embeds = pupil.embeds(entries)
        missed = F.mse_loss(embeds, pupil.frozen[0](look))
        named = _named(pupil.names(embeds), names[numbers])
        turned = turned_token(pupil.frozen[0], embeds, look.features[:, 0])
        parts = {"missed": missed, "turned": turned, "name": named, "commitment": held_by}
        numbers_logged |= {key: value.item() for key, value in parts.items()}
        return missed + 2 * turned + 0.1 * named + 0.25 * held_by, numbers_logged

    stage = Stage(
        steps=sizes.tokenizer_steps,
        lr=1e-3,
        muon_lr=2e-3,
        warmup=50,
        average=0.98,
        check_every=sizes.check_every,
        seed=11,
    )
    run(pupil, loss, lambda _: check_codes(pupil, held, judge), stage, folder)
    _settle(pupil, scenes, sizes)
    pupil.tokenizer.half().float()
    pupil.eval()


def _named(logits: Tensor, names: Tensor) -> Tensor:
    """Cross-entropy over the scenes that have a name; 0 where none has."""
    total = F.cross_entropy(logits, names, ignore_index=UNNAMED, label_smoothing=0.05, reduction="sum")
    return total / (names != UNNAMED).sum().clamp(min=1)


def turned_token(embedding: ImageEmbedding, embeds: Tensor, own: Tensor) -> Tensor:
    """How far class tokens in embeddings (B, E) have turned from pictures' own (B, D), seen from the mean of all."""
    centre = embedding.centre[: embedding.vit_width]
    return 1 - F.cosine_similarity(embedding.class_token(embeds) - centre, own - centre, dim=-1).mean()


def _name_of(scenes: Scenes) -> Tensor:
    """The name row of each scene; of two things side by side none."""
    of_group = Labels.of(scenes.pictures.rows).name_of[scenes.plan.picture]
    names = of_group[:, None].repeat(1, SCENES)
    names[:, PAIR] = UNNAMED
    return names.flatten()


@torch.no_grad()
def check_codes(pupil: CodePupil, held: tuple[Look, Sequence[str]], judge: Judge) -> dict[str, float]:
    """On held-out pictures: the part of the embedding that is missed, codes in use, and classes kept."""
    (look, labels), embedding = held, pupil.frozen[0]
    wanted = embedding(look)
    codes = pupil.nearest(pupil.vectors(look.features))
    found = pupil.embeds(pupil.tokenizer.codebook(codes))
    share = codes.flatten().bincount(minlength=pupil.tokenizer.codes) / codes.numel()
    named = {key: judge.of_tokens(embedding.class_token(x)) for key, x in (("class", found), ("own", wanted))}
    return {
        "test_missed": float((found - wanted).pow(2).mean() / wanted.var(0).mean()),
        "test_turned": turned_token(embedding, found, look.features[:, 0]).item(),
        "test_codes": float(torch.special.entr(share).sum().exp()),  # perplexity
        "test_kept": judge.share(named["class"], judge.of_tokens(look.features[:, 0])),
        **{f"test_{key}": judge.share(said, labels) for key, said in named.items()},
    }


@torch.no_grad()
def _settle(pupil: CodePupil, scenes: Scenes, sizes: Sizes, rounds: int = 2) -> None:
    """With the averaged weights in place, put each code at the mean of the vectors that choose it."""
    numbers = scenes.spread(4096)
    chunks = np.array_split(numbers, math.ceil(len(numbers) / 256))
    vectors = torch.cat([pupil.vectors(scenes.take(chunk).features) for chunk in chunks]).flatten(0, 1)
    entries = pupil.tokenizer.codebook.weight
    for _ in range(rounds):
        codes = pupil.nearest(vectors[None])[0]
        used = codes.bincount(minlength=sizes.codes)
        sums = torch.zeros_like(entries).index_add_(0, codes, vectors)
        entries.copy_(torch.where(used[:, None] > 0, sums / used.clamp(min=1)[:, None], entries))
