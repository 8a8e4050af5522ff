"""Many files: one task, a table of answers, resumable. Names load on first use."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .local import Done as Done
    from .local import batch as batch
    from .local import run_local as run_local
    from .plan import Plan as Plan
    from .rows import Inputs as Inputs
    from .worker import Worker as Worker

_HOME = {
    "batch": ".local", "run_local": ".local", "Done": ".local", "Plan": ".plan", "Inputs": ".rows", "Worker": ".worker",
}  # fmt: skip
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_import_module(_HOME[name], __name__), name)
