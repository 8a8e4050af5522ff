"""The rows of one `generate`: each has its own client, stop texts, length, deadline and random numbers.

transformers asks a stopping criterion after every token whether each row is done. `watching` makes one that also hands
a row's new text to its client, so streams take part in the batches of all. B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["Row", "Sampling", "cut", "drawing", "watching"]

_UNFINISHED = "\ufffd"  # what a tokenizer makes of a character whose last bytes are still to come


@dataclass(frozen=True)
class Sampling:
    """How the tokens of a row are drawn, with a generator of its own.

    Args:
        temperature: above 0.
        top_p: share of the likeliest tokens that are drawn from.
        top_k: number of the likeliest tokens that are drawn from; 0: all.
        seed: the same as after ``torch.manual_seed(seed)`` for one prompt.
    """

    temperature: float
    top_p: float
    top_k: int
    seed: int


@dataclass
class Row:
    """One answer that is being made.

    Args:
        stopped: whether it is to end now: its client went away, or its time is over.
        emit: takes pieces of its text; None: nobody listens.
        stop: texts where it ends.
        limit: tokens at which it ends; None: as the batch.
        sampling: None: the likeliest token.

    Attributes:
        ids: new tokens, without the end token.
        ended: why it ended, "stop" or "length"; None: it was stopped, or `generate` ended by itself.
        text: what was sent so far.
    """

    stopped: Callable[[], bool]
    emit: Callable[[str], None] | None = None
    stop: Sequence[str] = ()
    limit: int | None = None
    sampling: Sampling | None = None
    ids: list[int] = field(default_factory=list)
    ended: str | None = None
    done: bool = False
    text: str = ""

    def take(self, token: int, ends: frozenset[int], decode: Callable[[list[int]], str]) -> bool:
        """Take the newest token; returns whether the row is done."""
        if self.done:
            return True
        if token in ends:
            return self._finish("stop")
        self.ids.append(token)
        if self.emit is not None or self.stop:
            whole = decode(self.ids)
            text, found = cut(whole, self.stop)
            if found:
                self.send(text)
                return self._finish("stop")
            self.send(_sure(whole, self.stop))
        if self.limit is not None and len(self.ids) >= self.limit:
            return self._finish("length")
        self.done = self.stopped()
        return self.done

    def send(self, text: str) -> None:
        """Hand on what is new in a text that begins with what was sent before."""
        if self.emit is not None and len(text) > len(self.text) and text.startswith(self.text):
            self.emit(text[len(self.text) :])
            self.text = text

    def _finish(self, why: str) -> bool:
        self.ended, self.done = why, True
        return True


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """A text up to the first of some texts, and whether one of them is in it."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)].rstrip(), True) if places else (text, False)


def _sure(text: str, stops: Sequence[str]) -> str:
    """The part of a text that later tokens do not change: whole words, without what may begin a stop text."""
    if text.endswith(_UNFINISHED):
        text = text.rstrip(_UNFINISHED)
    last = max(text.rfind(" "), text.rfind("\n"))
    text = text[: last + 1].rstrip(" ")
    held = max((n for stop in stops for n in range(1, len(stop) + 1) if text.endswith(stop[:n])), default=0)
    return text[: len(text) - held].rstrip(" ") if held else text


def watching(rows: Sequence[Row], ends: frozenset[int], decode: Callable[[list[int]], str], beams: int = 1) -> Any:
    """Criteria for transformers' `generate` that end each row by itself.

    Args:
        rows: B of them.
        ends: ids of the end token.
        decode: text of token ids.
        beams: of each row. With several only `Row.stopped` counts: which beam wins is known at the end.
    """
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Watch(StoppingCriteria):
        def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:  # (B·beams, T)
            if beams > 1:
                done = [row.stopped() for row in rows for _ in range(len(input_ids) // len(rows))]
            else:
                newest = input_ids[:, -1].tolist()
                done = [row.take(token, ends, decode) for row, token in zip(rows, newest)]
            return torch.tensor(done, dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Watch()])


def drawing(rows: Sequence[Row]) -> Any:
    """Logits processors for `generate` without sampling, which draw the next token of each row that samples."""
    from transformers import LogitsProcessor, LogitsProcessorList

    class Draw(LogitsProcessor):
        def __init__(self) -> None:
            self._generators: dict[int, torch.Generator] = {}

        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # (B, T), (B, V) -> (B, V)
            scores = scores.clone()
            for number, row in enumerate(rows):
                if row.sampling is None or row.done:
                    continue
                if number not in self._generators:
                    self._generators[number] = torch.Generator(scores.device).manual_seed(row.sampling.seed)
                chances = _warped(scores[number : number + 1], row.sampling).softmax(dim=-1)  # (1, V)
                drawn = torch.multinomial(chances, 1, generator=self._generators[number]).item()
                scores[number] = -torch.inf
                scores[number, int(drawn)] = 0.0
            return scores

    return LogitsProcessorList([Draw()])


def _warped(scores: Tensor, how: Sampling) -> Tensor:  # (1, V) -> (1, V)
    """Scores by transformers' own steps, in their order: temperature, top_k, top_p."""
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    none = torch.empty(1, 0, dtype=torch.long, device=scores.device)
    scores = scores / how.temperature if how.temperature != 1 else scores
    if 0 < how.top_k < scores.shape[-1]:
        scores = TopKLogitsWarper(how.top_k)(none, scores)
    return TopPLogitsWarper(how.top_p)(none, scores) if how.top_p < 1 else scores
