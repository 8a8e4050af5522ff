"""The Q-Former says names: each name place of the prefix becomes the language model's own embedding of its token.

No language model runs here, so a step is cheap. What the places say is told apart by cosine; the free places learn the
frame that was trained from text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..loop import Stage, run
from .language import BEFORE, DESCRIBING, NAMING, QUERIES, WORDS, Frame, Lexicon, Speaker, leading_directions
from .lessons import Lessons
from .vit import WIDTH

__all__ = ["Reader", "Vocabulary", "reader_config", "train_words"]

BATCH = 192
BLANKS = 0.3  # weight of places that a name leaves empty


def reader_config(vocabulary: int):
    """A Q-Former of 3 layers, width 256, that looks at features in the first and the last (4.7 M parameters)."""
    from transformers import InstructBlipQFormerConfig

    return InstructBlipQFormerConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=4 * WIDTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=160,
        encoder_hidden_size=WIDTH,
        cross_attention_frequency=2,
    )


class Reader(nn.Module):
    """Queries, Q-Former and projection, as InstructBLIP has them, and a second projection for the words alone."""

    def __init__(self, tokenizer, width: int) -> None:
        from transformers.models.instructblip.modeling_instructblip import InstructBlipQFormerModel

        super().__init__()
        self.qformer = InstructBlipQFormerModel(reader_config(len(tokenizer)))
        self.query_tokens = nn.Parameter(torch.randn(1, QUERIES, WIDTH) * 0.02)
        self.language_projection = nn.Linear(WIDTH, width)
        self.word_scale = nn.Parameter(torch.tensor(3.0))
        self.tokenizer = tokenizer

    @torch.no_grad()
    def start(self, words: Tensor) -> None:
        """Begin where the words (U, H) lie: the projection maps each output to a leading direction of theirs.

        Cross-attention hands on what it looks at unchanged, so the tower's features arrive from the first step.
        """
        mean, directions = leading_directions(words, WIDTH)
        spread = ((words - mean) @ directions.T).std(0)  # along each direction, of which a narrow model has fewer
        self.language_projection.weight[:, : len(directions)].copy_(directions.T * spread)
        self.language_projection.bias.copy_(mean)
        for layer in self.qformer.encoder.layer:
            if layer.has_cross_attention:
                nn.init.eye_(layer.crossattention.attention.value.weight)
                nn.init.eye_(layer.crossattention.output.dense.weight)

    def queries(self, features: Tensor, prompt: str) -> Tensor:
        """(B, T, D) of the tower and one instruction for all -> (B, Q, D)"""
        ids = torch.tensor(self.tokenizer(prompt)["input_ids"]).expand(len(features), -1)
        queries = self.query_tokens.expand(len(features), -1, -1)
        mask = torch.ones(len(features), QUERIES + ids.shape[1], dtype=torch.long)
        out = self.qformer(
            input_ids=ids,
            attention_mask=mask,
            query_embeds=queries,
            encoder_hidden_states=features,
            encoder_attention_mask=torch.ones(features.shape[:2], dtype=torch.long),
        )
        return out.last_hidden_state[:, :QUERIES]

    def prefix(self, features: Tensor, prompt: str) -> Tensor:
        """(B, T, D) -> (B, Q, H), what the language model reads."""
        return self.language_projection(self.queries(features, prompt))


class Vocabulary:
    """What the places of the prefix are compared with: the lexicon's tokens, the blank, and the frame."""

    def __init__(self, lexicon: Lexicon, frame: Frame, speaker: Speaker) -> None:
        self.lexicon = lexicon
        with torch.no_grad():
            self.words = frame.words(lexicon, speaker.table)  # (U + 1, H)
            self.unit = F.normalize(self.words, dim=-1)
            self.before, self.after = frame.before.detach(), frame.after.detach()
        self.variance = self.words.var()

    def loss(self, prefix: Tensor, scale: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the name places, and the squared distance of all places.

        Args:
            prefix: (B, Q, H).
            scale: log of what cosines are multiplied with.
            goal: (B, T) chances over phrases.
        """
        said = self.places(goal)  # (B, W, U + 1)
        places = prefix[:, BEFORE : BEFORE + WORDS]
        logits = scale.exp() * F.normalize(places, dim=-1) @ self.unit.T
        weight = 1 - (1 - BLANKS) * said[..., -1]
        named = -(said * logits.log_softmax(-1)).sum(-1)
        target = torch.cat(
            [self.before.expand(len(goal), -1, -1), said @ self.words, self.after.expand(len(goal), -1, -1)], 1
        )
        return (named * weight).sum() / weight.sum(), F.mse_loss(prefix, target) / self.variance

    def places(self, goal: Tensor) -> Tensor:
        """Chances over phrases (B, T) -> chances over tokens at each name place (B, W, U + 1)."""
        chances, phrases = goal.topk(4, dim=1)
        chances = chances / chances.sum(1, keepdim=True)
        rows = self.lexicon.rows[phrases].transpose(1, 2)  # (B, W, 4)
        said = torch.zeros(len(goal), WORDS, len(self.words))
        return said.scatter_add_(2, rows, chances[:, None].expand(-1, WORDS, -1))

    def nearest(self, prefix: Tensor) -> list[str]:
        """The text that the name places are nearest to: (B, Q, H) -> B texts"""
        places = F.normalize(prefix[:, BEFORE : BEFORE + WORDS], dim=-1)
        return self.lexicon.spell((places @ self.unit.T).argmax(-1))


def train_words(
    reader: Reader, lessons: Lessons, vocabulary: Vocabulary, judge: Callable[[Callable], dict[str, float]],
    folder: Path, steps: int,
) -> dict[str, float]:  # fmt: skip
    """Train Q-Former and projection; `judge` measures a function from features (B, 65, D) and a prompt to texts."""

    reader.start(vocabulary.words)

    def loss(step: int, _: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([91, step])
        rows, features = lessons.draw(rng, BATCH)
        fine = step % 2 == 1
        prompt = str(rng.choice(DESCRIBING if fine else NAMING))
        named, near = vocabulary.loss(reader.prefix(features, prompt), reader.word_scale, lessons.goal(rows, fine))
        return named + near, {"fine" if fine else "coarse": named.item(), "near": near.item()}

    def check(model: Reader) -> dict[str, float]:
        return judge(lambda features, prompt: vocabulary.nearest(model.prefix(features, prompt)))

    # Muon where the queries' knowledge lies; for all matrices it would cost half as much as the passes
    stage = Stage(
        steps=steps, lr=1.3e-3, muon_lr=2.6e-3, blocks="_query.", warmup=50, average=0.99, check_every=100, seed=19,
    )  # fmt: skip
    return run(reader, loss, check, stage, folder)
