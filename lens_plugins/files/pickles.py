"""Pickles of weights, followed without running anything: plain values and descriptions of tensors come out.

Python's unpickler makes objects of any class and torch's weights-only one still allocates what a file asks for.
Here a small machine of our own follows the opcodes: it knows no class, allocates nothing that the bytes do not hold,
and stops after a fixed number of steps.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

__all__ = [
    "DType",
    "Foreign",
    "Limited",
    "Machine",
    "Name",
    "NotPlain",
    "NumpyType",
    "StorageRef",
    "TensorRef",
    "UnreadKind",
    "length",
    "numpy_type",
    "unpickle",
]

MAX_STEPS = 2_000_000  # opcodes; the state of a model with 20,000 tensors has some 500,000
MAX_BYTES = 64 * 2**20  # of one pickle
MAX_REPEATED = 100_000  # values of containers that the pickle names a second time
MAX_NESTING = 48
MAX_AXES = 16
_MAX_INTEGER = 2**127


class NotPlain(ValueError):
    """The pickle is damaged, never ends, or holds what a file of weights has no need of."""


class Foreign(NotPlain):
    """The pickle asks for an object besides tensors and plain values; the message is its dotted name."""


class UnreadKind(NotPlain):
    """A tensor of a kind that weights do not have; the message names it."""


@dataclass(frozen=True)
class DType:
    """A torch dtype by its word."""

    word: str


@dataclass(frozen=True)
class StorageRef:
    """Bytes of the file that tensors are views of.

    Attributes:
        key: their name in the file.
        word: the dtype they were saved as; "untyped" counts in bytes.
        count: of elements.
    """

    key: str
    word: str
    count: int


@dataclass(frozen=True)
class TensorRef:
    """A tensor as the pickle describes it; lengths in elements."""

    storage: StorageRef
    word: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Name:
    """A global by its dotted name; never imported."""

    name: str


@dataclass
class NumpyType:
    """A numpy dtype by its code ("f8") and byte order."""

    code: str
    order: str = "<"


class _Mark:
    pass


def unpickle(stream: BinaryIO) -> Any:
    """The value of the pickle that starts at the stream's position; the stream stands behind it afterwards.

    Dictionaries (also ordered ones) become dict; tensors become `TensorRef`, dtypes `DType`, numpy scalars numbers.

    Raises:
        Foreign: an object besides tensors and plain values.
        NotPlain: damaged, too long, too deep, or with an opcode or a value that weights have no need of.
    """
    try:
        return Machine(Limited(stream)).run()
    except NotPlain:
        raise
    except Exception as error:  # whatever pickletools and our own steps raise on bytes that are no pickle
        raise NotPlain(f"not a whole pickle ({type(error).__name__})") from error


class Limited:
    """What pickletools reads from: at most `most` bytes, however long a text the pickle declares."""

    def __init__(self, stream: BinaryIO, most: int = MAX_BYTES) -> None:
        self._stream, self._most, self._left = stream, most, most

    def read(self, count: int) -> bytes:
        return self._spend(self._stream.read(max(0, min(count, self._left + 1))))

    def readline(self) -> bytes:
        return self._spend(self._stream.readline(self._left + 1))

    def _spend(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise NotPlain(f"a pickle of more than {self._most} bytes")
        return data


class Machine:
    """A stack and a memo, as the pickle format describes them; what may be called stands in tables."""

    calls: Mapping[str, Callable[..., Any]] = {}  # by dotted name; filled below, where the functions are
    names: frozenset[str] = frozenset()  # that are pushed and never called
    literals: frozenset[str] = frozenset()  # opcodes whose argument is the value

    def __init__(self, stream: Limited) -> None:
        self._stream = stream
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._steps = self._repeated = 0

    def run(self) -> Any:
        for opcode, argument, _ in pickletools.genops(self._stream):  # type: ignore[arg-type]  # read, readline suffice
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise NotPlain(f"more than {MAX_STEPS} steps")
            if opcode.name == "STOP":
                break
            if opcode.name in self.literals:
                self._stack.append(_literal(argument))
            else:
                _ACTIONS.get(opcode.name, _refused(opcode.name))(self, argument)
        value = self._pop()
        _check_nesting(value)
        return value

    def _pop(self) -> Any:
        value = self._stack.pop()
        if isinstance(value, _Mark):
            raise NotPlain("a mark where a value belongs")
        return value

    def _pop_to_mark(self) -> list[Any]:
        for start in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[start], _Mark):
                values = self._stack[start + 1 :]
                del self._stack[start:]
                return values
        raise NotPlain("no mark")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    # --- containers ---

    def _mark(self, _: Any) -> None:
        self._push(_Mark())

    def _tuple(self, _: Any) -> None:
        self._push(tuple(self._pop_to_mark()))

    def _tuple_of(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(values)))

    def _list(self, _: Any) -> None:
        self._push(self._pop_to_mark())

    def _dict(self, _: Any) -> None:
        self._push(_pairs(self._pop_to_mark()))

    def _append(self, _: Any) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _appends(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._top(list).extend(values)

    def _set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._top(dict).update(_pairs([key, value]))

    def _set_items(self, _: Any) -> None:
        values = self._pop_to_mark()
        self._top(dict).update(_pairs(values))

    def _top(self, kind: type) -> Any:
        value = self._stack[-1]
        if type(value) is not kind:
            raise NotPlain(f"a {type(value).__name__} where a {kind.__name__} belongs")
        return value

    # --- memo ---

    def _put(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._push(self._copied(self._memo[index]))

    def _copied(self, value: Any) -> Any:
        """A shared container is repeated, each repetition counted: otherwise thirty doublings hold 10^9 values."""
        if type(value) not in (dict, list, tuple):
            return value
        self._repeated += 1 + len(value)
        if self._repeated > MAX_REPEATED:
            raise NotPlain(f"containers that hold themselves or each other, over {MAX_REPEATED} values")
        if type(value) is tuple and not any(type(part) in (dict, list, tuple) for part in value):
            return value
        if type(value) is dict:
            return {key: self._copied(part) for key, part in value.items()}
        return type(value)(self._copied(part) for part in value)

    # --- what a state dict needs besides plain values ---

    def _global(self, argument: str) -> None:
        self._push(self._named(argument.replace(" ", ".", 1)))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise NotPlain("a global without a name")
        self._push(self._named(f"{module}.{name}"))

    def _named(self, name: str) -> Any:
        module, _, word = name.rpartition(".")
        if module == "torch" and word in _DTYPE_WORDS:
            return DType(word)
        if name not in self.calls and name not in self.names and name not in _STORAGES:
            raise Foreign(name)
        return Name(name)

    def _reduce(self, _: Any) -> None:
        arguments, made = self._pop(), self._pop()
        if not isinstance(made, Name) or type(arguments) is not tuple:
            raise NotPlain("a call of something that is no name")
        if made.name not in self.calls:
            raise Foreign(made.name)
        self._push(self.calls[made.name](*arguments))

    def _build(self, _: Any) -> None:
        state, made = self._pop(), self._stack[-1]
        if isinstance(made, NumpyType):
            made.order = state[1]
        elif type(made) is not dict:  # an ordered dictionary's attributes (`_metadata`) say nothing of its tensors
            raise NotPlain(f"attributes of a {type(made).__name__}")

    def _persistent(self, _: Any) -> None:
        kind, made, key, _, count, *view = self._pop()
        if kind != "storage" or not isinstance(made, Name) or (view and view[0] is not None):
            raise NotPlain("a reference that is no storage")
        if made.name not in _STORAGES:
            raise Foreign(made.name)
        self._push(StorageRef(str(key), _STORAGES[made.name], length(count)))


def _literal(value: Any) -> Any:
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise NotPlain("an integer of more than 127 bits")
    return value


def _refused(opcode: str) -> Callable[[Any, Any], None]:
    def refuse(machine: Machine, argument: Any) -> None:
        if opcode in ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"):
            raise Foreign(f"opcode {opcode}")
        raise NotPlain(f"opcode {opcode}")

    return refuse


_KEYS = (str, bytes, int, float, bool, type(None))


def _pairs(values: list[Any]) -> dict[Any, Any]:
    if len(values) % 2:
        raise NotPlain("a key without a value")
    made = {}
    for key, value in zip(values[::2], values[1::2]):
        parts = key if type(key) is tuple and len(key) <= MAX_AXES else (key,)
        if not all(type(part) in _KEYS for part in parts):  # hashing a nested tuple may never end
            raise NotPlain(f"a key that is a {type(key).__name__}")
        made[key] = value
    return made


def _check_nesting(value: Any) -> None:
    level, depth = [value], 0
    while level:
        parts: list[Any] = []
        for one in level:
            if type(one) is dict:
                parts += one.values()
            elif type(one) in (list, tuple):
                parts += one
            elif isinstance(one, (Name, NumpyType, StorageRef)):
                raise Foreign(getattr(one, "name", type(one).__name__))
        level, depth = [part for part in parts if type(part) not in _KEYS], depth + 1
        if depth > MAX_NESTING:
            raise NotPlain(f"nested deeper than {MAX_NESTING} levels")


def length(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise NotPlain("a length that is no number from 0 to 2^62")
    return value


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> TensorRef:
    """(storage, offset, shape, strides, requires_grad, hooks, metadata): the last says conjugated or negated."""
    if len(rest) > 2 and rest[2]:
        raise UnreadKind("a conjugated or negated tensor")
    return _view(storage, None, offset, shape, strides)


def _untyped_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any
) -> TensorRef:
    if not isinstance(dtype, DType) or any(rest):
        raise NotPlain("a tensor of no dtype")
    return _view(storage, dtype.word, offset, shape, strides)


def _view(storage: Any, word: str | None, offset: Any, shape: Any, strides: Any) -> TensorRef:
    if not isinstance(storage, StorageRef):
        raise NotPlain("a tensor without a storage")
    lengths = tuple(map(length, shape)), tuple(map(length, strides))
    if len(lengths[0]) != len(lengths[1]) or len(lengths[0]) > MAX_AXES:
        raise NotPlain(f"a tensor of {len(lengths[0])} axes and {len(lengths[1])} strides")
    return TensorRef(storage, word or storage.word, length(offset), *lengths)


def _parameter(data: Any, *_: Any) -> TensorRef:
    if not isinstance(data, TensorRef):
        raise NotPlain("a parameter without a tensor")
    return data


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    if type(pairs) is dict:
        return pairs
    return _pairs([part for pair in pairs for part in (pair[0], pair[1])])


def _encoded(text: Any, encoding: Any = "utf-8") -> bytes:
    if type(text) is not str or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise NotPlain("bytes in an unknown encoding")
    return text.encode(encoding)


def numpy_type(code: Any, *_: Any) -> NumpyType:
    if type(code) is not str or code not in _NUMPY_CODES:
        raise NotPlain("a numpy type that is no number")
    return NumpyType(code)


def _numpy_scalar(kind: Any, data: Any = None) -> Any:
    if not isinstance(kind, NumpyType) or type(data) is not bytes or kind.order not in ("<", ">", "|", "="):
        raise NotPlain("a numpy scalar that is no number")
    order = kind.order if kind.order in "<>" else "<"
    (value,) = struct.unpack(order + _NUMPY_CODES[kind.code], data)
    return value


_NUMPY_CODES = {
    "f8": "d", "f4": "f", "f2": "e", "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q",
    "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
}  # fmt: skip
_DTYPE_WORDS = frozenset([
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32",
    "uint64", "bool", "complex32", "complex64", "complex128", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu", "qint8", "quint8", "qint32",
])  # fmt: skip
_KINDS = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}  # fmt: skip
_STORAGES: Mapping[str, str] = {
    **{f"{module}.{kind}Storage": word for module in ("torch", "torch.cuda") for kind, word in _KINDS.items()},
    **{f"{module}.UntypedStorage": "untyped" for module in ("torch", "torch.storage", "torch.cuda")},
}
_CALLS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _untyped_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": lambda lengths: tuple(map(length, lengths)),
    "torch.device": lambda kind, index=None: kind if index is None else f"{kind}:{length(index)}",
    "collections.OrderedDict": _ordered,
    "collections.Counter": _ordered,
    "_codecs.encode": _encoded,
    "numpy.dtype": numpy_type,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}
_LITERALS = frozenset([
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8",
])  # fmt: skip
_ACTIONS: Mapping[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": lambda machine, _: machine._push(None),
    "NEWTRUE": lambda machine, _: machine._push(True),
    "NEWFALSE": lambda machine, _: machine._push(False),
    "EMPTY_LIST": lambda machine, _: machine._push([]),
    "EMPTY_DICT": lambda machine, _: machine._push({}),
    "EMPTY_TUPLE": lambda machine, _: machine._push(()),
    "POP": lambda machine, _: machine._stack.pop(),
    "MARK": Machine._mark,
    "TUPLE": Machine._tuple,
    "TUPLE1": lambda machine, _: machine._tuple_of(1),
    "TUPLE2": lambda machine, _: machine._tuple_of(2),
    "TUPLE3": lambda machine, _: machine._tuple_of(3),
    "LIST": Machine._list,
    "DICT": Machine._dict,
    "APPEND": Machine._append,
    "APPENDS": Machine._appends,
    "SETITEM": Machine._set_item,
    "SETITEMS": Machine._set_items,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine._get),
    "GLOBAL": Machine._global,
    "STACK_GLOBAL": Machine._stack_global,
    "REDUCE": Machine._reduce,
    "BUILD": lambda machine, state: machine._build(state),  # a subclass may have its own
    "BINPERSID": Machine._persistent,
}
Machine.calls, Machine.literals = _CALLS, _LITERALS
