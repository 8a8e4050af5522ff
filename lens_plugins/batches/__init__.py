"""Many files: one task, a table of answers, resumable."""

from typing import TYPE_CHECKING

from .._lazy import lazy_names as _lazy_names

if TYPE_CHECKING:
    from .local import Done as Done
    from .local import batch as batch
    from .local import run_local as run_local
    from .plan import Plan as Plan
    from .rows import Inputs as Inputs
    from .worker import Worker as Worker

_HOME = {
    "Done": ".local",
    "Inputs": ".rows",
    "Plan": ".plan",
    "Worker": ".worker",
    "batch": ".local",
    "run_local": ".local",
}
__all__ = [*_HOME]

__getattr__, __dir__ = _lazy_names(__name__, _HOME)
