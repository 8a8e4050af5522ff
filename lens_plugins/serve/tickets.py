"""What a client holds of an accepted request: its result, its pieces, its times, and the way to give it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Lock
from time import monotonic
from typing import Generic, TypeVar

from .refusals import Gone, Late

__all__ = ["Piece", "Ticket", "Timing"]

T = TypeVar("T")
Piece = tuple[int, str]  # number of the choice, text


@dataclass
class Timing:
    """Where the time of a request went, in seconds, and what was written.

    Attributes:
        waiting: in the queue.
        computing: in the model thread, with the others of its batch.
        batch: requests that were answered together.
        prompt_tokens: positions of inputs and prompt.
        new_tokens: written, over all choices.
        finish: why each choice ended, "stop" or "length".
    """

    waiting: float = 0.0
    computing: float = 0.0
    batch: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    finish: tuple[str, ...] = ()


class Ticket(Generic[T]):
    """One accepted request.

    Args:
        deadline: of `time.monotonic`, after which it is given up.

    Attributes:
        timing: see `Timing`; whole once the result is there.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.accepted = monotonic()
        self.timing = Timing()
        self.began: float | None = None  # when the model thread took it
        self._future: Future[T] = Future()
        self._gone = Event()
        self._lock = Lock()
        self._sink: Callable[[Piece | None], None] | None = None
        self._held: list[Piece | None] = []
        self._future.add_done_callback(lambda _: self._push(None))

    # For clients

    def result(self, timeout: float | None = None) -> T:
        """The result, for threads (gradio's are such).

        Raises:
            LensPluginsError: what went wrong.
            Late: it is not there after `timeout` seconds, or at the deadline.
        """
        left = max(0.0, self.deadline - monotonic())
        try:
            return self._future.result(left if timeout is None else min(timeout, left))
        except FutureTimeout as error:
            if self._future.done():
                raise  # a timeout within the work
            raise self._late() from error
        except CancelledError as error:
            raise Gone("The request was given up.") from error

    async def wait(self) -> T:
        """`result` for coroutines."""
        left = max(0.0, self.deadline - monotonic())
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._future)), left)
        except (asyncio.TimeoutError, FutureTimeout) as error:
            if self._future.done() and self._future.exception() is error:
                raise
            raise self._late() from error

    def pieces(self) -> Iterator[Piece]:
        """(choice, text) as the answer is made, for threads; at the end raises what went wrong."""
        coming: SimpleQueue[Piece | None] = SimpleQueue()
        self._listen(coming.put)
        while (piece := coming.get()) is not None:
            yield piece
        self.result()

    async def apieces(self) -> AsyncIterator[Piece]:
        """`pieces` for coroutines."""
        loop, coming = asyncio.get_running_loop(), asyncio.Queue[Piece | None]()

        def put(piece: Piece | None) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(coming.put_nowait, piece)

        self._listen(put)
        while (piece := await coming.get()) is not None:
            yield piece
        await self.wait()

    def cancel(self) -> None:
        """The client went away: what waits is dropped, what runs stops at its next token."""
        self._gone.set()

    # For the model thread

    @property
    def gone(self) -> bool:
        """Whether the client went away."""
        return self._gone.is_set()

    @property
    def late(self) -> bool:
        """Whether the deadline has passed."""
        return monotonic() > self.deadline

    def dropped(self) -> bool:
        """Whether nobody waits any more."""
        return self.gone or self.late

    @property
    def done(self) -> bool:
        """Whether the result, or what went wrong, is there."""
        return self._future.done()

    def emit(self, choice: int, text: str) -> None:
        """Hand on a piece of text."""
        self._push((choice, text))

    def give(self, result: T) -> None:
        """Set the result; a request that nobody waits for gets what is said of it."""
        if self.dropped():
            self.fail(self._late() if self.late else Gone("The client went away before the answer was there."))
        elif not self.done:
            self._stop_clock()
            self._future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Set what went wrong."""
        if not self.done:
            self._stop_clock()
            self._future.set_exception(error)

    def drop(self) -> None:
        """Say why nothing was made for it."""
        self.fail(self._late() if self.late else Gone("The client went away before the answer was there."))

    def when_done(self, call: Callable[[], None]) -> None:
        """Call once the result, or what went wrong, is there."""
        self._future.add_done_callback(lambda _: call())

    def _stop_clock(self) -> None:
        """Before the client can see the result."""
        if self.began is not None:
            self.timing.computing = monotonic() - self.began

    def _late(self) -> Late:
        seconds = self.deadline - self.accepted
        return Late(f"The answer was not there after {seconds:.3g} seconds; ask for less, or try again later.")

    def _listen(self, sink: Callable[[Piece | None], None]) -> None:
        with self._lock:
            for piece in self._held:
                sink(piece)
            self._held, self._sink = [], sink

    def _push(self, piece: Piece | None) -> None:
        with self._lock:
            if self._sink is None:
                self._held.append(piece)
            else:
                self._sink(piece)
