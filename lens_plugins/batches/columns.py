"""Columns of a result: what kind their values are, and how each format writes them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..errors import InputError

__all__ = ["OURS", "Kind", "as_arrow", "as_json", "columns_of", "handed_name", "kind_of", "merged", "schema_of", "text_of"]

Kind: TypeAlias = Any
"""A word of `_WORDS`, "vector:768", or a type of pyarrow where a Parquet table says it."""
_WORDS = ("none", "bool", "int", "float", "str", "json", "strings", "ints", "floats")
OURS: Mapping[str, Mapping[str, Kind]] = {
    "caption": {"prompt": "str", "text": "str"},
    "ask": {"prompt": "str", "text": "str"},
    "embed": {"vector": "vector"},
    "classify": {"label": "str", "score": "float", "scores": "floats"},
    "imagine": {"prompt": "str", "text": "str", "picture": "str", "seed": "int", "codes": "ints"},
}
"""What each task writes of a row, between the columns handed through and the error."""
_FIRST = {"row": "int", "path": "str", "modality": "str"}


def columns_of(task: str, given: Mapping[str, Kind], *, several: bool, width: int | None = None) -> dict[str, Kind]:
    """All columns of a result in order; a column of the user's with a name of ours becomes ``input_NAME``.

    Args:
        task: which.
        given: the columns that are handed through.
        several: whether rows have several paths.
        width: of vectors; None: there are none.

    Raises:
        InputError: there is a column of that name, too.
    """
    own = {name: f"vector:{width}" if kind == "vector" else kind for name, kind in OURS[task].items()}
    renamed = {name: handed_name(task, name) for name in given}
    twice = next((name for name in renamed.values() if list(renamed.values()).count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"The columns {twice!r} and {twice.removeprefix('input_')!r} of the inputs are one in the result, which "
            "has a column of that name itself; rename one."
        )
    first = {**_FIRST, "path": "strings" if several else "str"}
    return {**first, **{renamed[name]: kind for name, kind in given.items()}, **own, "error": "str"}


def handed_name(task: str, name: str) -> str:
    """What a column that is handed through is called in the result."""
    return f"input_{name}" if name in (*_FIRST, *OURS[task], "error") else name


def kind_of(value: Any) -> Kind:
    """The kind of one plain value."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "json"
    if isinstance(value, float):
        return "float"
    return "str" if isinstance(value, str) else "json"


def merged(one: Kind | None, other: Kind) -> Kind:
    """The kind that holds values of both."""
    if one is None or one == other or _is(one, "none"):
        return other
    if _is(other, "none"):
        return one
    if isinstance(one, str) and isinstance(other, str) and {one, other} == {"int", "float"}:
        return "float"
    return "json"


def _is(kind: Kind, word: str) -> bool:
    return isinstance(kind, str) and kind == word


def as_json(value: Any) -> Any:
    """A value as JSON has it: arrays are lists, numbers that are not finite are null, bytes are base64."""
    if isinstance(value, np.ndarray):
        return as_json(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(name): as_json(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def text_of(value: Any) -> str:
    """A value as a cell of a CSV table: nothing for null, JSON for lists, objects and truth."""
    value = as_json(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def schema_of(columns: Mapping[str, Kind], pa: Any) -> Any:
    """The schema of a Parquet result."""
    return pa.schema([(name, _type(kind, pa)) for name, kind in columns.items()])


def _type(kind: Kind, pa: Any) -> Any:
    if not isinstance(kind, str):
        return kind
    if kind.startswith("vector:"):
        return pa.list_(pa.float32(), int(kind.partition(":")[2]))
    plain = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
    lists = {"strings": pa.list_(pa.string()), "ints": pa.list_(pa.int64()), "floats": pa.list_(pa.float32())}
    return {**plain, **lists}.get(kind, pa.string())


def as_arrow(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Kind], pa: Any) -> Any:
    """Rows as a table of pyarrow."""
    schema = schema_of(columns, pa)
    arrays = [
        pa.array([_value(row.get(name), kind) for row in rows], type=schema.field(number).type)
        for number, (name, kind) in enumerate(columns.items())
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _value(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if _is(kind, "json"):
        return value if isinstance(value, str) else json.dumps(as_json(value), ensure_ascii=False)
    if _is(kind, "float"):
        return float(value)
    if _is(kind, "strings") and isinstance(value, str):
        return [value]
    return list(value) if isinstance(value, tuple) else value
