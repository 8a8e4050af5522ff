"""SIGINT and SIGTERM during a run: the step is finished and its state is saved before the run ends."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

from typing_extensions import Self

from ..errors import Interrupted

__all__ = ["Interrupts", "ignore_interrupts"]

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Takes over both signals while the block runs; outside the main thread they are left as they are.

    The first signal between `begin_steps` and the end only sets `asked`, so that the run can save its state; a second
    one, or one before the steps, ends the block at once.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        self._steps = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def begin_steps(self) -> None:
        """From here on there is something to save."""
        self._steps = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if not self._steps:
            raise Interrupted(f"Stopped by {name} before the first step; there is no state to save.")
        if self.asked is not None:
            raise Interrupted(f"Stopped by a second {name}, without saving; the checkpoint is that of an earlier step.")
        self.asked = name
        log.warning("%s: the state is saved after this step; a second one ends the run at once.", name)


def ignore_interrupts(worker: int) -> None:
    """For workers of a data loader, which get the signals of their group: only the training process decides."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
