"""Text as it is made: `generate` in a thread, pieces through transformers' streamer, errors where they are seen."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from threading import Event, Lock, Thread
from typing import Any, Protocol

__all__ = ["TOKENIZING", "Decoder", "cut_at", "stopping_at", "stream_text"]

TOKENIZING = Lock()
"""Held while a tokenizer works: one that pads or truncates refuses a second thread."""


class Decoder(Protocol):
    """A tokenizer by what streaming needs of it."""

    def decode(self, ids: Any, **options: Any) -> str:
        """Text of token ids (T,)."""


class _OneAtATime:
    """A tokenizer for the streamer, which calls it in another thread."""

    def __init__(self, tokenizer: Decoder) -> None:
        self._tokenizer = tokenizer

    def decode(self, ids: Any, **options: Any) -> str:
        with TOKENIZING:
            return self._tokenizer.decode(ids, **options)


def stream_text(run: Callable[..., Any], tokenizer: Decoder, **options: Any) -> Generator[str, None, None]:
    """Yield the pieces that `run(streamer=..., stopping_criteria=..., **options)` makes, without blanks in front.

    An error in `run` is raised here. When the caller stops iterating, `run` stops at its next token.
    """
    from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

    # `generate` blocks until its end, so it runs in a thread of its own
    given_up = Event()
    failed: list[BaseException] = []
    streamer = TextIteratorStreamer(_OneAtATime(tokenizer), skip_prompt=True, skip_special_tokens=True)

    class GivenUp(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            return input_ids.new_full((len(input_ids),), given_up.is_set(), dtype=bool)

    criteria = StoppingCriteriaList([GivenUp(), *(options.pop("stopping_criteria", None) or ())])

    def work() -> None:
        try:
            run(streamer=streamer, stopping_criteria=criteria, **options)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread of the caller
            failed.append(error)
            streamer.end()  # without it the caller would wait for ever

    thread = Thread(target=work, daemon=True)
    thread.start()
    # the first pieces are empty, and the first word has a blank in front
    begun = False
    try:
        for piece in streamer:
            text = piece if begun else piece.lstrip()
            if text:
                begun = True
                yield text
    finally:
        given_up.set()
        thread.join()
    if failed:
        raise failed[0]


def cut_at(pieces: Generator[str, None, None], stop: str) -> Generator[str, None, None]:
    """Pieces of a text up to where `stop` stands in it; what may be its beginning is held back."""
    held = ""
    with closing(pieces):
        for piece in pieces:
            # of "##" nobody knows yet whether a third one follows
            before, found, _ = (held + piece).partition(stop)
            kept = 0 if found else max(n for n in range(len(stop)) if before.endswith(stop[:n]))
            text, held = before[: len(before) - kept], before[len(before) - kept :]
            if text:
                yield text
            if found:
                return
    if held:
        yield held


def stopping_at(stop: str, tokenizer: Decoder, others: Iterable[Any] = ()) -> Any:
    """Criteria for transformers' `generate` that end each row where `stop` stands among its last tokens, and others."""
    from transformers import StoppingCriteria, StoppingCriteriaList

    class StoppingAt(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            # a token is one letter at least, and a blank may come in front
            last = input_ids[:, -len(stop) - 1 :].tolist()
            with TOKENIZING:
                found = [stop in tokenizer.decode(ids) for ids in last]
            return input_ids.new_tensor(found, dtype=bool)

    return StoppingCriteriaList([*others, StoppingAt()])
