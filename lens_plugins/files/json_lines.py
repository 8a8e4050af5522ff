"""Lists with one JSON object a line: cut at line feeds alone, every line whole UTF-8, a byte-order mark allowed."""

from __future__ import annotations

import codecs
import json
import os
from typing import Any

from ..errors import InputError
from .opening import read_bytes

__all__ = ["cut_lines", "read_json_lines"]


def cut_lines(data: bytes) -> list[tuple[int, bytes]]:
    """The lines that are not empty, numbered from 1.

    Only a line feed ends a line: str.splitlines cuts at U+2028 too, which may stand inside a JSON text.
    """
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    return [(place, line) for place, line in enumerate(lines, start=1) if line.strip()]


def read_json_lines(file: str | os.PathLike[str]) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a file with their line numbers; empty lines are skipped.

    Raises:
        InputError: no such file, or a line that is not UTF-8 or no JSON object; names the line.
    """
    return [(place, _object(f"{file}, line {place}", line)) for place, line in cut_lines(read_bytes(file))]


def _object(where: str, line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: byte {error.start + 1} is not UTF-8 ({error.reason}); save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:  # RecursionError: brackets nested thousands deep
        raise InputError(f"{where}: no JSON object ({error}).") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: no JSON object, but a {type(value).__name__}.")
    return value
