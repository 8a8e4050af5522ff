"""Laws of key tables, each one assertion with a message that names the offenders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..keymap import KeyMap, Rename

__all__ = ["every_row_is_used", "no_two_rows_match_one_key", "there_and_back"]


def there_and_back(table: KeyMap, state: Mapping[str, Tensor]) -> None:
    """Converting a state and converting it back gives the keys and the bits that lead somewhere, and no others."""
    kept = {key: value for key, value in state.items() if not _leads_nowhere(table, key)}
    back = table.inverse().convert(table.convert(state))
    assert back.keys() == kept.keys(), f"lost or made: {sorted(back.keys() ^ kept.keys())}"
    moved = [key for key in kept if not torch.equal(back[key], kept[key])]
    assert not moved, f"changed on the way: {moved}"


def no_two_rows_match_one_key(table: KeyMap, keys: Iterable[str]) -> None:
    """Each key falls under one row at most, so the order of rows does not matter."""
    backwards = KeyMap(reversed(table.rows))
    torn = [key for key in keys if table.row_of(key) != backwards.row_of(key)]
    assert not torn, f"keys under two rows: {torn}"


def every_row_is_used(table: KeyMap, states: Iterable[Mapping[str, Tensor]]) -> None:
    """No row of a table is dead: each matches a key of one of the layouts it was written for."""
    used = {table.row_of(key) for state in states for key in state}
    dead = [row for row in table.rows if row not in used]
    assert not dead, f"rows that match nothing: {dead}"


def _leads_nowhere(table: KeyMap, key: str) -> bool:
    row = table.row_of(key)
    return isinstance(row, Rename) and row.target is None
