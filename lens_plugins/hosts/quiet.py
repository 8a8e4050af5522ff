"""What other libraries say while we load through them, kept from the screen for the time of a block, in its thread."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock, local
from typing import Any

__all__ = ["quiet"]

_LIBRARIES = ("transformers", "diffusers", "huggingface_hub", "kernels")
_here = local()  # depth: how many blocks this thread is in
_lock = Lock()
_open: list[Callable[[], None]] = []  # what brings everything back when the last block of all threads ends
_blocks = 0


@contextmanager
def quiet() -> Iterator[None]:
    """Keep bars and warnings of transformers and diffusers from the screen while this thread is in the block.

    Errors are shown, and what other threads do is shown as before. A library whose level a user has lowered keeps
    talking, and with ``LENS_PLUGINS_DEBUG`` all of them do. Downloads keep their bars.
    """
    if os.environ.get("LENS_PLUGINS_DEBUG", "") not in ("", "0"):
        yield
        return
    # a number, not a flag: a block may be inside another one
    _here.depth = getattr(_here, "depth", 0) + 1
    _enter()
    try:
        yield
    finally:
        _here.depth -= 1
        _leave()


def _enter() -> None:
    global _blocks
    from transformers.utils import logging as transformers  # whose handler is there from its import on

    with _lock:
        _blocks += 1
        # each time: a library may have been imported since the first block began
        _open.extend(_filter_handlers())
        if _blocks == 1:
            _open.append(_hide_bars(transformers))
        _open.extend(_hide_common_bars())


def _leave() -> None:
    global _blocks
    with _lock:
        _blocks -= 1
        if _blocks == 0:
            while _open:
                _open.pop()()


def _says_something(record: logging.LogRecord) -> bool:
    # a handler may be of several loggers, ours among them
    another = record.name.partition(".")[0] not in _LIBRARIES
    return another or record.levelno >= logging.ERROR or not getattr(_here, "depth", 0)


def _filter_handlers() -> Iterator[Callable[[], None]]:
    """Filters on the libraries' own handlers; yields what takes each off."""
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        if library.level and library.level < logging.WARNING:
            continue
        for handler in library.handlers:
            if _says_something not in handler.filters:
                handler.addFilter(_says_something)
                yield partial(handler.removeFilter, _says_something)


def _hide_bars(transformers: Any) -> Callable[[], None]:
    """Hide transformers' bars of threads that are in a block; returns what brings them back."""

    def hook(factory: Any, given: Any, options: dict[str, Any]) -> Any:
        if getattr(_here, "depth", 0):
            options = {**options, "disable": True}
        return factory(*given, **options) if before is None else before(factory, given, options)

    before = transformers.set_tqdm_hook(hook)
    return partial(transformers.set_tqdm_hook, before)


def _hide_common_bars() -> Iterator[Callable[[], None]]:
    """Hide diffusers' bars, which have one switch for all threads; yields what brings them back."""
    diffusers = sys.modules.get("diffusers.utils.logging")
    if diffusers is not None and diffusers.is_progress_bar_enabled():
        diffusers.disable_progress_bar()
        yield diffusers.enable_progress_bar
