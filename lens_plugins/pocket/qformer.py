"""Stage two of the pocket host: a small Q-Former between the frozen ViT and the frozen language model.

First the projected queries are matched, place by place, to the language model's own input embeddings of the answer's
tokens (no language model runs, so this is cheap); then the answer's likelihood under the frozen language model is
maximised. The ViT and the language model stay frozen throughout. Patch tokens are dropped at random, so that the class
token carries the name: that is the row a lens is aligned to.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data.classes import with_article
from .dialogue import Exchange, all_texts
from .loop import Stage, run
from .packs import Pictures, compose, plain
from .vit import SIZE, UNNAMED, Labels, VitPupil, held_out

__all__ = ["QUERIES", "Pupil", "build_model", "qformer_tokenizer", "train_language", "train_words"]

QUERIES = 16
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

    def features(self, rgb: Tensor, drop: float, g: torch.Generator) -> tuple[Tensor, Tensor]:
        """Frozen ViT features and which of them the Q-Former may see: (B, 1 + N, D), (B, 1 + N)."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            features = self.frozen[0].features(rgb).float()
        share = torch.rand(len(rgb), 1, generator=g) if drop else torch.zeros(len(rgb), 1)
        seen = torch.rand(features.shape[:2], generator=g) >= share * drop
        seen[:, 0] = True
        return features, seen

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

    def __init__(self, texts: Sequence[str], tokenizer, embedding: Tensor):
        used = sorted(
            {i for text in texts for i in tokenizer(" " + text)["input_ids"]} | set(tokenizer("\n")["input_ids"])
        )
        self.place = {token: row for row, token in enumerate(used)}
        self.vectors = embedding[used].float().detach()  # (V', H)
        self.fill = self.place[tokenizer("\n")["input_ids"][0]]
        self.tokenizer = tokenizer

    def rows(self, answers: Sequence[str]) -> Tensor:
        """(B, Q) rows of `vectors`; places after the answer hold line breaks."""
        out = torch.full((len(answers), QUERIES), self.fill)
        for line, answer in zip(out, answers):
            rows = [self.place[i] for i in self.tokenizer(" " + answer)["input_ids"][:QUERIES]]
            line[: len(rows)] = torch.tensor(rows)
        return out


def _draws(pictures: Pictures, batch: int, salt: int):
    """Draw pictures by weight and one exchange about each: step -> (rgba, prompts, answers)."""
    labels = Labels.of(pictures.rows)
    exchange = Exchange(labels.names)
    named = (labels.name_of[labels.train] != UNNAMED).numpy()
    train, weight = labels.train[named], labels.weight[named] / labels.weight[named].sum()

    def draw(step: int) -> tuple[Tensor, list[str], list[str]]:
        rng = np.random.default_rng([salt, step])
        numbers = rng.choice(train, batch, p=weight)
        prompts, answers = zip(*(exchange.draw(pictures.rows[i], rng) for i in numbers))
        return pictures.take(numbers), list(prompts), list(answers)

    return draw


def _word_loss(pupil: Pupil, words: _Words, prefix: Tensor, answers: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the used words by cosine, and the distance to the very embedding."""
    rows = words.rows(answers)
    logits = pupil.word_scale.exp() * F.normalize(prefix, dim=-1) @ F.normalize(words.vectors, dim=-1).T
    weight = torch.where(rows == words.fill, 0.1, 1.0)
    named = F.cross_entropy(logits.flatten(0, 1), rows.flatten(), reduction="none").view_as(weight)
    near = F.mse_loss(prefix, words.vectors[rows]) / words.vectors.var()
    return (named * weight).sum() / weight.sum(), near


def train_words(
    pupil: Pupil, pictures: Pictures, folder: Path, steps: int = 1500, batch: int = 128
) -> dict[str, float]:
    """The warm start: each query becomes the embedding of the answer's token at its place."""
    words = _Words(all_texts(pictures.rows), pupil.tokenizers[1], pupil.frozen[1].get_input_embeddings().weight)
    draw = _draws(pictures, batch, 31)

    def loss(step: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rgba, prompts, answers = draw(step)
        features, seen = pupil.features(compose(rgba, SIZE, g), 0.9, g)
        named, near = _word_loss(pupil, words, pupil.prefix(features, seen, prompts), answers)
        return named + near, {"word": named.item(), "near": near.item()}

    def check(trained: nn.Module) -> dict[str, float]:
        return {"test_word": _first_noun(trained, words, pictures)}

    return run(pupil, loss, check, Stage(steps=steps, lr=5e-4, check_every=500, seed=3), folder)


def _first_noun(pupil: Pupil, words: _Words, pictures: Pictures) -> float:
    """Share of held-out catalogue pictures whose nearest words after "What is it?" are the class name."""
    numbers = held_out(pictures.rows)
    right = 0
    with torch.no_grad():
        for chunk, rgba in pictures.batches(numbers, 128):
            features, seen = pupil.features(plain(rgba, SIZE, 0.93), 0, torch.Generator())
            prefix = F.normalize(pupil.prefix(features, seen, ["What is it?"] * len(chunk)), dim=-1)
            nearest = (prefix @ F.normalize(words.vectors, dim=-1).T).argmax(-1)
            goal = words.rows([with_article(pictures.rows[i]["class"]) for i in chunk])
            right += ((nearest == goal) | (goal == words.fill)).all(1).sum().item()
    return right / len(numbers)


def train_language(
    pupil: Pupil, pictures: Pictures, folder: Path, steps: int = 400, batch: int = 24
) -> dict[str, float]:
    """The answer's likelihood under the frozen language model, the warm start's loss kept beside it."""
    tokenizer, model = pupil.tokenizers[1], pupil.frozen[1].to(torch.bfloat16)
    words = _Words(all_texts(pictures.rows), tokenizer, model.get_input_embeddings().weight)
    draw = _draws(pictures, batch, 37)

    def loss(step: int, g: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        rgba, prompts, answers = draw(step)
        features, seen = pupil.features(compose(rgba, SIZE, g), 0.9, g)
        prefix = pupil.prefix(features, seen, prompts)
        spoken = answer_loss(model, tokenizer, prefix, prompts, answers)
        named, near = _word_loss(pupil, words, prefix, answers)
        return spoken + 0.3 * named + 0.3 * near, {"answer": spoken.item(), "word": named.item()}

    def check(trained: nn.Module) -> dict[str, float]:
        return {"test_word": _first_noun(trained, words, pictures)}

    return run(pupil, loss, check, Stage(steps=steps, lr=2e-4, warmup=50, check_every=200, seed=5), folder)


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
    hidden = model.model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state[:, QUERIES - 1 : -1]
    chosen = goal != -100
    return F.cross_entropy(model.lm_head(hidden[chosen]).float(), goal[chosen])
