"""The one sentence for an absent dependency."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from .errors import MissingDependency

__all__ = ["require"]


def require(module: str, *, extra: str, purpose: str | None = None) -> ModuleType:
    """Import an optional module by its dotted name.

    Raises:
        MissingDependency: it is absent, or present and broken (a torchvision built for another torch); the message
            names the extra that brings it.
    """
    try:
        return import_module(module)
    except Exception as error:  # a mismatched torchvision raises RuntimeError, not ImportError
        need = f"{purpose} needs" if purpose else "This needs"
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == module.split(".")[0]
        why = "which is not installed" if absent else f"which is installed but cannot be imported ({error})"
        raise MissingDependency(
            f"{need} the package {module.split('.')[0]!r}, {why}. Install it with: pip install 'lens-plugins[{extra}]'"
        ) from error
