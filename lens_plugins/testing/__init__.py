"""Contract suites to inherit: every promise of a host, a lens or an input, as tests. Needs pytest; lazy."""

from typing import TYPE_CHECKING

from .._lazy import lazy_names as _lazy_names

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

__getattr__, __dir__ = _lazy_names(__name__, _HOME)
