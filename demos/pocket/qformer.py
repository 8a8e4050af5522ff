"""Stage two of the pocket host: a small Q-Former between the frozen ViT and the frozen language model.

First the projected queries are matched, place by place, to the language model's own input embeddings of the answer's
tokens (no language model runs, so this is cheap); then the answer's likelihood under the frozen language model is
maximised; at last, with two pictures at once as often as with one. ViT and language model stay frozen throughout.
Patch tokens are dropped at random, so that the class token carries the name: that is the row a lens is aligned to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lens_plugins.splice import FrozenViT, vit_from_tower

from .dialogue import BOTH_PROMPTS, PAIR_PROMPTS, Exchange, all_texts
from .heldout import names_class
from .loop import Stage, run
from .packs import Pictures, normalise, plain
from .views import Views
from .vit import SIZE, UNNAMED, Labels, VitPupil, held_out

__all__ = [
    "QUERIES",
    "Lesson",
    "Lessons",
    "Pupil",
    "build_model",
    "qformer_tokenizer",
    "train_language",
    "train_pairs",
    "train_words",
]

QUERIES = 16
ALONE = 0.4  # share of pictures whose class token is on its own, as it may be behind a lens
PAIRS_EVERY = 5  # steps; then two pictures are asked about at once
TURNS = ("one", "llm", "one", "qformer", "one", "llm", "one", "vit")  # of the last run: where two meet, or one alone
_PROMPT_TOKENS = 24


def qformer_tokenizer(texts: Sequence[str], folder: Path, size: int = 3000):
    """A WordPiece vocabulary of the host's own prompts and answers, as a BERT tokenizer with ``[DEC]`` as bos."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    trainer = BertWordPieceTokenizer(lowercase=True)
    trainer.train_from_iterator(texts, vocab_size=size, min_frequency=1, show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    trainer.save_model(str(folder))
    tokenizer = BertTokenizerFast(
        vocab=str(folder / "vocab.txt"), bos_token="[DEC]", truncation_side="left", model_max_length=128
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def build_model(pupil: VitPupil, language_model, vocabulary: int):
    """InstructBLIP in transformers' own classes around a trained ViT and a language model."""
    from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration, InstructBlipQFormerConfig

    width = pupil.vit.config.hidden_size
    qformer = InstructBlipQFormerConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=4 * width,
        max_position_embeddings=160,
        encoder_hidden_size=width,
        cross_attention_frequency=2,
    )
    config = InstructBlipConfig(
        vision_config=pupil.vit.config.to_dict(),
        qformer_config=qformer.to_dict(),
        text_config=language_model.config.to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=language_model.config.eos_token_id,
    )
    with torch.device("meta"):
        frame = InstructBlipForConditionalGeneration(config)
    torch.manual_seed(1)
    fresh = type(frame.qformer)(config.qformer_config)
    frame.vision_model, frame.language_model, frame.qformer = pupil.vit, language_model, fresh
    frame.language_projection = nn.Linear(width, language_model.config.hidden_size)
    frame.query_tokens = nn.Parameter(torch.randn(1, QUERIES, width) * 0.02)
    frame.vision_model.requires_grad_(False)
    frame.language_model.requires_grad_(False)
    return frame


class Pupil(nn.Module):
    """The trained half of the host (queries, Q-Former, projection); the frozen halves are at hand, not inside."""

    def __init__(self, model, vit: VitPupil, qformer_tokenizer, tokenizer):
        super().__init__()
        self.query_tokens, self.qformer = model.query_tokens, model.qformer
        self.language_projection = model.language_projection
        self.word_scale = nn.Parameter(torch.tensor(2.5))
        self.frozen = (vit.eval(), model.language_model.eval())  # a tuple: not registered as submodules
        self.tokenizers = (qformer_tokenizer, tokenizer)

    def prefix(self, features: Tensor, seen: Tensor, prompts: Sequence[str]) -> Tensor:
        """(B, 1 + N, D) and the instruction -> (B, Q, H)."""
        text = self.tokenizers[0](
            list(prompts), padding="longest", truncation=True, max_length=_PROMPT_TOKENS, return_tensors="pt"
        )
        queries = self.query_tokens.expand(len(features), -1, -1)
        mask = torch.cat([torch.ones(queries.shape[:2], dtype=torch.long), text["attention_mask"]], 1)
        with torch.autocast("cpu", torch.bfloat16):
            out = self.qformer(
                input_ids=text["input_ids"],
                attention_mask=mask,
                query_embeds=queries,
                encoder_hidden_states=features,
                encoder_attention_mask=seen.long(),
            ).last_hidden_state
        return self.language_projection(out[:, :QUERIES].float())


class _Words:
    """The language model's tokens that answers use, and their frozen input embeddings."""

    def __init__(self, texts: Sequence[str], tokenizer, model):
        embedding = model.get_input_embeddings().weight
        used = sorted(
            {i for text in texts for i in tokenizer(" " + text)["input_ids"]} | set(tokenizer("\n")["input_ids"])
        )
        self.place = {token: row for row, token in enumerate(used)}
        self.vectors = embedding[used].float().detach()  # (V', H)
        self.fill = self.place[tokenizer("\n")["input_ids"][0]]
        self.tokenizer = tokenizer

    def spell(self, prefix: Tensor) -> list[str]:
        """The nearest word at every place: (B, Q, H) -> B texts."""
        nearest = (F.normalize(prefix.float(), dim=-1) @ F.normalize(self.vectors, dim=-1).T).argmax(-1)
        tokens = {row: token for token, row in self.place.items()}
        return [self.tokenizer.decode([tokens[i] for i in line]) for line in nearest.tolist()]

    def rows(self, answers: Sequence[str]) -> Tensor:
        """(B, Q) rows of `vectors`; places after the answer hold line breaks."""
        out = torch.full((len(answers), QUERIES), self.fill)
        for line, answer in zip(out, answers):
            rows = [self.place[i] for i in self.tokenizer(" " + answer)["input_ids"][:QUERIES]]
            line[: len(rows)] = torch.tensor(rows)
        return out


@dataclass(frozen=True)
class Lessons:
    """Frozen ViT features of composed views, and the facts about the picture behind each."""

    pictures: Pictures
    features: np.ndarray  # (C, 1 + N, D) float16
    rows: np.ndarray  # rows of `features` whose picture has a name
    views: Views  # what `features` are of
    vit: FrozenViT  # through which two views may go together
    exchange: Exchange

    @classmethod
    def make(cls, vit: VitPupil, pictures: Pictures, views: Views, file: Path, batch: int = 128) -> Lessons:
        """Compute the features once; later calls read them."""
        labels = Labels.of(pictures.rows)
        rows = np.flatnonzero(labels.name_of.numpy()[views.number] != UNNAMED)
        if not file.exists():
            part = file.with_suffix(".part.npy")
            config = vit.vit.config
            shape = (len(views.number), 1 + (config.image_size // config.patch_size) ** 2, config.hidden_size)
            kept = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
            for first in range(0, len(kept), batch):
                rgb = torch.from_numpy(views.rgb[first : first + batch]).permute(0, 3, 1, 2).float() / 255
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                    kept[first : first + batch] = vit.features(rgb).half().numpy()
            os.replace(part, file)
        features = np.load(file, mmap_mode="r", allow_pickle=False)
        return cls(pictures, features, rows, views, vit_from_tower(vit.vit), Exchange(labels.names))

    def draw(self, step: int, batch: int, salt: int, g: torch.Generator, alone: float = 0.0) -> Lesson:
        """A batch: features a little disturbed, some patches hidden, and one exchange about each picture.

        In a share `alone` of it only the class token tells the truth, as it may be behind a lens.
        """
        rng = np.random.default_rng([salt, step])
        chosen = rng.choice(self.rows, batch)
        prompts, answers = zip(*(self.exchange.draw(self._facts(i), rng) for i in chosen))
        return Lesson(*self._look(chosen, g, alone), list(prompts), list(answers))

    def draw_pairs(
        self,
        step: int,
        batch: int,
        salt: int,
        g: torch.Generator,
        alone: float = 0.0,
        prompts: Sequence[str] = PAIR_PROMPTS,
    ) -> Lesson:
        """A batch about two pictures each: rows of `features` are all first ones, then all second ones, (2B, ...)."""
        chosen, asked, answers = self._pairs(step, batch, salt, prompts)
        return Lesson(*self._look(chosen, g, alone), asked, answers)

    def draw_joined(
        self,
        step: int,
        batch: int,
        salt: int,
        g: torch.Generator,
        alone: float = 0.0,
        prompts: Sequence[str] = PAIR_PROMPTS,
    ) -> Lesson:
        """A batch about two pictures each that go through the ViT together: features (B, 1 + 2N, D)."""
        chosen, asked, answers = self._pairs(step, batch, salt, prompts)
        rgb = torch.from_numpy(self.views.rgb[chosen]).permute(0, 3, 1, 2).float() / 255  # NHWC -> NCHW
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            patches = self.vit.embed_image(normalise(rgb))
            features = self.vit.encode(patches.chunk(2)).float()
        return Lesson(*_glimpse(features, g, alone), asked, answers)

    def _pairs(
        self, step: int, batch: int, salt: int, prompts: Sequence[str]
    ) -> tuple[np.ndarray, list[str], list[str]]:
        """Rows of all first ones, then all second ones (2B,), and a prompt and an answer about each pair."""
        rng = np.random.default_rng([salt, step])
        chosen = rng.choice(self.rows, 2 * batch)
        pairs = zip(chosen[:batch], chosen[batch:])
        drawn = (self.exchange.draw_pair(self._facts(i), self._facts(j), rng, prompts) for i, j in pairs)
        asked, answers = zip(*drawn)
        return chosen, list(asked), list(answers)

    def _facts(self, row: int) -> dict[str, Any]:
        return self.pictures.rows[self.views.number[row]]

    def _look(self, chosen: np.ndarray, g: torch.Generator, alone: float) -> tuple[Tensor, Tensor]:
        """Features (B, 1 + N, D), a little disturbed, and which of them may be seen (B, 1 + N)."""
        return _glimpse(torch.from_numpy(self.features[chosen].astype(np.float32)), g, alone)


def _glimpse(features: Tensor, g: torch.Generator, alone: float) -> tuple[Tensor, Tensor]:
    """Features (B, T, D), a little disturbed, and which of them may be seen (B, T)."""
    batch = len(features)
    features = features + torch.randn(features.shape, generator=g) * torch.rand(batch, 1, 1, generator=g) * 0.4
    seen = torch.rand(features.shape[:2], generator=g) >= torch.rand(batch, 1, generator=g) * 0.9
    if alone:  # half of these rows lose their patches, the others are given those of another picture
        chance = torch.rand(batch, 1, generator=g)
        seen &= chance >= alone / 2
        swapped = torch.cat([features[:, :1], features[:, 1:].roll(1, 0)], 1)
        features = torch.where(((chance >= alone / 2) & (chance < alone))[..., None], swapped, features)
    seen[:, 0] = True
    return features, seen


class Lesson(NamedTuple):
    """What one step trains on."""

    features: Tensor  # (B, 1 + N, D)
    seen: Tensor  # (B, 1 + N) which of them the Q-Former may look at
    prompts: list[str]
    answers: list[str]

    def side_by_side(self) -> Lesson:
        """Pairs met before the Q-Former: (2B, T, D) -> (B, 2T, D)."""
        return self._replace(features=torch.cat(self.features.chunk(2), 1), seen=torch.cat(self.seen.chunk(2), 1))


def _word_loss(pupil: Pupil, words: _Words, prefix: Tensor, answers: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the used words by cosine, at the answer's places and the one after it; and the distance to
    the very embedding, everywhere."""
    rows = words.rows(answers)
    near = F.mse_loss(prefix, words.vectors[rows]) / words.vectors.var()
    spoken = rows != words.fill
    asked = spoken | F.pad(spoken, (1, 0))[:, :-1]  # most places are empty: to name them all costs more than the rest
    logits = pupil.word_scale.exp() * F.normalize(prefix[asked], dim=-1) @ F.normalize(words.vectors, dim=-1).T
    weight = torch.where(spoken[asked], 1.0, 0.3)
    named = F.cross_entropy(logits, rows[asked], reduction="none")
    return (named * weight).sum() / weight.sum(), near


def train_words(pupil: Pupil, lessons: Lessons, folder: Path, steps: int = 3200, batch: int = 128) -> dict[str, float]:
    """The warm start: each query becomes the embedding of the answer's token at its place."""
    words = _Words(all_texts(lessons.pictures.rows), pupil.tokenizers[1], pupil.frozen[1])

    def loss(step: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        if step % PAIRS_EVERY:
            lesson = lessons.draw(step, batch, 31, g, ALONE)
        else:
            lesson = lessons.draw_pairs(step, batch // 2, 33, g, ALONE).side_by_side()
        named, near = _word_loss(pupil, words, pupil.prefix(*lesson[:3]), lesson.answers)
        return named + near, {"word": named.item(), "near": near.item()}

    stage = Stage(steps=steps, lr=5e-4, muon_lr=1e-3, warmup=50, check_every=200, seed=3)
    return run(pupil, loss, _check(words, lessons.pictures), stage, folder)


def train_language(
    pupil: Pupil, lessons: Lessons, folder: Path, steps: int = 1000, batch: int = 16
) -> dict[str, float]:
    """The answer's likelihood under the frozen language model, the warm start's loss kept beside it.

    Many names can only be told by the class token, since that is what a lens is aligned by: patches behind a lens are
    unlike those of pictures. Now and then two pictures are asked about at once; they meet before the
    Q-Former or before the language model in turn.
    """
    tokenizer, model = pupil.tokenizers[1], pupil.frozen[1].to(torch.bfloat16)
    words = _Words(all_texts(lessons.pictures.rows), tokenizer, model)

    def loss(step: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        if step % (2 * PAIRS_EVERY) == 0:
            lesson = lessons.draw_pairs(step, batch // 2, 39, g, ALONE)
            both = pupil.prefix(lesson.features, lesson.seen, lesson.prompts * 2)
            prefix = torch.cat(both.chunk(2), 1)  # (B, 2Q, H)
            spoken = answer_loss(model, tokenizer, prefix, lesson.prompts, lesson.answers)
            return spoken, {"pair": spoken.item()}
        if step % PAIRS_EVERY:
            lesson = lessons.draw(step, batch, 37, g, ALONE)
        else:
            lesson = lessons.draw_pairs(step, batch // 2, 39, g, ALONE).side_by_side()
        prefix = pupil.prefix(*lesson[:3])
        spoken = answer_loss(model, tokenizer, prefix, lesson.prompts, lesson.answers)
        named, near = _word_loss(pupil, words, prefix, lesson.answers)
        return spoken + 0.5 * named + 0.5 * near, {"answer": spoken.item(), "word": named.item()}

    stage = Stage(steps=steps, lr=3e-4, muon_lr=5e-4, warmup=20, check_every=100, seed=5)
    return run(pupil, loss, _check(words, lessons.pictures), stage, folder)


def train_pairs(pupil: Pupil, lessons: Lessons, folder: Path, steps: int = 640, batch: int = 16) -> dict[str, float]:
    """From there on, two pictures as often as one (`TURNS`): to name both has to be learnt for every place to meet.

    They are asked about in words of their own (`BOTH_PROMPTS`): of hosts that were asked for captions of two as well,
    even where two meet before the Q-Former only, one said two things of one.
    """
    tokenizer, model = pupil.tokenizers[1], pupil.frozen[1].to(torch.bfloat16)
    words = _Words(all_texts(lessons.pictures.rows), tokenizer, model)

    def loss(step: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        turn = TURNS[step % len(TURNS)]
        if turn == "one":
            lesson = lessons.draw(step, batch, 43, g, ALONE)
        elif turn == "vit":
            lesson = lessons.draw_joined(step, batch // 2, 45, g, ALONE / 2, BOTH_PROMPTS)
        elif turn == "llm":
            lesson = lessons.draw_pairs(step, batch // 2, 45, g, ALONE, BOTH_PROMPTS)
        else:
            lesson = lessons.draw_pairs(step, batch // 2, 45, g, ALONE, BOTH_PROMPTS).side_by_side()
        asked = lesson.prompts * 2 if turn == "llm" else lesson.prompts
        prefix = pupil.prefix(lesson.features, lesson.seen, asked)
        if turn == "llm":
            prefix = torch.cat(prefix.chunk(2), 1)  # (B, 2Q, H)
        spoken = answer_loss(model, tokenizer, prefix, lesson.prompts, lesson.answers)
        if turn == "llm":
            return spoken, {turn: spoken.item()}
        named, near = _word_loss(pupil, words, prefix, lesson.answers)
        return spoken + 0.5 * named + 0.5 * near, {turn: spoken.item()}

    stage = Stage(steps=steps, lr=3e-4, muon_lr=5e-4, warmup=20, check_every=100, seed=6)
    return run(pupil, loss, _check(words, lessons.pictures), stage, folder)


def _check(words: _Words, pictures: Pictures):
    """Share of held-out catalogue pictures whose nearest words after "What is it?" name the class."""
    numbers = held_out(pictures.rows)

    def check(pupil: Pupil) -> dict[str, float]:
        right = 0
        for chunk, rgba in pictures.batches(numbers, 128):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                features = pupil.frozen[0].features(plain(rgba, SIZE, 0.93)).float()
                everything = torch.ones(features.shape[:2], dtype=torch.bool)
                prefix = pupil.prefix(features, everything, ["What is it?"] * len(chunk))
            said = words.spell(prefix)
            right += sum(names_class(text, pictures.rows[i]["class"]) for text, i in zip(said, chunk))
        return {"test_word": right / len(numbers)}

    return check


def answer_loss(model, tokenizer, prefix: Tensor, prompts: Sequence[str], answers: Sequence[str]) -> Tensor:
    """Mean cross-entropy of the answers' tokens and the end token after prefix and prompt."""
    asked = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    said = [tokenizer(" " + answer)["input_ids"] + [tokenizer.eos_token_id] for answer in answers]
    longest = max(len(a) + len(s) for a, s in zip(asked, said))
    ids = torch.full((len(asked), longest), tokenizer.eos_token_id)
    mask, goal = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (a, s) in enumerate(zip(asked, said)):
        ids[row, : len(a) + len(s)] = torch.tensor(a + s)
        mask[row, : len(a) + len(s)] = 1
        goal[row, len(a) : len(a) + len(s)] = torch.tensor(s)
    table = model.get_input_embeddings()
    embeds = torch.cat([prefix.to(table.weight.dtype), table(ids)], 1)
    mask = torch.cat([torch.ones(prefix.shape[:2], dtype=mask.dtype), mask], 1)
    hidden = model.model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state[:, prefix.shape[1] - 1 : -1]
    chosen = goal != -100
    return F.cross_entropy(model.lm_head(hidden[chosen]).float(), goal[chosen])
