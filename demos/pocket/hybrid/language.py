"""The frozen language model as the caption stages use it: places of the prefix, phrases, and the loss of short answers.

The prefix has places for the tokens of a name, and free places around them. What stands in the free places, and in
name places that a short name leaves empty, is learnt once from text alone: with them the language model repeats
whatever name stands in the prefix, also where its embeddings are blurred. So a Q-Former only has to say names in the
language model's own words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.classes import with_article
from ..loop import Stage, run

__all__ = [
    "BEFORE",
    "NAMING",
    "DESCRIBING",
    "PROMPTS",
    "QUERIES",
    "WORDS",
    "Frame",
    "Lexicon",
    "Speaker",
    "train_frame",
]

BEFORE, WORDS, AFTER = 3, 5, 2
QUERIES = BEFORE + WORDS + AFTER
NAMING = ("What is it?", "What is this?", "Name this object.", "What is in the picture?")  # answered plainly: a dog
DESCRIBING = (  # answered finely where that is sure: a Cardigan
    "A short image caption.", "A short image description.", "Caption this.", "Describe this object.",
    "Describe what you see.", "Write a short description.", "What kind is it?",
)  # fmt: skip
PROMPTS = (*NAMING, *DESCRIBING)
_BEGINNING = ("Picture", ":", " a"), (".", "\n")  # what the free places are before they are trained


class Lexicon:
    """Phrases that can be said, without article, and the language model's tokens of each."""

    def __init__(self, phrases: Sequence[str], tokenizer) -> None:
        self.phrases = [phrase for phrase in phrases if len(tokenizer(f" {phrase}")["input_ids"]) <= WORDS]
        self.place = {phrase: i for i, phrase in enumerate(self.phrases)}
        spelled = [tokenizer(f" {phrase}")["input_ids"] for phrase in self.phrases]
        self.used = sorted({token for tokens in spelled for token in tokens})
        row = {token: i for i, token in enumerate(self.used)}
        self.blank = len(self.used)  # the row that stands for an empty place
        self.rows = torch.full((len(spelled), WORDS), self.blank)  # (T, W)
        for line, tokens in zip(self.rows, spelled):
            line[: len(tokens)] = torch.tensor([row[token] for token in tokens])
        self.tokenizer = tokenizer

    def __len__(self) -> int:
        return len(self.phrases)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(T,) tokens of each phrase."""
        return (self.rows != self.blank).sum(1).numpy()

    def spell(self, rows: Tensor) -> list[str]:
        """(B, W) rows of tokens -> B texts."""
        return [self.tokenizer.decode([self.used[i] for i in line if i < self.blank]).strip() for line in rows.tolist()]


class Speaker:
    """The frozen language model and its tokenizer."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
        self.table = self.model.get_input_embeddings().weight.detach()  # (V, H)

    def answer_loss(self, prefix: Tensor, prompt: str, answers: Sequence[str]) -> Tensor:
        """Mean cross-entropy of the answers' tokens and the end token, after prefix (B, Q, H) and one prompt for all.

        Answers of equal length cost least: the shorter ones are padded on the right.
        """
        asked = self.tokenizer(prompt)["input_ids"]
        said = [[*self.tokenizer(f" {answer}")["input_ids"], self.tokenizer.eos_token_id] for answer in answers]
        longest = max(map(len, said))
        goal = torch.full((len(said), longest), -100)
        for line, tokens in zip(goal, said):
            line[: len(tokens)] = torch.tensor(tokens)
        ids = torch.cat([torch.tensor(asked).expand(len(said), -1), goal[:, :-1].clamp(min=0)], 1)
        embeds = torch.cat([prefix, self.table[ids]], 1)
        hidden = self.model.model(inputs_embeds=embeds, use_cache=False).last_hidden_state[:, -longest:]
        chosen = goal != -100
        return F.cross_entropy(self.model.lm_head(hidden[chosen]), goal[chosen])

    @torch.no_grad()
    def answers(self, prefix: Tensor, prompt: str, beams: int = 1, most: int = 14) -> list[str]:
        """What is said after prefix (B, Q, H) and the prompt, as a host would."""
        ids = torch.tensor(self.tokenizer(prompt)["input_ids"]).expand(len(prefix), -1)
        embeds = torch.cat([prefix, self.table[ids]], 1)
        made = self.model.generate(
            inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long), num_beams=beams,
            do_sample=False, max_new_tokens=most, pad_token_id=self.tokenizer.eos_token_id,
        )  # fmt: skip
        return [self.tokenizer.decode(row, skip_special_tokens=True).strip() for row in made]


class Frame(nn.Module):
    """What stands in the free places, and in name places that stay empty."""

    def __init__(self, speaker: Speaker) -> None:
        super().__init__()
        before, after = ([speaker.tokenizer(word)["input_ids"][0] for word in words] for words in _BEGINNING)
        self.before = nn.Parameter(speaker.table[before].clone())  # (3, H)
        self.after = nn.Parameter(speaker.table[after].clone())  # (2, H)
        self.blank = nn.Parameter(speaker.table[after[:1]].clone())  # (1, H)

    def words(self, lexicon: Lexicon, table: Tensor) -> Tensor:
        """(U + 1, H) what each row of the lexicon's tokens looks like in the prefix."""
        return torch.cat([table[lexicon.used], self.blank])

    def around(self, words: Tensor) -> Tensor:
        """Name places (B, W, H) -> prefix (B, Q, H)"""
        many = len(words)
        return torch.cat([self.before.expand(many, -1, -1), words, self.after.expand(many, -1, -1)], 1)


def blurred(words: Tensor, names: Tensor, basis: tuple[Tensor, Tensor], rng: np.random.Generator) -> Tensor:
    """Name places as a Q-Former may give them: short of directions, mixed with other words, noisy.

    Args:
        words: (U + 1, H) of the lexicon's tokens.
        names: (B, W) rows of them.
        basis: mean (H,) and leading directions (K, H) of the words.
        rng: what is drawn from.
    """
    clean = words[names]  # (B, W, H)
    mean, directions = basis
    flat = mean + (clean - mean) @ directions.T @ directions
    kept = torch.from_numpy(rng.uniform(0.4, 1.0, (len(names), 1, 1))).float()
    other = words[torch.from_numpy(rng.integers(len(words), size=names.shape))]
    mixed = torch.where(kept > 0.7, flat, kept * flat + (1 - kept) * other)
    scale = torch.from_numpy(rng.uniform(0, 0.5, (len(names), 1, 1))).float() * clean.std()
    return mixed + scale * torch.from_numpy(rng.standard_normal(mixed.shape)).float()


def leading_directions(words: Tensor, many: int) -> tuple[Tensor, Tensor]:
    """Mean (H,) and the `many` leading directions (K, H) of words (U, H)."""
    mean = words.mean(0)
    return mean, torch.linalg.svd(words - mean, full_matrices=False)[2][:many]


def train_frame(speaker: Speaker, lexicon: Lexicon, folder: Path, steps: int, batch: int, width: int) -> Frame:
    """Learn the frame from text alone; `width` is that of the Q-Former, beyond which a linear map can't spell."""
    frame = Frame(speaker)
    basis = leading_directions(speaker.table[lexicon.used], width)
    lengths = lexicon.lengths

    def draw(step: int) -> tuple[Tensor, str, list[str], np.random.Generator]:
        rng = np.random.default_rng([71, step])
        length = lengths[rng.integers(len(lexicon))]  # one length a batch: nothing is padded
        rows = rng.choice(np.flatnonzero(lengths == length), batch)
        answers = [with_article(lexicon.phrases[row]) for row in rows]
        return lexicon.rows[torch.from_numpy(rows)], str(rng.choice(PROMPTS)), answers, rng

    def loss(step: int, _: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        names, prompt, answers, rng = draw(step)
        words = frame.words(lexicon, speaker.table)
        spoken = speaker.answer_loss(frame.around(blurred(words, names, basis, rng)), prompt, answers)
        return spoken, {"answer": spoken.item()}

    def check(model: Frame) -> dict[str, float]:
        rows = torch.from_numpy(np.random.default_rng(5).choice(len(lexicon), 24))
        mean, directions = basis
        words = model.words(lexicon, speaker.table)[lexicon.rows[rows]]
        words = mean + (words - mean) @ directions.T @ directions
        said = speaker.answers(model.around(words), "What is it?")
        right = sum(lexicon.phrases[row].lower() in text.lower() for row, text in zip(rows, said))
        return {"repeated": right / len(rows)}

    stage = Stage(steps=steps, lr=1e-2, warmup=5, weight_decay=0.0, average=0.9, check_every=30, seed=17)
    run(frame, loss, check, stage, folder)
    return frame
