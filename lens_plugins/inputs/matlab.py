"""MATLAB 5 files (.set) looked through before their reader is let in: no array may declare more than its bytes hold.

scipy's reader allocates what an array's dimensions say, and follows them beyond the end of what it has.
Format: "MAT-File Format", MathWorks, level 5.
"""

from __future__ import annotations

import struct
import zlib
from math import prod

from ..errors import InputError

__all__ = ["check_matlab"]

_HEADER = 128
_NUMBERS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}  # bytes by data type
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE = 1, 2, 3, 4, 5
_NUMERIC = range(6, 16)
_MAX_DEPTH, _MAX_AXES = 32, 32
_COMPLEX = 0x0800


def check_matlab(content: bytes, name: str, max_bytes: int) -> None:
    """Refuse a MATLAB 5 file with an array of more elements than bytes; other versions pass unseen.

    Args:
        content: of the file.
        name: stands in the error.
        max_bytes: that compressed elements may unpack to.

    Raises:
        InputError: says what the file declares and what it holds.
    """
    if b"MATLAB 7.3" in content[:_HEADER] or content[512:516] == b"\x89HDF":
        raise InputError(
            f"{name} is a MATLAB 7.3 file, which is not read; save it as version 7 (EEGLAB: Memory options)."
        )
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None or 0 in content[:4]:
        return
    elements = _Elements(memoryview(content)[_HEADER:], order, name)
    while elements.left >= 8:
        kind, data = elements.next(padded=False)
        if kind == _COMPRESSED:
            data = memoryview(_inflated(bytes(data), max_bytes, name))
            max_bytes -= len(data)
            kind, data = _Elements(data, order, name).next()
        if kind == _MATRIX:
            _check_matrix(data, order, name, 0)


def _inflated(packed: bytes, limit: int, name: str) -> bytes:
    inflate = zlib.decompressobj()
    data = inflate.decompress(packed, max(1, limit))
    if inflate.unconsumed_tail:
        raise InputError(f"{name} unpacks to more than {limit} bytes; give a shorter recording.")
    return data


class _Elements:
    """The elements of a stretch of bytes, one after the other."""

    def __init__(self, data: memoryview, order: str, name: str) -> None:
        self._data, self._order, self._name = data, order, name
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def next(self, padded: bool = True) -> tuple[int, memoryview]:
        """Data type and bytes of the next element."""
        if self.left < 8:
            raise self.damaged(8)
        first, count = struct.unpack_from(self._order + "II", self._data, self._at)
        if first >> 16:  # a small element: type, count and data in eight bytes
            kind, count, start, whole = first & 0xFFFF, first >> 16, self._at + 4, 8
            if count > 4:
                raise self.damaged(count)
        else:
            kind, start = first, self._at + 8
            whole = 8 + count + (-count % 8 if padded and kind != _COMPRESSED else 0)
        if start + count > len(self._data):
            raise self.damaged(count)
        self._at = min(self._at + whole, len(self._data))
        return kind, self._data[start : start + count]

    def damaged(self, count: int) -> InputError:
        return InputError(
            f"{self._name} is not a whole .set recording: an element of {count} bytes begins where {self.left} are "
            "left; save it again."
        )


def _check_matrix(data: memoryview, order: str, name: str, depth: int) -> None:
    if not len(data):  # an empty matrix may be left out altogether
        return
    if depth > _MAX_DEPTH:
        raise InputError(f"{name} holds structures nested deeper than {_MAX_DEPTH}; save it again.")
    elements = _Elements(data, order, name)
    _, flags = elements.next()
    word = struct.unpack_from(order + "I", flags)[0] if len(flags) >= 4 else 0
    kind = word & 0xFF
    if kind not in range(_CELL, _NUMERIC.stop):  # function handles and objects of today's MATLAB: other layouts
        return
    count = prod(_dimensions(elements.next(), order, name))
    elements.next()  # its name
    if kind in (_STRUCT, _OBJECT):
        count *= _fields(elements, kind, order, name, count)
    if kind in (_CELL, _STRUCT, _OBJECT):
        _check_count(count, elements.left // 8, name)  # every value has a tag
        for _ in range(count):
            inner, value = elements.next()
            if inner == _MATRIX:
                _check_matrix(value, order, name, depth + 1)
    elif count and kind != _SPARSE:
        for _ in range(2 if word & _COMPLEX else 1):
            type_, numbers = elements.next()
            if type_ not in _NUMBERS:
                raise InputError(f"{name} holds numbers of the unknown type {type_}; save it again.")
            _check_count(count, len(numbers) // _NUMBERS[type_] if kind != _CHAR else len(numbers), name)


def _dimensions(element: tuple[int, memoryview], order: str, name: str) -> tuple[int, ...]:
    kind, data = element
    if kind != 5 or not 8 <= len(data) <= 4 * _MAX_AXES or len(data) % 4:
        raise InputError(f"{name} holds an array with {len(data) // 4} dimensions; save it again.")
    lengths: tuple[int, ...] = struct.unpack(f"{order}{len(data) // 4}i", data)
    if min(lengths) < 0:
        raise InputError(f"{name} holds an array of the shape {lengths}; save it again.")
    return lengths


def _fields(elements: _Elements, kind: int, order: str, name: str, count: int) -> int:
    """How many fields each element of a structure has."""
    if kind == _OBJECT:
        elements.next()  # the class's name
    _, length = elements.next()
    _, names = elements.next()
    width = struct.unpack_from(order + "i", length)[0] if len(length) >= 4 else 0
    if width <= 0 and len(names):
        raise InputError(f"{name} holds a structure whose field names have {width} letters; save it again.")
    fields = len(names) // width if width > 0 else 0
    if not fields:
        _check_count(count, elements.left + 1, name)  # nothing follows; scipy allocates them all the same
    return fields


def _check_count(declared: int, held: int, name: str) -> None:
    if declared > held:
        raise InputError(
            f"{name} is not a whole .set recording: an array declares {declared} elements, its bytes hold {held}; "
            "save it again."
        )
