"""Pickles of numpy arrays (.dat, .npy of objects), followed without running anything.

Data sets come as `pickle.dump` of arrays and as `numpy.save` of dictionaries. `read_numpy_pickle` follows the opcodes
with the machine of `pickles`, whose tables get three more rows: how numpy rebuilds an array.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputError, LensPluginsError
from . import pickles
from .opening import brief, open_regular
from .pickles import Foreign, Limited, Machine, Name, NotPlain, NumpyType

__all__ = ["read_numpy_pickle"]

MAX_BYTES = 4 * 2**30  # ModelNet40 with colours has 0.6 GB
_SIGNATURE = b"\x93NUMPY"
_MAX_AXES = 16
_OBJECT = "O8"


def read_numpy_pickle(path: str | os.PathLike[str], *, error: type[LensPluginsError] = InputError) -> Any:
    """The value of a pickle file, or of a .npy file of Python objects: arrays, dictionaries, lists, texts, numbers.

    An array of objects comes as its one value (no axes) or as a list (one axis). Arrays are read-only.

    Raises:
        error: no regular file, damaged, over `MAX_BYTES`, or with anything else in it than arrays and plain values.
    """
    name = brief(path)
    with open_regular(Path(path), MAX_BYTES, error=error) as file:
        try:
            return _value(file)
        except Foreign as problem:
            raise error(
                f"{name} holds more than arrays and plain values ({str(problem)[:80]}) and is not opened, since "
                "unpickling Python objects can run code. Save its arrays with numpy.savez."
            ) from problem
        except Exception as problem:  # whatever pickletools, numpy and our own steps raise on damaged bytes
            reason = (str(problem).split("\n")[0].rstrip(".") or type(problem).__name__)[:200]
            raise error(f"{name} cannot be read: it is damaged or no pickle of arrays ({reason}).") from problem


def _value(file: BinaryIO) -> Any:
    signature = file.read(len(_SIGNATURE))
    file.seek(0)
    if signature == _SIGNATURE:
        version = np.lib.format.read_magic(file)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in header:
            raise NotPlain(f"array format {version}")
        _, _, dtype = header[version](file)
        if dtype.kind != "O":  # plain numbers, as numpy itself reads them without pickle
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    try:
        return _built(_ArrayMachine(Limited(file, MAX_BYTES)).run())
    except NotPlain:
        raise
    except Exception as problem:
        raise NotPlain(f"not a whole pickle ({type(problem).__name__})") from problem


class _Array:
    """An array that the pickle is still describing; the memo may hold it before its values come.

    Attributes:
        value: numbers, or for an array of objects its one value or list, which may hold descriptions.
        ready: whether descriptions in `value` have been replaced.
    """

    value: Any = None
    ready = False


class _ArrayMachine(Machine):
    def _build(self, _: Any) -> None:
        """(version, shape, dtype, column-major, bytes or objects) of the array on top of the stack."""
        made = self._stack[-2]
        if not isinstance(made, _Array):
            return super()._build(_)
        _, shape, kind, column_major, data = self._pop()
        made.value = _array(data, kind, shape, "F" if column_major else "C")


def _array(data: Any, kind: Any, shape: Any, order: str) -> Any:
    if not isinstance(kind, NumpyType) or not isinstance(shape, tuple) or len(shape) > _MAX_AXES:
        raise NotPlain("an array without a type or a shape")
    lengths = tuple(map(pickles.length, shape))
    if kind.code == _OBJECT:
        if type(data) is not list or len(data) != math.prod(lengths) or len(lengths) > 1:
            raise NotPlain(f"an array of objects of shape {lengths}")
        return data if lengths else data[0]
    if isinstance(data, str):  # Python 2 wrote bytes as texts
        data = data.encode("latin1")
    dtype = np.dtype((kind.order if kind.order in "<>" else "<") + kind.code)
    if not isinstance(data, (bytes, bytearray)) or len(data) != math.prod(lengths) * dtype.itemsize:
        raise NotPlain(f"an array of shape {lengths} with other bytes than that needs")
    array = np.frombuffer(data, dtype).reshape(lengths, order="F" if order == "F" else "C")
    array.flags.writeable = False
    return array


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any, *_: Any) -> _Array:
    made = _Array()
    made.value = _array(data, kind, shape, order)
    return made


def _empty_array(made: Any, *_: Any) -> _Array:
    if not isinstance(made, Name) or made.name != "numpy.ndarray":
        raise NotPlain("an array of another class")
    return _Array()


def _object_or_number(code: Any, *rest: Any) -> NumpyType:
    return NumpyType(_OBJECT, "|") if code in ("O8", "O") else pickles.numpy_type(code, *rest)


def _built(value: Any, inside: bool = False) -> Any:
    """The value with arrays in place of their descriptions; `inside` an array of objects there is no other."""
    if isinstance(value, _Array):
        if not value.ready and not isinstance(value.value, np.ndarray):
            if inside:
                raise NotPlain("arrays of objects inside each other")
            value.value = _built(value.value, True)
        value.ready = True  # built once, however often the pickle names it
        return value.value
    if type(value) is dict:
        return {key: _built(part, inside) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_built(part, inside) for part in value)
    return value


_OWN: Mapping[str, Callable[..., Any]] = {
    "numpy.dtype": _object_or_number,
    **{f"numpy.{core}.multiarray._reconstruct": _empty_array for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
_ArrayMachine.calls = {**Machine.calls, **_OWN}
_ArrayMachine.names = frozenset(["numpy.ndarray"])
_ArrayMachine.literals = Machine.literals | {"BYTEARRAY8"}
