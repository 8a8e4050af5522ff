"""An OpenAI-compatible server in front of hosts: `Engine` answers, `build_app` speaks HTTP."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # lazy: fastapi and torch come with the first use
    from .app import ServeSettings as ServeSettings
    from .app import build_app as build_app
    from .engine import Engine as Engine
    from .engine import EngineSettings as EngineSettings
    from .engine import Ticket as Ticket
    from .uploads import Upload as Upload

_HOME = {
    "Engine": ".engine",
    "EngineSettings": ".engine",
    "ServeSettings": ".app",
    "Ticket": ".engine",
    "Upload": ".uploads",
    "build_app": ".app",
}

__all__ = ["Engine", "EngineSettings", "ServeSettings", "Ticket", "Upload", "build_app"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
