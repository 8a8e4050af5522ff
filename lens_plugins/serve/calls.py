"""What every route does: take a place, read the body and its files, wait for the answer as long as the client does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse

from ..hosts.messages import Text
from ..inputs import ModalityInput
from .engine import Engine, Slot
from .fetching import fetch
from .fields import Link, number, read_json
from .limits import check_declared
from .metrics import Metrics
from .refusals import BadRequest, Gone, Late
from .settings import ServeSettings
from .tickets import Ticket
from .uploads import Upload

if TYPE_CHECKING:
    from ..hosts.base import Host

__all__ = ["Call", "Server", "answering"]

T = TypeVar("T")
_JSON = ("application/json", "application/problem+json")


@dataclass(frozen=True)
class Server:
    """What the routes of one app share.

    Args:
        engine: answers.
        settings: what clients may do.
        metrics: what is counted.
        started: seconds since 1970, which is when the models were "created".
    """

    engine: Engine
    settings: ServeSettings
    metrics: Metrics
    started: int


@dataclass
class Call:
    """One request that has a place in the engine.

    Args:
        server: who takes it.
        request: of HTTP.
        slot: its place and its deadline.

    Attributes:
        reading: seconds that its files took.
    """

    server: Server
    request: HttpRequest
    slot: Slot
    began: float = field(default_factory=monotonic)
    reading: float = 0.0

    async def json(self) -> dict[str, Any]:
        """The JSON object of the body, parsed by another thread.

        Raises:
            BadRequest: the body is of another type, or no JSON object.
        """
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _JSON:
            raise BadRequest(f"The body has the type {kind or 'unknown'!r}; send it as application/json.")
        body = await self.request.body()
        return await asyncio.to_thread(read_json, body)

    def host(self, given: Mapping[str, Any]) -> tuple[str, Host]:
        """The name and the host that a request means.

        Raises:
            BadRequest: its model is no text.
            NotFound: there is none.
        """
        name = given.get("model")
        if name is not None and not isinstance(name, str):
            raise BadRequest(f"model is a {type(name).__name__}; it must be a text.", "model")
        engine = self.server.engine
        return name or next(iter(engine.hosts)), engine.host(name or None)

    async def read(
        self,
        parts: Sequence[str | Text | Upload | Link],
        model: str,
        *,
        clips: int | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> list[Any]:
        """Files as the host wants them, read by reader threads; texts as they are.

        Raises:
            InputError: one of them cannot be read.
            TooLarge: one of them holds too much.
            Late: the deadline passes meanwhile.
        """
        began, engine = monotonic(), self.server.engine
        read = partial(_read, engine.host(model), self.server.settings, clips, settings)
        coming: dict[int, Future[ModalityInput]] = {
            place: engine.submit_read(read, part)
            for place, part in enumerate(parts)
            if isinstance(part, (Upload, Link))
        }
        found: list[Any] = list(parts)
        try:
            for place, future in coming.items():
                left = max(0.0, self.slot.deadline - monotonic())
                found[place] = await asyncio.wait_for(asyncio.wrap_future(future), left)
        except asyncio.TimeoutError as error:
            raise Late("The inputs were not read before the deadline; send less, or try again later.") from error
        finally:
            for future in coming.values():
                future.cancel()
        self.reading = monotonic() - began
        self.server.metrics.read(self.reading)
        return found

    def set_deadline(self, given: Mapping[str, Any]) -> None:
        """Make the deadline earlier where the request says so."""
        seconds = number(given, "deadline", 0.001, 86_400)
        if seconds is not None:
            self.slot.deadline = min(self.slot.deadline, self.began + seconds)

    async def wait(self, ticket: Ticket[T]) -> T:
        """The result of a ticket, for as long as the client stays.

        Raises:
            Gone: it went away.
        """
        return await self.until_gone(ticket.wait(), ticket)

    async def until_gone(self, work: Awaitable[T], ticket: Ticket[Any]) -> T:
        """What `work` gives; the ticket is given up when the client goes away before.

        Raises:
            Gone: it went away.
        """
        working = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_disconnected(self.request))
        try:
            await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Gone("The client went away before the answer was there.")
            return working.result()
        finally:
            gone.cancel()
            if not working.done():
                working.cancel()
                ticket.cancel()

    def headers(self, ticket: Ticket[Any]) -> dict[str, str]:
        """Where the time went, for the response: OpenAI's header and our own, in milliseconds."""
        timing = ticket.timing
        whole = monotonic() - self.began
        parts = {
            "reading": self.reading,
            "waiting": timing.waiting,
            "computing": timing.computing,
            "other": whole - self.reading - timing.waiting - timing.computing,
        }
        told = ", ".join(f"{name};dur={1000 * max(0.0, seconds):.1f}" for name, seconds in parts.items())
        return {"openai-processing-ms": f"{1000 * whole:.0f}", "server-timing": told}


def _read(
    host: Host,
    limits: ServeSettings,
    clips: int | None,
    settings: Mapping[str, Mapping[str, Any]] | None,
    part: Upload | Link,
) -> ModalityInput:
    """In a reader thread: fetch what is a link, look at its head, read it."""
    from .uploads import read_upload

    upload = fetch(part, limits.allow_domains, limits.max_body) if isinstance(part, Link) else part
    check_declared(upload, limits)
    return read_upload(
        upload, lambda path, modality: host.read(path, modality=modality, clips=clips, settings=settings)
    )


async def _disconnected(request: HttpRequest) -> None:
    """Return when the client has gone; its body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def answering(
    server: Server, work: Callable[[Call], Coroutine[Any, Any, Any]]
) -> Callable[[HttpRequest], Coroutine[Any, Any, Any]]:
    """A route that takes a place in the engine for as long as `work` runs; a stream keeps it until its end."""

    async def route(request: HttpRequest) -> Any:
        slot = server.engine.admit()
        call = Call(server, request, slot)
        try:
            response = await work(call)
        except BaseException:
            slot.release()
            raise
        if isinstance(response, JSONResponse) or not hasattr(response, "body_iterator"):
            slot.release()
        return response

    route.__name__ = work.__name__
    route.__doc__ = work.__doc__
    return route
