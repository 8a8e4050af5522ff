"""Constrained decoding: what the language model may write next, so that every picture is whole."""

from __future__ import annotations

import torch
from torch import Tensor

from .vocabulary import CodeVocabulary

__all__ = ["WholePictures"]

_TEXT, _NO_ROOM, _CODES, _END = range(4)


class WholePictures:
    """A logits processor for transformers' `generate`: after `<img>` come Q codes, then `</img>`, nothing else.

    It judges by the ids generated so far, never by the prompt, so it works under greedy search, beams and sampling,
    with prompts of ids or of embeddings. Its cost does not grow with the length of the reply.

    Args:
        vocabulary: which ids are codes and borders.
        size: of the language model's vocabulary.
        forced: the prompt ends in `<img>`: a picture is open from the start.
        prompt_length: ids of the prompt that `generate` hands over in front; 0 where it was given embeddings.
        max_new_tokens: a picture that could not be finished within them is not begun.
    """

    def __init__(
        self, vocabulary: CodeVocabulary, size: int, *, forced: bool, prompt_length: int, max_new_tokens: int
    ) -> None:
        self._begin = vocabulary.begin
        self._queries = vocabulary.queries
        self._forced = forced
        self._prompt_length = prompt_length
        self._max_new_tokens = max_new_tokens
        allowed = torch.zeros(4, size, dtype=torch.bool)  # (state, id)
        ids = torch.tensor(vocabulary.ids)
        allowed[_TEXT] = allowed[_NO_ROOM] = True
        allowed[_TEXT, ids] = allowed[_NO_ROOM, ids] = False
        allowed[_TEXT, vocabulary.end] = allowed[_NO_ROOM, vocabulary.end] = False
        allowed[_NO_ROOM, vocabulary.begin] = False
        allowed[_CODES, ids] = True
        allowed[_END, vocabulary.end] = True
        self._refused = ~allowed

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # (B, T), (B, V) -> (B, V)
        if self._refused.device != scores.device:
            self._refused = self._refused.to(scores.device)
        return scores.masked_fill(self._refused[self._states(input_ids[:, self._prompt_length :])], -torch.inf)

    def _states(self, made: Tensor) -> Tensor:  # (B, T) -> (B,)
        """Where each reply is; the last Q + 1 ids tell, since a picture has no more after its `<img>`."""
        # a window, so that the cost does not grow with the reply
        steps = made.shape[1]
        window = made[:, -(self._queries + 1) :]
        if self._forced and steps <= self._queries:
            window = torch.cat([made.new_full((len(made), 1), self._begin), window], dim=1)
        room = self._max_new_tokens - steps >= self._queries + 2
        outside = _TEXT if room else _NO_ROOM
        length = window.shape[1]
        if length == 0:
            return made.new_full((len(made),), outside)
        places = torch.arange(1, length + 1, device=made.device)
        last = ((window == self._begin) * places).amax(dim=1)  # place of the last <img>, 0: none
        codes = length - last  # written since
        inside = torch.where(codes < self._queries, _CODES, _END)
        return torch.where(last == 0, outside, inside)
