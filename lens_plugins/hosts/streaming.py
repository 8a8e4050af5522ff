"""Text as it is made: `generate` in a thread, pieces through transformers' streamer, errors where they are seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

__all__ = ["stream_text"]


def stream_text(run: Callable[..., Any], tokenizer: Any) -> Iterator[str]:
    """Yield the pieces that `run(streamer=..., stopping_criteria=...)` makes.

    An error in `run` is raised here. When the caller stops iterating, `run` stops at its next token.
    """
    from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

    given_up = Event()
    failed: list[BaseException] = []
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)

    class GivenUp(StoppingCriteria):
        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            return input_ids.new_full((len(input_ids),), given_up.is_set(), dtype=bool)

    def work() -> None:
        try:
            run(streamer=streamer, stopping_criteria=StoppingCriteriaList([GivenUp()]))
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread of the caller
            failed.append(error)
            streamer.end()  # without it the caller would wait for ever

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        yield from filter(None, streamer)  # the first pieces are empty
    finally:
        given_up.set()
        thread.join()
    if failed:
        raise failed[0]
