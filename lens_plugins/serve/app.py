"""OpenAI's HTTP interface on an `Engine`."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from .. import __version__
from ..catalog import LENSES, folders, modalities
from ..errors import LensPluginsError
from .calls import Call, Server, answering
from .completions import chat
from .documents import described
from .engine import Engine
from .fields import check_known
from .guard import Guard, check_key, error_body, failed
from .metrics import Metrics
from .pictures import edit, generate
from .refusals import BadRequest, Forbidden, NotFound
from .settings import ServeSettings
from .vectors import classify, embed

__all__ = ["ServeSettings", "build_app"]

log = logging.getLogger(__name__)


def build_app(engine: Engine, settings: ServeSettings | None = None) -> FastAPI:
    """The app: OpenAI's routes, health, metrics. `app.state.engine` and `app.state.settings` are what was given.

    The engine is started by whoever made it.
    """
    settings = settings or ServeSettings()
    server = Server(engine, settings, Metrics(engine), int(time.time()))
    app = FastAPI(title="lens-plugins", version=__version__, docs_url=None, redoc_url=None)
    app.state.engine, app.state.settings = engine, settings
    app.add_middleware(Guard, settings=settings, metrics=server.metrics)
    app.add_exception_handler(LensPluginsError, _told)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _failed)
    for path, work in (
        ("/v1/chat/completions", chat),
        ("/v1/embeddings", embed),
        ("/v1/classify", classify),
        ("/v1/images/generations", generate),
        ("/v1/images/edits", edit),
    ):
        app.add_api_route(
            path, answering(server, work), methods=["POST"], response_model=None, openapi_extra=described(path)
        )
    _add_models(app, server)
    _add_lenses(app, server)
    _add_health(app, server)
    return app


def _add_models(app: FastAPI, server: Server) -> None:
    @app.get("/v1/models", response_model=None)
    async def models() -> Any:
        """The hosts, with what each reads and can do."""
        return {"object": "list", "data": [_model(server, name) for name in server.engine.hosts]}

    @app.get("/v1/models/{name:path}", response_model=None)
    async def model(name: str) -> Any:
        """One host."""
        server.engine.host(name)
        return _model(server, name)


def _model(server: Server, name: str) -> dict[str, Any]:
    host = server.engine.host(name)
    own = [modality for modality, row in modalities().items() if row.embedding is None]
    able = {
        "chat": hasattr(host, "chat") or hasattr(host, "generation"),
        "history": hasattr(host, "chat"),
        "images": hasattr(host, "imagine"),
        "text_embeddings": host.text_tower is not None,
    }
    return {
        "id": name,
        "object": "model",
        "created": server.started,
        "owned_by": "lens-plugins",
        "modalities": sorted({*own, *host.lenses}),
        "lenses": sorted(host.lenses),
        "capabilities": able,
    }


def _add_lenses(app: FastAPI, server: Server) -> None:
    async def plug(call: Call) -> Any:
        """Plug a lens that the server knows by name; answers with the host's digests before and after."""
        _check_admin(server, call.request)
        given = await call.json()
        check_known(given, ("lens", "model"))
        name, _ = call.host(given)
        source = _lens_source(server.settings, given.get("lens"))
        from ..lens.loading import load_lens

        lens = await asyncio.to_thread(load_lens, source)
        ticket = server.engine.plug(lens, name, slot=call.slot)
        return JSONResponse(await call.wait(ticket))

    async def unplug(call: Call) -> Any:
        """Unplug the lens of a modality; answers with the host's digests before and after."""
        _check_admin(server, call.request)
        name, _ = call.host({"model": call.request.query_params.get("model")})
        ticket = server.engine.unplug(call.request.path_params["modality"], name, slot=call.slot)
        return JSONResponse(await call.wait(ticket))

    app.add_api_route(
        "/v1/lenses",
        answering(server, plug),
        methods=["POST"],
        response_model=None,
        openapi_extra=described("/v1/lenses"),
    )
    app.add_api_route("/v1/lenses/{modality}", answering(server, unplug), methods=["DELETE"], response_model=None)


def _check_admin(server: Server, request: Request) -> None:
    if not server.settings.admin_key:
        raise Forbidden("This server was started without an admin key, so nobody plugs lenses; give --admin-key-file.")
    check_key(dict(request.scope["headers"]), server.settings.admin_key)


def _lens_source(settings: ServeSettings, name: Any) -> str:
    """Where a lens lies that a request names: never what the request itself says.

    Raises:
        BadRequest: a name that the server does not know.
    """
    shipped = [row.id for row in LENSES if row.id in folders()]
    if not isinstance(name, str):
        raise BadRequest("lens is missing; name one.", "lens")
    if name in settings.lenses:
        return settings.lenses[name]
    if name in shipped:
        return name
    raise BadRequest(f"There is no lens {name!r} here; there is {', '.join([*settings.lenses, *shipped])}.", "lens")


def _add_health(app: FastAPI, server: Server) -> None:
    @app.get("/healthz", response_model=None)
    async def healthz() -> Any:
        """Whether the process lives."""
        return {"status": "ok"}

    @app.get("/readyz", response_model=None)
    async def readyz() -> Any:
        """Whether requests are taken: 503 while the server is being stopped."""
        ready = server.engine.ready
        return JSONResponse({"status": "ready" if ready else "stopping"}, 200 if ready else 503)

    @app.get("/metrics", response_model=None)
    async def metrics() -> Any:
        """Prometheus."""
        return PlainTextResponse(server.metrics.text(), media_type="text/plain; version=0.0.4")


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, LensPluginsError)
    return _response(error)


async def _no_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    found = NotFound(f"There is no {request.method} {request.url.path[:200]} here; /openapi.json lists what there is.")
    response = _response(found)
    response.status_code = status
    return response


async def _failed(request: Request, error: Exception) -> Response:
    return _response(failed(request))


def _response(error: LensPluginsError) -> Response:
    status, body, headers = error_body(error)
    return Response(body, status, headers={name.decode(): value.decode() for name, value in headers})
