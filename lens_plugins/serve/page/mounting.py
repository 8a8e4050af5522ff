"""The page on the server's app: nothing from elsewhere, uploads in a private folder that goes with the server."""

from __future__ import annotations

import atexit
import hmac
import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..settings import ServeSettings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ..engine import Engine

__all__ = ["mount"]

Message = MutableMapping[str, Any]
_PREFIX = "lens-plugins-page-"
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; font-src 'self' data:; frame-ancestors 'self'; base-uri 'self'; form-action 'self'"
)
_FOREIGN = re.compile(
    rb"<(?:link|script|meta)\b[^>]*(?:https?:)?//(?!localhost|127\.)[^>]*>(?:\s*</script>)?", re.IGNORECASE
)
"""Tags of gradio's own page that name another web server: fonts, a script for frames, pictures for previews."""


def mount(app: FastAPI, engine: Engine, settings: ServeSettings) -> FastAPI:
    """The app with the page at `/`.

    Args:
        app: of `build_app`; its routes come first.
        engine: who answers.
        settings: whose limits hold; with an API key the page asks for it.

    Raises:
        MissingDependency: gradio is not installed.
    """
    folder = _private_folder()
    os.environ["GRADIO_TEMP_DIR"] = folder
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from ..._optional import require

    gradio: Any = require("gradio", extra="web", purpose="The page")
    from .layout import CSS, build, theme

    blocks = build(engine, settings)
    key = settings.api_key
    mounted: FastAPI = gradio.mount_gradio_app(
        app, blocks, path="/", ssr_mode=False, footer_links=[], auth=None if key is None else _knowing(key),
        auth_message="Any name; the password is the key of this server." if key else None, show_error=False,
        max_file_size=settings.max_body, mcp_server=False, pwa=False, theme=theme(), css=CSS, enable_monitoring=False,
        favicon_path=None,
    )  # fmt: skip
    mounted.add_middleware(_FromHereAlone)
    return mounted


def _knowing(key: str) -> Callable[[str, str], bool]:
    """Whether a visitor knows the key."""

    def knows(_: str, given: str) -> bool:
        return hmac.compare_digest(given.encode(), key.encode())

    return knows


class _FromHereAlone:
    """Pages without tags that name other web servers, and with a policy that lets the browser ask none."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["path"].startswith(("/v1", "/metrics")):
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def cleaned(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                kinds = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
                if not kinds or not kinds[0].startswith(b"text/html"):
                    await send(message)
                    return
                start = message
            elif start and message["type"] == "http.response.body":
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    await _send_page(send, start, _FOREIGN.sub(b"", body))
            else:
                await send(message)

        await self._app(scope, receive, cleaned)


async def _send_page(send: Callable[[Message], Awaitable[None]], start: Message, body: bytes) -> None:
    left = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    more = [(b"content-length", str(len(body)).encode()), (b"content-security-policy", _POLICY.encode())]
    await send({**start, "headers": [*left, *more, (b"referrer-policy", b"no-referrer")]})
    await send({"type": "http.response.body", "body": body})


def _private_folder() -> str:
    """A folder that only this user can read; it goes with the process, and those that killed ones left go now."""
    known = Path("/proc/self").exists()  # elsewhere nobody says whether a process lives
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*") if known else ():
        owner = old.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists() and old.is_dir() and not old.is_symlink():
            with suppress(OSError):
                shutil.rmtree(old)
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
