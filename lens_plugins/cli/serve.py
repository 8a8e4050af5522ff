"""lens-plugins serve"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._optional import require
from ..errors import ConfigError, MissingDependency
from .options import HostOptions, pairs, spelled_out
from .output import note, progress
from .session import lens_sources

if TYPE_CHECKING:
    from ..hosts.base import Host
    from ..serve import Engine, EngineSettings, ServeSettings

__all__ = ["serve"]

log = logging.getLogger(__name__)

_DEMO = ("pocket-instructblip", "pocket-seed-llama")
_LOCAL = ("127.0.0.1", "localhost", "[::1]", "::1")
_MIB = 2**20


@dataclass(frozen=True)
class ServedHosts(HostOptions):
    """`HostOptions` with several hosts."""

    host: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A shipped host, a hub id or a folder; repeatable: they share their ViT."),
    ] = None  # type: ignore[assignment]  # several, where other commands take one


@dataclass(frozen=True)
class LimitOptions:
    """How much a server takes at once."""

    max_queue: Annotated[int, typer.Option(min=1, help="Requests at once; one more is told to try again.")] = 64
    batch_size: Annotated[int, typer.Option(min=1, help="Requests that are answered together.")] = 16
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request is given up.")] = 120.0
    max_body: Annotated[int, typer.Option(min=1, help="Largest request, in MiB.")] = 64
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest reply that may be asked for, in tokens.")] = 1024


@dataclass(frozen=True)
class AccessOptions:
    """Who may ask, and for what."""

    bind: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen; 0.0.0.0 is everywhere.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000
    api_key_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Holds the key that clients must send; else $LENS_PLUGINS_API_KEY."),
    ] = None
    admin_key_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Holds the key for plugging lenses; else $LENS_PLUGINS_ADMIN_KEY."),
    ] = None
    allow_domain: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Fetch files from this web server; repeatable.")
    ] = None
    offer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="A lens that may be plugged while serving; repeatable."),
    ] = None


@spelled_out
def serve(
    loading: ServedHosts,
    access: AccessOptions,
    limits: LimitOptions,
    demo: Annotated[bool, typer.Option("--demo", help="Both shipped hosts on one ViT, and the browser.")] = False,
    page: Annotated[bool, typer.Option(help="The page at /, where gradio is installed.")] = True,
) -> None:
    """Answer OpenAI's clients over HTTP, about files of any modality.

    One process, one copy of the model, requests answered in batches. SIGTERM or Ctrl-C: what was accepted is answered
    first. Only this machine can ask unless --bind says otherwise.

    \b
    Example:
      lens-plugins serve
      lens-plugins serve --demo
      lens-plugins serve --host Salesforce/instructblip-vicuna-7b --device cuda --bind 0.0.0.0 --api-key-file key.txt
    """
    from ..serve.settings import ServeSettings

    for module in ("fastapi", "uvicorn", "prometheus_client"):
        require(module, extra="serve", purpose="Serving")
    settings = _settings(access, limits, ServeSettings)
    from ..serve import Engine, EngineSettings, build_app
    from ..serve.running import listen, load_hosts
    from ..serve.running import serve as run

    sock = listen(access.bind, access.port)  # a port that is taken is told at once and not after minutes
    names = [*_DEMO] if demo else [*(loading.host or _DEMO[:1])]
    with progress(f"loading {', '.join(names)}"):
        hosts = load_hosts(names, lambda name: _lenses(loading, name), loading.loading())
    engine = Engine(hosts, _engine_settings(limits, EngineSettings))
    app: Any = build_app(engine, settings)
    if page or demo:
        app = _with_page(app, engine, settings, needed=demo)
    host, port = sock.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    run(app, engine, sock, _greeting(address, hosts, settings, browser=demo))


def _lenses(loading: ServedHosts, host: str) -> dict[str, str]:
    return lens_sources(HostOptions(host=host, lens=loading.lens))


def _settings(access: AccessOptions, limits: LimitOptions, make: type[ServeSettings]) -> ServeSettings:
    """Keys, domains and limits.

    Raises:
        ConfigError: a key file that cannot be read or is empty, or the same key for both.
    """
    from ..serve.running import read_key

    api_key = read_key(access.api_key_file, "LENS_PLUGINS_API_KEY")
    admin_key = read_key(access.admin_key_file, "LENS_PLUGINS_ADMIN_KEY")
    if api_key is not None and api_key == admin_key:
        raise ConfigError("The admin key is the API key; give another, so that not every client plugs lenses.")
    if access.bind not in _LOCAL and api_key is None:
        log.warning("everyone who reaches %s may ask, since there is no --api-key-file", access.bind)
    return make(
        api_key=api_key,
        admin_key=admin_key,
        allow_domains=tuple(access.allow_domain or ()),
        lenses=pairs(access.offer, "--offer"),
        hosts=_LOCAL if access.bind in _LOCAL else (),
        max_body=limits.max_body * _MIB,
        max_held=max(512, 4 * limits.max_body) * _MIB,
        max_tokens=limits.max_tokens,
    )


def _engine_settings(limits: LimitOptions, make: type[EngineSettings]) -> EngineSettings:
    return make(max_queue=limits.max_queue, batch_size=limits.batch_size, deadline=limits.deadline)


def _with_page(app: Any, engine: Engine, settings: ServeSettings, *, needed: bool) -> Any:
    """The app with the page at /, where gradio is there."""
    try:
        require("gradio", extra="web", purpose="The page")
        from ..serve.page import mount  # type: ignore[import-not-found, unused-ignore]
    except (MissingDependency, ModuleNotFoundError) as error:
        if needed and isinstance(error, MissingDependency):
            raise
        return app
    return mount(app, engine, settings)


def _greeting(address: str, hosts: dict[str, Host], settings: ServeSettings, *, browser: bool) -> Callable[[], None]:
    def greet() -> None:
        note(f"{', '.join(hosts)} at {address}/v1{', with a key' if settings.api_key else ''}; Ctrl-C ends it")
        if browser:
            import webbrowser

            webbrowser.open(address)

    return greet
