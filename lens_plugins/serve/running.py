"""A server as a process: hosts that share a ViT, connections that may not idle, an end that loses nothing."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..errors import ConfigError, LensPluginsError
from ..files.opening import read_bytes
from ..hosts.loading import load_host
from ..lens.loading import load_lens

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ..hosts.base import Host
    from ..lens.lens import Lens
    from .engine import Engine

__all__ = ["Server", "listen", "load_hosts", "read_key", "serve"]

log = logging.getLogger(__name__)

_KEPT = 75  # seconds that an idle connection stays: longer than clients keep theirs, so that they close first
_HEAD_SECONDS = 30.0  # within which the head of a request must be there
_LAST_SECONDS = 10  # for answers that are on their way when the engine has nothing left to do
_MOST_CONNECTIONS = 2000
_LONGEST_KEY = 4096


def load_hosts(
    names: Sequence[str], lenses: Callable[[str], Mapping[str, str]], loading: Mapping[str, Any]
) -> dict[str, Host]:
    """Load hosts and plug their lenses; those of one ViT hold it once.

    Args:
        names: what `load_host` takes, each once.
        lenses: the lenses of a host, by its name: what `load_lens` takes, by modality.
        loading: options of `load_host`.

    Raises:
        ConfigError: a host is named twice.
        LensPluginsError: see `load_host` and `Host.plug`.
    """
    loaded: dict[str, Lens] = {}
    hosts: dict[str, Host] = {}
    for name in names:
        key = name if "/" not in name or not Path(name).is_dir() else Path(name).resolve().name
        if key in hosts:
            raise ConfigError(f"The host {key} is given twice; give each once.")
        host = _load_beside(name, list(hosts.values()), loading)
        for modality, source in lenses(name).items():
            if source not in loaded:
                loaded[source] = load_lens(source, modality=modality, device=host.vit.device)
            host.plug(loaded[source])
        hosts[key] = host
    return hosts


def _load_beside(name: str, others: Sequence[Host], loading: Mapping[str, Any]) -> Host:
    """A host on the ViT of one that is there, where it is the same; else on its own."""
    for other in others:
        try:
            return load_host(name, vit=other.vit, **loading)
        except LensPluginsError as error:
            log.info("%s does not share the ViT of %s: %s", name, other.name, error)
    return load_host(name, **loading)


def read_key(file: str | None, variable: str) -> str | None:
    """A key from a file, or from an environment variable where no file is given; None where there is neither.

    Raises:
        ConfigError: it is empty, or holds what no header can.
    """
    where = file if file is not None else f"${variable}"
    raw = read_bytes(file, _LONGEST_KEY, error=ConfigError) if file is not None else os.environb.get(variable.encode())
    if raw is None:
        return None
    key = raw.strip()
    if not key or not all(33 <= letter <= 126 for letter in key):
        raise ConfigError(f"The key in {where} is empty or has blanks or letters beyond ASCII; use letters and digits.")
    return key.decode("ascii")


def listen(bind: str, port: int) -> socket.socket:
    """A socket that is bound, and listens once it is served: nobody waits at it while a model loads.

    Raises:
        ConfigError: the address is not this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except (OSError, OverflowError) as error:
        what = f"{bind} port {port} cannot be listened at ({error})"
        raise ConfigError(f"{what}; give another --bind or --port.") from error
    return sock


class _Patient(H11Protocol):
    """uvicorn's protocol, which also closes connections on which the head of a request does not arrive."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Begin anew where a head has begun and is not whole: uvicorn would wait for ever."""
        waiting = self.timeout_keep_alive_task if self.cycle is None or self.cycle.response_complete else None
        until = waiting.when() if waiting is not None else None
        super().data_received(data)
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self._await_head(until)

    def _await_head(self, until: float | None = None) -> None:
        latest = self.loop.time() + _HEAD_SECONDS
        when = latest if until is None else min(until, latest)
        self.timeout_keep_alive_task = self.loop.call_at(when, self._give_up)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn, which after the first signal answers what was accepted and refuses what comes; a second one ends it.

    Args:
        app: the ASGI app.
        engine: is drained.
    """

    def __init__(self, app: Any, engine: Engine) -> None:
        self._engine = engine
        self._asked = False
        config = uvicorn.Config(
            app,
            http=_Patient,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEPT,
            timeout_graceful_shutdown=_LAST_SECONDS,
            limit_concurrency=_MOST_CONNECTIONS,
        )
        super().__init__(config)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """The signal that asks for an end; the process then ends with code 0."""
        if self._asked:
            self.force_exit = self.should_exit = True
        self._asked = True
        self._engine.drain()

    async def on_tick(self, counter: int) -> bool:
        """Whether to end: once nothing that was accepted is left."""
        if self._asked and self._engine.taken == 0:
            self.should_exit = True
        return await super().on_tick(counter)


def serve(app: FastAPI, engine: Engine, sock: socket.socket, begun: Callable[[], None] | None = None) -> None:
    """Serve until a signal comes; what was accepted before is answered.

    Args:
        app: see `build_app`.
        engine: of the app; started here and closed here.
        sock: see `listen`.
        begun: called once the socket listens and the engine runs.
    """
    engine.start()
    server = Server(app, engine)
    try:
        if begun is not None:
            begun()
        server.run(sockets=[sock])
    finally:
        engine.close(drain=not server.force_exit)
