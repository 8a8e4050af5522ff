"""Codes among words: which token ids stand for codes and for the borders of a picture, and what a reply holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

from ...errors import CheckpointError

__all__ = ["BEGIN", "CODE", "END", "CodeVocabulary", "Written"]

BEGIN, END, CODE = "<img>", "</img>", "<img_{:05d}>"


@dataclass(frozen=True, eq=False)
class Written:
    """What a language model wrote: text and the codes (Q,) of pictures, in order, and what was malformed."""

    parts: tuple[str | Tensor, ...]
    problems: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All text, without the pictures."""
        return " ".join(part for part in self.parts if isinstance(part, str))


class CodeVocabulary:
    """The token ids of a tokenizer that make pictures; all read from its files, none computed.

    Args:
        begin: id of `<img>`.
        end: id of `</img>`.
        ids: id of every code, in the order of codes.
        queries: Q, codes of one picture.
    """

    def __init__(self, begin: int, end: int, ids: Sequence[int], queries: int) -> None:
        self.begin = begin
        self.end = end
        self.ids = tuple(ids)
        self.queries = queries
        self._code_of = {id_: code for code, id_ in enumerate(self.ids)}

    @classmethod
    def of(cls, tokenizer: Any, *, codes: int, queries: int, source: str) -> Self:
        """Look every token up.

        Args:
            codes: how many codes the SEED tokenizer has.
            source: names the language model in errors.

        Raises:
            CheckpointError: a token is absent, two are one id, or they are not read as one token each.
        """
        names = [BEGIN, END, *(CODE.format(code) for code in range(codes))]
        known = tokenizer.get_vocab()
        absent = [name for name in names if name not in known]
        if absent:
            raise CheckpointError(
                f"The tokenizer of {source} lacks {len(absent)} of the {len(names)} tokens of pictures, the first is "
                f"{absent[0]}; it must have {BEGIN}, {END} and {codes} codes. A SEED-LLaMA language model has them."
            )
        begin, end, *ids = (known[name] for name in names)
        if len({begin, end, *ids}) != len(names):
            raise CheckpointError(f"The tokenizer of {source} gives one id to several of its tokens of pictures.")
        vocabulary = cls(begin, end, ids, queries)
        # a tokenizer may know the tokens and still read them in a row as others
        picture = [0, codes - 1] * queries
        expected = [begin, *(ids[code] for code in picture), end]
        found = tokenizer(vocabulary.text(picture), add_special_tokens=False)["input_ids"]
        if list(found) != expected:
            raise CheckpointError(
                f"The tokenizer of {source} reads {len(expected)} tokens of pictures in a row as {len(found)} others."
            )
        return vocabulary

    @property
    def largest(self) -> int:
        """The highest id, below which the language model's embeddings must not end."""
        return max(self.begin, self.end, *self.ids)

    def text(self, codes: Sequence[int] | Tensor) -> str:
        """One picture as the language model reads it."""
        return BEGIN + "".join(CODE.format(int(code)) for code in codes) + END

    def markup(self, written: Written) -> str:
        """A reply as it stands in the history: text and whole pictures in order."""
        return " ".join(part if isinstance(part, str) else self.text(part) for part in written.parts)

    def is_picture(self, id_: int) -> bool:
        """Whether an id is a code or a border."""
        return id_ in self._code_of or id_ in (self.begin, self.end)

    def read(self, ids: Sequence[int], tokenizer: Any, *, forced: bool = False) -> Written:
        """Take a reply apart.

        Args:
            ids: what the language model wrote, without the prompt.
            forced: the prompt ended in `<img>`, which belongs to the reply.
        """
        parts: list[str | Tensor] = []
        problems: list[str] = []
        for is_picture, run in groupby([self.begin, *ids] if forced else ids, self.is_picture):
            if is_picture:
                for piece in self._pictures(list(run)):
                    if isinstance(piece, str):
                        problems.append(piece)
                    else:
                        parts.append(piece)
            elif text := tokenizer.decode(list(run), skip_special_tokens=True).strip():
                parts.append(text)
        # only the last picture can have been cut off
        if problems and ids and self.is_picture(ids[-1]) and ids[-1] != self.end:
            problems[-1] += "; the reply was cut off inside it, allow more max_new_tokens"
        return Written(tuple(parts), tuple(problems))

    def _pictures(self, run: list[int]) -> Iterator[Tensor | str]:
        """The codes of each picture in a run of picture tokens, or what is wrong with it."""
        pictures: list[list[int]] = []
        # a new one begins with <img>, or after </img> where the language model forgot it
        for id_ in run:
            if id_ == self.begin or not pictures or pictures[-1][-1] == self.end:
                pictures.append([])
            pictures[-1].append(id_)
        for picture in pictures:
            codes = [self._code_of[id_] for id_ in picture if id_ in self._code_of]
            borders = picture[0] == self.begin, picture[-1] == self.end
            if all(borders) and len(codes) == self.queries:
                yield torch.tensor(codes)
            elif len(codes) != self.queries:
                yield f"A picture has {len(codes)} codes, it must have {self.queries}"
            else:
                yield f"A picture of {len(codes)} codes lacks its {END if borders[0] else BEGIN}"
