"""Stage two: the tower's blocks learn what the trunk knows, from cached feature maps, exactly labelled at no cost.

The trunk's head averages, so any set of tokens, mixed from several pictures or moved along a class's direction, has an
exact answer of the trunk's classifier. Pictures show only some of the classes; moved maps show all.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lens_plugins.files.writing import replacing

from ..loop import Stage, run
from .features import Features
from .trunk import CLASSES, TRUNK_WIDTH, Trunk
from .vit import TOKENS, Pupil

__all__ = ["Maps", "Teacher", "distil", "move_to_class"]

BATCH = 96
FEW = (16, 24)  # tokens that most steps see
WHOLE_EVERY = 8  # steps; then all tokens are seen
MOVED, MIXED, CUT = 0.35, 0.2, 0.25  # shares of a batch
LIKELIEST = 16  # crops of a class that are moved towards it
UNNAMED = -100


class Teacher:
    """The trunk's classifier on cached maps: logits of every crop, and the statistics of tokens."""

    def __init__(self, trunk: Trunk, features: Features, file: Path) -> None:
        self.trunk = trunk
        kept = self._kept(features, file)
        self.logits = kept["logits"]  # (C, 1000)
        self.mean, self.deviation = kept["mean"], kept["deviation"]  # (1280,)
        likely = self.logits.log_softmax(-1)
        self.best = likely.topk(min(LIKELIEST, len(likely)), dim=0).indices.T  # (1000, K) crops of each class
        seen = likely.argmax(-1)
        share = torch.bincount(seen, minlength=CLASSES).float().clamp(min=1)[seen].rsqrt()
        self.share = (share / share.sum()).double().numpy()
        self.share /= self.share.sum()

    @torch.no_grad()
    def _kept(self, features: Features, file: Path) -> dict[str, Tensor]:
        if file.exists():
            kept = torch.load(file, weights_only=True)
            if len(kept["logits"]) == len(features):
                return kept
        total, square, count, logits = torch.zeros(TRUNK_WIDTH), torch.zeros(TRUNK_WIDTH), 0, []
        for first in range(0, len(features), 128):
            tokens = features.take(np.arange(first, min(first + 128, len(features))))
            logits.append(self.trunk.logits(tokens))
            total += tokens.sum((0, 1))
            square += tokens.square().sum((0, 1))
            count += tokens[..., 0].numel()
        mean = total / count
        kept = {"logits": torch.cat(logits), "mean": mean, "deviation": (square / count - mean**2).sqrt() + 0.05}
        with replacing(file) as part:
            torch.save(kept, part)
        return kept


@torch.no_grad()
def move_to_class(trunk: Trunk, tokens: Tensor, wanted: Tensor, steps: int = 8, sure: float = 0.75) -> Tensor:
    """Feature maps (B, n, 1280) moved until the classifier is `sure` of the `wanted` class (B,), at most `steps` times.

    Each step adds the normalised gradient of the class's log-probability to every token and stays within ReLU6.
    """
    weight = trunk.classifier.weight  # (1000, 1280)
    for _ in range(steps):
        chances = trunk.logits(tokens).softmax(-1)
        short = chances.gather(1, wanted[:, None]) < sure  # (B, 1)
        if not short.any():
            break
        gradient = weight[wanted] - chances @ weight
        move = 1.5 * gradient / gradient.square().sum(-1, keepdim=True)  # raises the log-odds by about 1.5
        tokens = torch.where(short[..., None], (tokens + move[:, None]).clamp(0, 6), tokens)
    return tokens


class Maps:
    """Batches of feature maps: tokens (B, n, 1280), their places (B, n), the crop behind each row or -1 if mixed."""

    def __init__(self, features: Features, teacher: Teacher) -> None:
        self.features, self.teacher = features, teacher

    def draw(self, step: int, batch: int, salt: int, few: bool = True) -> tuple[Tensor, Tensor, np.ndarray]:
        """A batch that depends on the step alone."""
        rng = np.random.default_rng([salt, step])
        crops = rng.choice(len(self.features), batch, p=self.teacher.share)
        moved = rng.random(batch) < MOVED
        wanted = rng.integers(CLASSES, size=batch)
        best = self.teacher.best[torch.from_numpy(wanted)].numpy()
        crops = np.where(moved, best[np.arange(batch), rng.integers(best.shape[1], size=batch)], crops)
        tokens = self.features.take(crops)
        count = int(rng.choice(FEW)) if few else TOKENS
        places = torch.from_numpy(rng.random((batch, TOKENS)).argsort(1)[:, :count])
        tokens = tokens.gather(1, places[..., None].expand(-1, -1, TRUNK_WIDTH))
        tokens, places, pure = self._mixed(tokens, places, rng)
        rows = torch.from_numpy(np.flatnonzero(moved))
        if len(rows):
            tokens[rows] = move_to_class(self.teacher.trunk, tokens[rows], torch.from_numpy(wanted)[rows])
        return tokens, places, np.where(pure & ~moved, crops, -1)

    @staticmethod
    def _mixed(tokens: Tensor, places: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor, np.ndarray]:
        """Some rows blended with another, some with a part of their tokens taken from another."""
        batch, count, _ = tokens.shape
        other = torch.from_numpy(rng.permutation(batch))
        what = rng.random(batch)
        blend = torch.from_numpy(np.where(what < MIXED, rng.uniform(0.3, 1, batch), 1.0)).float()[:, None, None]
        cut = (what >= MIXED) & (what < MIXED + CUT)
        share = np.where(cut, rng.uniform(0.1, 0.5, batch), 0.0)
        taken = torch.arange(count)[None] < torch.from_numpy(share * count)[:, None]  # (B, n)
        mixed = blend * tokens + (1 - blend) * tokens[other]
        mixed = torch.where(taken[..., None], tokens[other], mixed)
        return mixed, torch.where(taken, places[other], places), what >= MIXED + CUT


@dataclass(frozen=True)
class Named:
    """Names of crops, for those that have one."""

    name_of: np.ndarray  # (C,) place among the names, or UNNAMED
    vectors: Tensor  # (T, 384) sentence embeddings of names


def _loss(
    pupil: Pupil, maps: Maps, named: Named, basis: Tensor, batch: int, step: int
) -> tuple[Tensor, dict[str, float]]:
    tokens, places, crops = maps.draw(step, batch, 61, few=step % WHOLE_EVERY > 0)
    goal = maps.teacher.trunk.logits(tokens)
    features = pupil(tokens, places)
    said = pupil.logits(features)
    sharp = F.kl_div(said.log_softmax(-1), goal.log_softmax(-1), reduction="batchmean", log_target=True)
    soft = F.kl_div((said / 3).log_softmax(-1), (goal / 3).log_softmax(-1), reduction="batchmean", log_target=True)
    centred = F.mse_loss(said - said.mean(-1, keepdim=True), goal - goal.mean(-1, keepdim=True))
    own = F.linear((tokens - pupil.entrance.mean) * pupil.entrance.scale, basis)  # (B, n, D)
    remembered = F.mse_loss(pupil.token_head(features[:, 1:]), own) / own.var()
    names = torch.from_numpy(np.where(crops >= 0, named.name_of[crops], UNNAMED))
    spoken = 20 * pupil.sentence(features) @ named.vectors.T
    name = F.cross_entropy(spoken, names, ignore_index=UNNAMED) if (names >= 0).any() else spoken.sum() * 0
    loss = sharp + 0.3 * 9 * soft + 2 * centred + 0.5 * remembered + 0.3 * name
    agree = (said.argmax(-1) == goal.argmax(-1)).float().mean().item()
    return loss, {
        "kl": sharp.item(),
        "mse": centred.item(),
        "token": remembered.item(),
        "name": name.item(),
        "agree": agree,
    }


def distil(pupil: Pupil, maps: Maps, named: Named, photographs: Tensor, folder: Path, steps: int) -> dict[str, float]:
    """Train the blocks; `photographs` (N, 64, 1280) are trunk tokens of pictures that are only measured with."""
    teacher = maps.teacher
    basis = pupil.start(teacher.trunk, teacher.mean, teacher.deviation)
    goal = teacher.trunk.logits(photographs).argmax(-1, keepdim=True)

    def loss(step: int, _: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        return _loss(pupil, maps, named, basis, BATCH, step)

    def check(model: Pupil) -> dict[str, float]:
        found = torch.cat([model.logits(model(part)) for part in photographs.split(64)]).topk(5).indices == goal
        return {"photos": found[:, 0].float().mean().item(), "photos_of_five": found.any(-1).float().mean().item()}

    stage = Stage(steps=steps, lr=1e-3, muon_lr=2e-3, warmup=100, average=0.99, check_every=150, seed=11)
    return run(pupil, loss, check, stage, folder)
