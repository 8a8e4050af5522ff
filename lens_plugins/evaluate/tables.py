"""Tables of data sets: columns by name, every line whole, UTF-8 with or without a byte-order mark."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..files.opening import read_bytes

__all__ = ["read_table", "read_utf8"]


def read_utf8(file: Path) -> str:
    """The text of a file.

    Raises:
        InputError: no such file, or it is not UTF-8; names the line.
    """
    data = read_bytes(file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}, line {line}: it is not UTF-8 ({error.reason}); save it as UTF-8.") from error


def read_table(
    file: Path, columns: Sequence[str], *, delimiter: str = ",", quoted: bool = True
) -> list[tuple[int, dict[str, str]]]:
    """Rows with the numbers of their lines; each has all the columns asked for, none of them empty.

    Raises:
        InputError: no such file, not UTF-8, a column that is absent, or a row without a value of one.
    """
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    lines = csv.DictReader(io.StringIO(read_utf8(file), newline=""), delimiter=delimiter, quoting=quoting)
    found: list[tuple[int, dict[str, str]]] = []
    try:
        absent = [name for name in columns if name not in (lines.fieldnames or ())]
        if absent:
            raise InputError(f"{file}, line 1: no column {absent[0]}; it must have {', '.join(columns)}.")
        for row in lines:
            empty = [name for name in columns if not (row[name] or "").strip()]
            if empty:
                raise InputError(f"{file}, line {lines.line_num}: no {' and no '.join(empty)}.")
            found.append((lines.line_num, row))
    except csv.Error as error:
        raise InputError(f"{file}, line {lines.line_num}: no line of a table ({error}).") from error
    return found
