"""Stage four: the answers themselves, through the frozen language model, gradients only through the prefix.

Most of a step's cost is the language model's, so its rows are few: one prompt and one length of answer a step, nothing
padded. The words of many more rows are kept right beside it, through a projection of their own, so that the prefix may
move to where the language model reads it best without unlearning the words.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..data.classes import with_article
from ..loop import Stage, run
from .language import DESCRIBING, NAMING, Speaker
from .lessons import Lessons
from .words import Reader, Vocabulary

__all__ = ["Captioner", "train_captions"]

NAMED = 96  # rows of a step whose words are kept right
SPOKEN = 12  # of them at most are answered through the language model
PULL = 0.3  # weight of the prefix's distance from the embeddings
SHORT = 8  # tokens of an answer when measuring


class Captioner(nn.Module):
    """A reader of words, and a copy of its projection that keeps to the words."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader
        self.word_projection = nn.Linear(
            reader.language_projection.in_features, reader.language_projection.out_features
        )
        self.word_projection.load_state_dict(reader.language_projection.state_dict())


def _equally_long(phrases: np.ndarray, lengths: np.ndarray, many: int, rng: np.random.Generator) -> np.ndarray:
    """Places of `many` of the phrases with one number of tokens, or fewer if there are not as many."""
    wanted = lengths[phrases[rng.integers(len(phrases))]]
    return np.flatnonzero(lengths[phrases] == wanted)[:many]


def train_captions(
    captioner: Captioner, lessons: Lessons, vocabulary: Vocabulary, speaker: Speaker,
    judge: Callable[[Callable], dict[str, float]], folder: Path, steps: int,
) -> dict[str, float]:  # fmt: skip
    """Train the reader and its copy of the projection; language model and tower stay as they are."""
    reader, lexicon = captioner.reader, lessons.lexicon

    def loss(step: int, _: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([101, step])
        rows, features = lessons.draw(rng, NAMED)
        fine = step % 2 == 1
        prompt, goal = str(rng.choice(DESCRIBING if fine else NAMING)), lessons.goal(rows, fine)
        queries = reader.queries(features, prompt)
        word, _ = vocabulary.loss(captioner.word_projection(queries), reader.word_scale, goal)
        prefix = reader.language_projection(queries)
        said = goal.argmax(-1).numpy()
        chosen = _equally_long(said, lexicon.lengths, SPOKEN, rng)
        answers = [with_article(lexicon.phrases[phrase]) for phrase in said[chosen]]
        answer = speaker.answer_loss(prefix[chosen], prompt, answers)
        own, near = vocabulary.loss(prefix, reader.word_scale, goal)
        kind = "fine" if fine else "coarse"
        numbers = {f"{kind}_answer": answer.item(), f"{kind}_word": word.item(), "near": near.item(), "own": own.item()}
        return answer + word + PULL * near, numbers

    def check(model: Captioner) -> dict[str, float]:
        return judge(
            lambda features, prompt: speaker.answers(model.reader.prefix(features, prompt), prompt, most=SHORT)
        )

    stage = Stage(
        steps=steps, lr=6e-4, muon_lr=1.2e-3, blocks="_query.", warmup=20, average=0.98, check_every=80, seed=23,
    )  # fmt: skip
    return run(captioner, loss, check, stage, folder)
