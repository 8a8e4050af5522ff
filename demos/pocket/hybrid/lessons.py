"""What Q-Former stages learn from: cached outputs of the frozen tower, of crops and of maps moved to every class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lens_plugins.files.writing import replacing

from .distil import Maps, move_to_class
from .language import Lexicon
from .names import ClassNames
from .trunk import CLASSES
from .vit import TOKENS, WIDTH, Pupil

__all__ = ["Lessons", "Seen", "encode", "moved_maps"]

FEW = 8  # classes that are kept of each answer of the trunk
SURE_FINE = 0.4  # chance from which a thing is described by its fine name
SURE_COARSE = 0.35  # chance below which an unnamed crop is passed over
SHARPER = 1.5  # power of the class chances a description is learnt from
PATCHES = 9  # that a step sees beside the class token
MOVED_TO = CLASSES  # classes that maps are moved to: all, but in tests
UNKNOWN = -1


@torch.no_grad()
def encode(pupil: Pupil, tokens: Tensor) -> np.ndarray:
    """Trunk tokens (B, 64, 1280) -> features (B, 65, D) float16"""
    return pupil(tokens).half().numpy()


@torch.no_grad()
def moved_maps(maps: Maps, wanted: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Maps of the `wanted` classes (B,): likely crops, partly over another crop's tokens, moved to the class."""
    teacher = maps.teacher
    best = teacher.best[torch.from_numpy(wanted)].numpy()
    tokens = maps.features.take(best[np.arange(len(wanted)), rng.integers(best.shape[1], size=len(wanted))])
    other = maps.features.take(rng.integers(len(maps.features), size=len(wanted)))
    share = rng.choice([0.0, 0.3, 0.6], len(wanted))[:, None]
    over = torch.from_numpy(rng.random((len(wanted), TOKENS)) < share)[..., None]
    return move_to_class(
        teacher.trunk, torch.where(over, other, tokens), torch.from_numpy(wanted), sure=float(rng.uniform(0.5, 0.9))
    )


@dataclass(frozen=True)
class Seen:
    """Features (N, 65, D) float16, the trunk's likeliest classes (N, 8) with chances, and the known phrase or -1."""

    features: np.ndarray
    classes: Tensor
    chances: Tensor
    phrase: np.ndarray

    @classmethod
    def make(
        cls, pupil: Pupil, maps: Maps, phrase_of_crop: np.ndarray, file: Path, a_class: int, batch: int = 64
    ) -> Seen:
        """Encode every crop and `a_class` moved maps of every class; later calls read them."""
        if not file.exists():
            cls._write(pupil, maps, file, a_class, batch)
        answers = torch.load(file.with_suffix(".pt"), weights_only=True)
        features = np.load(file, mmap_mode="r")
        phrase = np.full(len(features), UNKNOWN)
        phrase[: len(phrase_of_crop)] = phrase_of_crop
        return cls(features, answers["classes"], answers["chances"], phrase)

    @staticmethod
    def _write(pupil: Pupil, maps: Maps, file: Path, a_class: int, batch: int) -> None:
        crops = len(maps.features)
        wanted = np.tile(np.random.default_rng(81).permutation(MOVED_TO), a_class)
        kept = np.empty((crops + len(wanted), 1 + TOKENS, WIDTH), np.float16)
        logits = torch.empty(len(kept), CLASSES)

        def keep(first: int, tokens: Tensor) -> None:
            kept[first : first + len(tokens)] = encode(pupil, tokens)
            logits[first : first + len(tokens)] = maps.teacher.trunk.logits(tokens).detach()

        for first in range(0, crops, batch):
            keep(first, maps.features.take(np.arange(first, min(first + batch, crops))))
        for first in range(0, len(wanted), batch):
            rng = np.random.default_rng([83, first])
            keep(crops + first, moved_maps(maps, wanted[first : first + batch], rng))
        chances, classes = logits.softmax(-1).topk(FEW)
        with replacing(file.with_suffix(".pt")) as part:
            torch.save({"classes": classes, "chances": chances}, part)
        with replacing(file) as part, part.open("wb") as opened:
            np.save(opened, kept)


class Lessons:
    """Batches: features, some of their tokens, and what is to be said of each as chances over phrases."""

    def __init__(self, seen: Seen, names: ClassNames, lexicon: Lexicon) -> None:
        self.seen, self.lexicon = seen, lexicon
        fine = [lexicon.place.get(name, UNKNOWN) for name in names.fine]
        coarse = [lexicon.place.get(name, UNKNOWN) for name in names.coarse]
        # a name too long to be said is said coarsely
        self.coarse = torch.tensor([c if c >= 0 else f for f, c in zip(fine, coarse)])
        self.fine = torch.tensor([f if f >= 0 else c for f, c in zip(fine, coarse)])
        # a few classes have no name that is short enough: they are never said
        self.sayable = (self.coarse >= 0).float()
        self.coarse, self.fine = self.coarse.clamp(min=0), self.fine.clamp(min=0)
        plainly = self._plainly(torch.arange(len(seen.phrase)))
        sure = torch.zeros(len(plainly[0]), len(lexicon)).scatter_add_(1, *plainly).amax(1)
        self.rows = np.flatnonzero((seen.phrase >= 0) | (sure.numpy() > SURE_COARSE))

    def _plainly(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        classes = self.seen.classes[rows]
        return self.coarse[classes], self.seen.chances[rows] * self.sayable[classes]

    def goal(self, rows: np.ndarray, fine: bool) -> Tensor:
        """Chances over phrases (B, T): the known name, or what the trunk thinks, coarsely where it is unsure."""
        at = torch.from_numpy(rows)
        classes = self.seen.classes[at]
        phrases, chances = self._plainly(at)
        if fine:
            phrases = torch.where(chances[:, :1] > SURE_FINE, self.fine[classes], phrases)
        said = torch.zeros(len(rows), len(self.lexicon)).scatter_add_(1, phrases, chances) ** SHARPER
        known = torch.from_numpy(self.seen.phrase[rows])
        named = torch.nn.functional.one_hot(known.clamp(min=0), len(self.lexicon)).float()
        said = torch.where((known >= 0)[:, None], named, said)
        return said / said.sum(1, keepdim=True).clamp(min=1e-9)

    def draw(self, rng: np.random.Generator, batch: int, alone: float = 0.25) -> tuple[np.ndarray, Tensor]:
        """Rows (B,) and features (B, 1 + 9, D), a little disturbed; in a share `alone` the patches are another's."""
        rows = rng.choice(self.rows, batch)
        features = torch.from_numpy(self.seen.features[rows].astype(np.float32))
        places = torch.from_numpy(1 + rng.random((batch, TOKENS)).argsort(1)[:, :PATCHES])
        patches = features.gather(1, places[..., None].expand(-1, -1, WIDTH))
        swapped = torch.from_numpy(rng.random(batch) < alone)[:, None, None]
        features = torch.cat([features[:, :1], torch.where(swapped, patches.roll(1, 0), patches)], 1)
        noise = torch.from_numpy(rng.standard_normal(features.shape, dtype=np.float32))
        return rows, features + noise * torch.from_numpy(rng.uniform(0, 0.3, (batch, 1, 1))).float()
