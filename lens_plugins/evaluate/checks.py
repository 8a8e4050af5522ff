"""What must hold before anything is embedded: templates, names of classes, and what is right for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from ..errors import ConfigError, InputError
from .benchmark import Row, Task
from .metrics import CaptionRecall, MeanAveragePrecision, TopK

__all__ = ["check_task", "check_templates", "whole"]

T = TypeVar("T")


def whole(value: T) -> T | int:
    """A whole number that a list has as 3, 3.0, "3" or an array of one; anything else as it is, for `check_task`."""
    try:
        number = int(value)  # type: ignore[call-overload]  # whatever has no number raises
        same = not isinstance(value, bool) and (isinstance(value, str) or bool(number == value))
    except (TypeError, ValueError, OverflowError):
        return value
    return number if same else value


def check_templates(templates: Sequence[str]) -> None:
    """Refuse templates that would give every class one vector.

    Raises:
        ConfigError: none, a text in place of a list, or one without ``{c}``.
    """
    if isinstance(templates, str) or not templates:
        raise ConfigError(f"templates is {templates!r}; give a list of sentences with {{c}}, where a class stands.")
    without = next((each for each in templates if not isinstance(each, str) or "{c}" not in each), None)
    if without is not None:
        raise ConfigError(f"The template {without!r} has no {{c}}, where a class stands.")


def check_task(task: Task, rows: Sequence[Row], data: str) -> None:
    """Refuse names without letters, and rows whose target is none of the classes or captions.

    Args:
        task: of a benchmark.
        rows: that it scores.
        data: what a message calls the data set.

    Raises:
        InputError: names the first row or class that is wrong.
        ConfigError: a template without ``{c}``.
    """
    check_templates(task.templates)
    classes = len(task.names)
    empty = next((n for n, name in enumerate(task.names) if not isinstance(name, str) or not name.strip()), None)
    if empty is not None:
        raise InputError(
            f"{data}: class or caption {empty} is {task.names[empty]!r}; a text that is not empty is needed."
        )
    merged = len(task.metric.merged) if isinstance(task.metric, TopK) else 0
    if merged not in (0, classes):
        raise InputError(f"{data}: {merged} classes are merged, {classes} are named; both must be as many.")
    owned = {n for owners in task.metric.owners for n in owners} if isinstance(task.metric, CaptionRecall) else set()
    seen: set[Any] = set()
    for row in rows:
        target = task.target(row.target)
        if target is None and row.target is not None:  # a row of other tasks
            continue
        if isinstance(task.metric, CaptionRecall):
            if target not in owned or target in seen:
                told = "has no caption" if target not in owned else "has the number of another row"
                raise InputError(f"{data}: {row.name} {told} (its number is {target!r}).")
            seen.add(target)
            continue
        several = isinstance(task.metric, MeanAveragePrecision)
        if isinstance(task.metric, TopK) or several:
            _check_classes(row.name, target, several, classes, data)


def _check_classes(name: str, target: Any, several: bool, classes: int, data: str) -> None:
    numbers = target if several and isinstance(target, (tuple, list, set, frozenset)) else [target]
    # A negative number would count from the end, True would be class 1.
    if not numbers or not all(type(number) is int and 0 <= number < classes for number in numbers):
        raise InputError(
            f"{data}: the class of {name} is {target!r}; classes are the whole numbers 0 to {classes - 1}."
        )
