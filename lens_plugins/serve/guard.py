"""What stands in front of every route: keys, hosts and origins, the size of bodies, times and numbers of requests."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from ..errors import LensPluginsError
from .refusals import BadRequest, Busy, Forbidden, Refusal, TooLarge, WrongKey, told

if TYPE_CHECKING:
    from .metrics import Metrics
    from .settings import ServeSettings

__all__ = ["Guard", "check_key", "error_body", "failed"]

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
_OPEN = ("/healthz", "/readyz")
_LOCKED = ("/v1", "/metrics", "/openapi.json")
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")


def error_body(error: LensPluginsError) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """Status, body and headers of an error in OpenAI's shape."""
    status, shape, again = told(error)
    headers = [(b"content-type", b"application/json")]
    if again is not None:
        headers.append((b"retry-after", str(again).encode()))
    return status, json.dumps({"error": shape}).encode(), headers


class Guard:
    """An ASGI app in front of another.

    Args:
        app: what answers.
        settings: keys and limits.
        metrics: where requests are counted.
    """

    def __init__(self, app: Any, settings: ServeSettings, metrics: Metrics) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._held = 0  # bytes of all bodies that are being received or worked on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        number, began = uuid4().hex, monotonic()
        scope.setdefault("state", {})["request_id"] = number
        body = _Body(self, receive, scope)
        sent: list[int] = []

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent.append(message["status"])
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", number.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, body.receive if scope["type"] == "http" else receive, answer)
        except LensPluginsError as error:
            if not sent:
                await _refuse(answer, error)
        except Exception:
            log.exception("The request %s failed.", number)
            if not sent:
                await _refuse(answer, _Failed(number))
        finally:
            self._held -= body.taken
            self._metrics.answered(scope, sent[0] if sent else 499, monotonic() - began)

    def _check(self, scope: Scope) -> None:
        """Everything that is known from the head of a request.

        Raises:
            WrongKey, Forbidden, BadRequest, TooLarge, Busy: see `ServeSettings`.
        """
        headers = {name.lower(): value for name, value in scope.get("headers", ())}
        host = headers.get(b"host", b"").decode("latin-1")
        if self._settings.hosts and _name(host) not in self._settings.hosts:
            raise Forbidden(f"This server is not called {host[:100]!r}; ask it by its own name.")
        origin = headers.get(b"origin", b"").decode("latin-1")
        changing = scope["type"] == "websocket" or scope.get("method") in _CHANGING
        if changing and origin and urlsplit(origin).netloc.lower() != host.lower():
            raise Forbidden(f"A page of {origin[:100]!r} may not ask this server.")
        path = scope["path"]
        if self._settings.api_key and path.startswith(_LOCKED) and path not in _OPEN:
            check_key(headers, self._settings.api_key, self._settings.admin_key)
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._settings.max_body:
            raise TooLarge(f"The body has {int(length)} bytes; at most {self._settings.max_body} are taken.")

    def take(self, count: int) -> None:
        """Count bytes of a body.

        Raises:
            Busy: all bodies together would hold more than the server keeps.
        """
        if self._held + count > self._settings.max_held:
            raise Busy(f"The server holds {self._held} bytes of other requests; try again in a second.")
        self._held += count

    @property
    def settings(self) -> ServeSettings:
        """Keys and limits."""
        return self._settings


class _Body:
    """The body of one request, counted and timed as it comes in."""

    def __init__(self, guard: Guard, receive: Receive, scope: Scope) -> None:
        self._guard, self._receive = guard, receive
        self._until = monotonic() + guard.settings.body_seconds
        self._whole = False
        self.taken = 0

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        seconds = self._guard.settings.body_seconds
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._until - monotonic()))
        except asyncio.TimeoutError as error:
            raise BadRequest(f"The body was not there after {seconds:g} seconds; send it at once.") from error
        if message["type"] != "http.request":
            self._whole = True
            return message
        chunk = len(message.get("body", b""))
        most = self._guard.settings.max_body
        if self.taken + chunk > most:
            raise TooLarge(f"The body has more than {most} bytes, which are not taken.")
        self._guard.take(chunk)
        self.taken += chunk
        self._whole = not message.get("more_body", False)
        return message


class _Failed(Refusal):
    """Our fault."""

    status = 500
    type = "server_error"
    code = "internal_error"

    def __init__(self, number: str) -> None:
        super().__init__(f"The server failed at this request; its log has more under {number}.")


def failed(request: Any) -> LensPluginsError:
    """What a client is told of a failure of ours: the number under which the log has it."""
    return _Failed(request.scope["state"]["request_id"])


def check_key(headers: dict[bytes, bytes], *keys: str | None) -> None:
    """Compare the key of a request with those that open the route, in constant time.

    Raises:
        WrongKey: it has none, or another.
    """
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    matches = [hmac.compare_digest(given.strip(), key.encode()) for key in keys if key]
    if scheme.lower() != b"bearer" or not any(matches):
        raise WrongKey("The key is missing or wrong; send it as Authorization: Bearer KEY.")


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    return (host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host).lower()


async def _refuse(send: Send, error: LensPluginsError) -> None:
    status, body, headers = error_body(error)
    headers += [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
