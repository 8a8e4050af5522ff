"""Contract suites to inherit: every promise of a host, a lens or an input, as tests. Needs pytest; lazy."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hosts import EmbeddingHostContract as EmbeddingHostContract
    from .hosts import HostContract as HostContract
    from .inputs import InputContract as InputContract
    from .lens import LensContract as LensContract

_HOME = {
    "EmbeddingHostContract": ".hosts",
    "HostContract": ".hosts",
    "InputContract": ".inputs",
    "LensContract": ".lens",
}
__all__ = [*_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(_HOME[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
