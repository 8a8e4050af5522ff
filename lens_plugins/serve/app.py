"""OpenAI's HTTP interface on an `Engine`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from .engine import Engine

__all__ = ["ServeSettings", "build_app"]


@dataclass(frozen=True)
class ServeSettings:
    """What clients may do.

    Args:
        api_key: that every request must bring; None: anyone may ask.
        admin_key: for plugging lenses; None: nobody may.
        allow_domains: from which URLs are fetched; none: data URIs only.
        lenses: sources of lenses that may be plugged, by the name that a request gives.
        max_body: bytes of one request.
        max_parts: content parts of one request.
    """

    api_key: str | None = field(default=None, repr=False)
    admin_key: str | None = field(default=None, repr=False)
    allow_domains: tuple[str, ...] = ()
    lenses: Mapping[str, str] = field(default_factory=dict)
    max_body: int = 64 * 2**20
    max_parts: int = 16


def build_app(engine: Engine, settings: ServeSettings | None = None) -> FastAPI:
    """The app: OpenAI's routes, health, metrics. `app.state.engine` and `app.state.settings` are what was given."""
    raise AssertionError("being written")
