"""Labels to choose from. Importing this needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError

__all__ = ["check_labels"]


def check_labels(labels: Sequence[str]) -> list[str]:
    """The labels, without the blanks around them.

    Raises:
        InputError: fewer than two, an empty one, or one given twice.
    """
    if isinstance(labels, str):
        raise InputError(f"labels is the text {labels!r}; give a list of texts.")
    names = [str(label).strip() for label in labels]
    empty = [number for number, name in enumerate(names, start=1) if not name]
    if len(names) == len(empty):
        raise InputError("There are 0 labels; at least 2 are needed.")
    if empty:
        raise InputError(f"Label {empty[0]} of {len(names)} is empty.")
    if len(names) == 1:
        raise InputError(f"There is 1 label, {names[0]!r}; at least 2 are needed to choose from.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"The label {twice!r} is given {names.count(twice)} times; give each once.")
    return names
