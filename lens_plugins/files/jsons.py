"""JSON: size and depth bounded before it is decoded, every number finite."""

from __future__ import annotations

import json
import math
import os
import re
from array import array
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from ..errors import CheckpointError, LensPluginsError
from .opening import brief, read_bytes
from .writing import replacing

__all__ = ["MAX_JSON_BYTES", "MAX_JSON_DEPTH", "parse_json", "read_json", "read_json_object", "save_json", "write_json"]

MAX_JSON_BYTES = 16 * 2**20  # decoded, empty lists take thirty times their bytes
MAX_JSON_DEPTH = 64
# a text that is not closed ends with the file, so that no quote is looked at twice
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # one level down, one up, as signed bytes
_OTHER_THAN_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_json(
    path: str | os.PathLike[str],
    *,
    error: type[LensPluginsError] = CheckpointError,
    max_bytes: int = MAX_JSON_BYTES,
    max_depth: int = MAX_JSON_DEPTH,
) -> Any:
    """The value in a JSON file.

    Raises:
        error: no regular file, too big, nested too deep, not JSON, or with a number that is not finite.
    """
    return parse_json(read_bytes(path, max_bytes, error=error), brief(path), error=error, max_depth=max_depth)


def read_json_object(
    path: str | os.PathLike[str],
    *,
    error: type[LensPluginsError] = CheckpointError,
    max_bytes: int = MAX_JSON_BYTES,
    max_depth: int = MAX_JSON_DEPTH,
) -> dict[str, Any]:
    """The named values in a JSON file.

    Raises:
        error: as for `read_json`, or the value is a list, a text or a number.
    """
    value = read_json(path, error=error, max_bytes=max_bytes, max_depth=max_depth)
    if not isinstance(value, dict):
        raise error(f"{brief(path)} must hold named values, not a {type(value).__name__}.")
    return value


def parse_json(
    data: bytes, name: str, *, error: type[LensPluginsError] = CheckpointError, max_depth: int = MAX_JSON_DEPTH
) -> Any:
    """The value in JSON bytes (UTF-8, a byte-order mark allowed); `name` stands in the error.

    Raises:
        error: nested deeper than `max_depth`, not JSON, or with a number that is not finite.
    """
    if _deeper_than(data, max_depth):
        raise error(f"{name} is nested deeper than {max_depth} levels; such JSON is not read.")
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as problem:  # ValueError: also bad UTF-8, and integers of thousands of digits
        raise error(f"{name} cannot be read as JSON: {problem}.") from problem


def _deeper_than(data: bytes, levels: int) -> bool:
    steps = array("b", _TEXT.sub(b"", data).translate(_STEPS, _OTHER_THAN_BRACKETS))
    return max(accumulate(steps), default=0) > levels


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} stands for a number; every number must be finite")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is not finite")
    return value


def write_json(path: str | os.PathLike[str], value: Any, *, error: type[LensPluginsError] = LensPluginsError) -> None:
    """Write a value as indented JSON; the file is whole before it takes its name.

    Raises:
        error: the file cannot be written.
    """
    with replacing(path, error=error) as temporary:
        save_json(temporary, value)


def save_json(path: Path, value: Any) -> None:
    """`write_json` into a file that somebody else gives its name."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
