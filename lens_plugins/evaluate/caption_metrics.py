"""How like texts are to what people wrote: BLEU-1, ROUGE-L and CIDEr of COCO's code, sentence similarity, class names.

COCO's own tokenizer is a Java program; here words are runs of letters, digits and apostrophes in lower case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from .._optional import require
from ..catalog import folder_of
from ..hosts.text_tower import load_text_tower

if TYPE_CHECKING:
    from torch import Tensor

    from .captions import Thing

__all__ = ["CaptionScores", "names_it", "score_captions", "words_of"]

_SENTENCES = "all-minilm-l6-v2"
_WORD = re.compile(r"[a-z0-9']+")


@dataclass(frozen=True)
class CaptionScores:
    """Means over things, in percent; CIDEr as its code gives it. None: nothing to compare with.

    Attributes:
        things: that are scored.
        bleu1: of the corpus, with the brevity penalty.
        rouge_l: best reference, beta 1.2.
        cider: over the corpus of these references; with few things its weights of words mean little.
        similarity: cosine of MiniLM's vectors with the best reference's.
        named: share of texts that hold the class's name or one of its other words.
    """

    things: int
    bleu1: float | None
    rouge_l: float | None
    cider: float | None
    similarity: float | None
    named: float | None

    def shown(self) -> list[str]:
        """Cells of a table."""
        values = (self.bleu1, self.rouge_l, self.cider, self.similarity, self.named)
        cider = "-" if self.cider is None else f"{self.cider:.3f}"
        shown = ["-" if value is None else f"{value:.1f}" for value in values]
        return [str(self.things), *shown[:2], cider, *shown[3:]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def score_captions(
    said: Sequence[str], things: Sequence[Thing], encode: Callable[[list[str]], Tensor] | None = None
) -> CaptionScores:
    """Score what one system said of things, in their order; a text that is empty counts as wrong.

    Args:
        said: one text for each thing.
        things: with references, labels, or both.
        encode: texts -> unit vectors (T, E); None: the packaged sentence encoder.

    Raises:
        MissingDependency: pycocoevalcap is not installed (extra ``eval``).
    """
    pairs = [(text, thing.references) for text, thing in zip(said, things) if thing.references]
    named = [names_it(text, thing) for text, thing in zip(said, things) if thing.label is not None]
    share = 100 * sum(named) / len(named) if named else None
    if not pairs:
        return CaptionScores(len(said), None, None, None, None, share)
    texts = {n: [" ".join(words_of(text))] for n, (text, _) in enumerate(pairs)}
    references = {n: [" ".join(words_of(one)) for one in many] for n, (_, many) in enumerate(pairs)}
    purpose = "Scoring captions"
    bleu = require("pycocoevalcap.bleu.bleu", extra="eval", purpose=purpose).Bleu(4)
    rouge = require("pycocoevalcap.rouge.rouge", extra="eval", purpose=purpose).Rouge()
    cider = require("pycocoevalcap.cider.cider", extra="eval", purpose=purpose).Cider()
    several = len(pairs) > 1  # of one thing the weights of words are all zero
    return CaptionScores(
        things=len(said),
        bleu1=100 * float(bleu.compute_score(references, texts, verbose=0)[0][0]),
        rouge_l=100 * float(rouge.compute_score(references, texts)[0]),
        cider=float(cider.compute_score(references, texts)[0]) if several else None,
        similarity=100 * _similarity(pairs, encode or _sentences().encode),
        named=share,
    )


def words_of(text: str) -> list[str]:
    """Words in lower case, punctuation left out."""
    return _WORD.findall(text.lower())


def names_it(text: str, thing: Thing) -> bool:
    """Whether a text holds the class's name, or one of its other words, in singular or plural."""
    names = [name.lower() for name in (thing.label, *thing.words) if name]
    return any(re.search(rf"\b{re.escape(name)}(s|es)?\b", text.lower()) for name in names)


def _similarity(pairs: Sequence[tuple[str, Sequence[str]]], encode: Callable[[list[str]], Tensor]) -> float:
    # An empty text has no vector of its own; it is like nothing.
    spoken = [(text, many) for text, many in pairs if text.strip()]
    if not spoken:
        return 0.0
    every = [text for text, _ in spoken] + [one for _, many in spoken for one in many]
    vectors = encode(every)
    at, best = len(spoken), []
    for number, (_, many) in enumerate(spoken):
        best.append(float((vectors[at : at + len(many)] @ vectors[number]).max()))
        at += len(many)
    return sum(best) / len(pairs)


@cache
def _sentences() -> Any:
    return load_text_tower(folder_of(_SENTENCES))
