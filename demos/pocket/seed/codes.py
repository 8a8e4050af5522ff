"""Codes of every scene by the finished codebook, and the training of the way back from them.

A codebook moves until the very end, so what turns codes into image embeddings is always a step behind it. With codes
that no longer change, and with what the ViT's text head says as a goal, embeddings keep the class of 84 % of held-out
pictures, where they had kept 75 %.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lens_plugins.hosts.seed_llama.tokenizer import SeedTokenizer
from lens_plugins.splice import FrozenViT

from ..loop import Stage, run
from ..packs import Pictures
from .embedding import Judge, Reading
from .scenes import Look, Plan, Scenes, draw_scenes, look_at
from .sizes import Sizes
from .tokenizer import CodePupil, check_codes, glimpse, turned_token

__all__ = ["Codes", "drawn_looks", "embeds_of", "read_codes", "scene_looks", "train_way_back"]

GLIMPSED = 0.4  # share of the codes that were read at a glimpse
SAID = 0.3  # weight of what the text head says
BACK = ("from_code.", "positions", "decoder.", "down.", "projection.")  # the parts that lead from codes to embeddings


@dataclass(frozen=True)
class Codes:
    """What scenes are read as, and what should come back."""

    codes: np.ndarray  # (2, C, Q) int16, as they are and at a glimpse
    wanted: np.ndarray  # (C, E) float16, the scenes' own image embeddings
    tokens: np.ndarray  # (C, D) float16, the ViT's class tokens of them

    def __len__(self) -> int:
        return len(self.wanted)

    def joined(self, other: Codes) -> Codes:
        """The scenes of both, those of `other` behind."""
        return Codes(
            np.concatenate([self.codes, other.codes], 1),
            np.concatenate([self.wanted, other.wanted]),
            np.concatenate([self.tokens, other.tokens]),
        )

    @classmethod
    def open(cls, folder: Path) -> Codes:
        return cls(*(np.load(folder / f"{field.name}.npy", allow_pickle=False) for field in fields(cls)))


def scene_looks(scenes: Scenes, batch: int = 256) -> Iterator[Look]:
    """All scenes that are kept, in their order."""
    for first in range(0, len(scenes), batch):
        yield scenes.take(np.arange(first, min(first + batch, len(scenes))))


def drawn_looks(pictures: Pictures, plan: Plan, vit: FrozenViT, batch: int = 32) -> Iterator[Look]:
    """All scenes of a plan, drawn and seen as they are asked for: too many to be kept."""
    for first in range(0, len(plan), batch):
        yield look_at(vit, draw_scenes(pictures, plan, np.arange(first, min(first + batch, len(plan)))))


@torch.no_grad()
def read_codes(pupil: CodePupil, looks: Iterable[Look], folder: Path) -> Codes:
    """Codes of scenes by the finished Q-Former; made once, later calls read them."""
    if not folder.is_dir():
        embedding, clear, dim, wanted, tokens = pupil.frozen[0], [], [], [], []
        for number, look in enumerate(looks):
            clear.append(pupil.nearest(pupil.vectors(look.features)))
            seen = glimpse(look.features, torch.Generator().manual_seed(number))
            dim.append(pupil.nearest(pupil.vectors(seen)))
            wanted.append(embedding(look).half())
            tokens.append(look.features[:, 0].half())
        scratch = folder.with_suffix(".new")
        scratch.mkdir(parents=True, exist_ok=True)
        np.save(scratch / "codes.npy", torch.stack([torch.cat(clear), torch.cat(dim)]).short().numpy())
        np.save(scratch / "wanted.npy", torch.cat(wanted).numpy())
        np.save(scratch / "tokens.npy", torch.cat(tokens).numpy())
        os.replace(scratch, folder)
    return Codes.open(folder)


@torch.no_grad()
def embeds_of(tokenizer: SeedTokenizer, codes: np.ndarray, batch: int = 256) -> np.ndarray:
    """The image embeddings that codes (C, Q) stand for: (C, E) float16."""
    rows = torch.from_numpy(codes.astype(np.int64)).split(batch)
    return torch.cat([tokenizer.image_embeds(row).half() for row in rows]).numpy()


def train_way_back(
    pupil: CodePupil,
    known: Codes,
    reading: Reading,
    held: tuple[Look, Sequence[str]],
    judge: Judge,
    sizes: Sizes,
    folder: Path,
) -> None:
    """Train what leads from codes to embeddings, or go on; codes stay. Leaves it rounded to float16.

    `held` are held-out pictures and their classes.
    """
    tokenizer, embedding = pupil.tokenizer, pupil.frozen[0]
    for name, parameter in tokenizer.named_parameters():
        parameter.requires_grad_(name.startswith(BACK))
    codes = torch.from_numpy(known.codes)
    wanted, tokens = torch.from_numpy(known.wanted), torch.from_numpy(known.tokens)

    def loss(step: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        numbers = torch.randint(len(known), (sizes.way_back_batch,), generator=g)
        glimpsed = (torch.rand(len(numbers), generator=g) < GLIMPSED).long()
        embeds = pupil.embeds(tokenizer.codebook(codes[glimpsed, numbers].long()))
        own = tokens[numbers].float()
        missed = F.mse_loss(embeds, wanted[numbers].float())
        turned = turned_token(embedding, embeds, own)
        said = reading.apart(embedding.class_token(embeds), own).mean()
        parts = {"missed": missed, "turned": turned, "said": said}
        return missed + 2 * turned + SAID * said, {name: part.item() for name, part in parts.items()}

    stage = Stage(
        steps=sizes.way_back_steps,
        lr=3e-4,
        muon_lr=1e-3,
        blocks="decoder",
        warmup=50,
        average=0.99,
        check_every=sizes.check_every,
        seed=5,
    )
    run(tokenizer, loss, lambda _: check_codes(pupil, held, judge), stage, folder)
    tokenizer.half().float()
    pupil.eval()
