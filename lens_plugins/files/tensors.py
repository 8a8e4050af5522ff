"""Weights: safetensors, PyTorch's own files, and the words for their number types."""

from __future__ import annotations

import math
import mmap
import os
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError, ConfigError, LensPluginsError
from . import pickles
from .opening import brief, open_regular
from .pickles import DType, Foreign, NotPlain, StorageRef, TensorRef, UnreadKind
from .writing import replacing
from .zips import data_offset, is_zip, open_zip

__all__ = [
    "FLOATS",
    "HALVES_AND_FLOAT32",
    "check_finite",
    "dtype_of",
    "flat_state",
    "read_pt",
    "read_pt_value",
    "read_safetensors",
    "read_state",
    "save_tensors",
    "write_pt",
    "write_safetensors",
]

HALVES_AND_FLOAT32 = ("float32", "float16", "bfloat16")
FLOATS = (*HALVES_AND_FLOAT32, "float64")
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of files before torch 1.6
_SPARE_BYTES = 16 * 2**20
_MOST_REPEATED = 8  # a tensor may repeat its storage (expanded, tied), all tensors together so often
_READ = {str(kind).removeprefix("torch."): kind for kind in (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool,
)}  # fmt: skip


def dtype_of(word: str | torch.dtype | None, *, allowed: Sequence[str] = HALVES_AND_FLOAT32) -> torch.dtype:
    """The dtype that a word means ("bfloat16", "torch.bfloat16" or the dtype itself); None is float32.

    Raises:
        ConfigError: none of those allowed.
    """
    if word is None:
        return torch.float32
    name = str(word).removeprefix("torch.")
    if name not in allowed:
        raise ConfigError(f"dtype must be a floating-point type, one of {', '.join(allowed)}; it is {name[:80]!r}.")
    made: torch.dtype = getattr(torch, name)
    return made


def read_safetensors(
    path: str | os.PathLike[str], *, error: type[LensPluginsError] = CheckpointError, finite: bool = True
) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, mapped: read from the disk as they are used.

    Args:
        path: the file.
        error: the class of what is raised.
        finite: refuse weights that are NaN or infinite; False where that is checked later.

    Raises:
        error: absent, no regular file, damaged, or not finite.
    """
    with open_regular(path, None, error=error):
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError, ValueError, LookupError, TypeError) as problem:
            raise error(f"{brief(path)} is damaged or not a safetensors file: {problem}.") from problem
    if finite:
        check_finite(tensors, brief(path), error=error)
    return tensors


def write_safetensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    error: type[LensPluginsError] = CheckpointError,
) -> None:
    """Write tensors (detached, on the CPU, contiguous); the file is whole before it takes its name.

    Raises:
        error: the file cannot be written.
    """
    with replacing(path, error=error) as temporary:
        save_tensors(temporary, tensors, metadata)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """`write_safetensors` into a file that somebody else gives its name.

    Raises:
        OSError: the disk is full, or refuses.
    """
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(ready, path, metadata=dict(metadata or {"format": "pt"}))
    except SafetensorError as problem:  # how it tells a full disk
        raise OSError(str(problem)) from problem


def write_pt(path: str | os.PathLike[str], value: Any, *, error: type[LensPluginsError] = CheckpointError) -> None:
    """Write a value as torch does; the file is whole before it takes its name.

    Raises:
        error: the file cannot be written.
    """
    with replacing(path, error=error) as temporary:
        try:
            torch.save(value, temporary)
        except RuntimeError as problem:  # a full disk is told so
            raise OSError(str(problem).split("\n")[0]) from problem


def check_finite(
    tensors: Mapping[str, Tensor], source: str, *, error: type[LensPluginsError] = CheckpointError
) -> None:
    """Refuse weights that are NaN or infinite, by the first tensor's name.

    Raises:
        error: says how many values of how many.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.numel() == 0 or tensor.is_meta:
            continue
        low, high = torch.aminmax(tensor.detach())  # keeps NaN; no copy, as isfinite makes
        if not (low.isfinite() and high.isfinite()):
            bad = tensor.numel() - int(tensor.isfinite().sum())
            raise error(
                f"{source} is damaged: {bad} of the {tensor.numel()} values of {name} are NaN or infinite. "
                "Weights must be finite; fetch or save it again."
            )


def read_state(
    path: str | os.PathLike[str],
    *,
    error: type[LensPluginsError] = CheckpointError,
    finite: bool = True,
) -> dict[str, Tensor]:
    """The named tensors of a weight file, without their wrappers (see `flat_state`).

    Args:
        path: safetensors by that suffix, else PyTorch's own format.
        error: the class of what is raised.
        finite: refuse weights that are NaN or infinite; False where that is checked later.

    Raises:
        error: as `read_safetensors` or `read_pt`; or it holds no tensors by name.
    """
    if os.fspath(path).endswith(".safetensors"):
        return read_safetensors(path, error=error, finite=finite)
    state = flat_state(read_pt(path, error=error))
    if not state:
        raise error(f"{brief(path)} does not hold named tensors.")
    if finite:
        check_finite(state, brief(path), error=error)
    return state


_WRAPPERS = ("state_dict", "model", "module")


def flat_state(content: Mapping[str, Any], *, data_parallel: bool = True) -> dict[str, Tensor]:
    """The tensors by name of a checkpoint's content; {} where there are none.

    The one place that knows the wrappers people save: ``state_dict`` (Lightning, open_clip), ``model`` (LAVIS, timm)
    and ``module`` (DeepSpeed) around the tensors, one inside another too; ``_orig_mod.`` (torch.compile) anywhere in
    a name; ``module.`` (DataParallel) before every name. What is no tensor (epochs, optimizers) is left out.

    Args:
        content: of the file.
        data_parallel: take ``module.`` off; False for layouts whose tables know it: their errors name the file's keys.
    """
    for _ in range(len(_WRAPPERS)):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    tensors = _renamed(tensors, lambda name: name.replace("_orig_mod.", ""))
    if data_parallel and all(name.startswith("module.") for name in tensors):
        tensors = _renamed(tensors, lambda name: name.removeprefix("module."))
    return tensors


def _renamed(tensors: dict[str, Tensor], rename: Callable[[str], str]) -> dict[str, Tensor]:
    """Renamed, unless two tensors would get one name."""
    made = {rename(name): value for name, value in tensors.items()}
    return made if len(made) == len(tensors) else tensors


def read_pt(path: str | os.PathLike[str], *, error: type[LensPluginsError] = CheckpointError) -> Mapping[str, Any]:
    """The named values of a .pt, .pth or .bin file: tensors and plain values, never code.

    Raises:
        error: as `read_pt_value`; or it holds one tensor or a list.
    """
    content = read_pt_value(path, error=error)
    if not isinstance(content, Mapping):
        raise error(f"{brief(path)} does not hold named tensors: it holds a {type(content).__name__}.")
    return content


def read_pt_value(
    path: str | os.PathLike[str],
    max_bytes: int | None = None,
    *,
    error: type[LensPluginsError] = CheckpointError,
    mapped: bool = True,
    verify: bool = False,
) -> Any:
    """Whatever a file of `torch.save` holds, as long as it is tensors and plain values; the house's one reader.

    Nothing is unpickled: `pickles.unpickle` follows the opcodes, tensors are views of the mapped file. Ordered
    dictionaries come as dict, numpy scalars as numbers.

    Args:
        path: the file.
        max_bytes: the largest file that is read; None: any.
        error: the class of what is raised.
        mapped: tensors are read from the disk as they are used; False: read now, and independent of the file.
        verify: compare every byte with the checksums in the file; the format before torch 1.6 has none.

    Raises:
        error: absent, no regular file, damaged, never ending, with code or objects in it, with tensors that need more
            bytes than the file holds or of a number type that no weights have.
    """
    name = brief(path)
    with open_regular(path, max_bytes, error=error, empty=True) as file:
        try:
            if is_zip(file):
                with open_zip(file, name, max_bytes, error=error) as archive:
                    if verify and (wrong := archive.testzip()) is not None:
                        raise NotPlain(f"{wrong[:40]} is not what its checksum says")
                    return _from_zip(file, archive, mapped)
            return _from_legacy(file, mapped)
        except LensPluginsError:
            raise
        except Foreign as problem:
            raise error(_objects(name, str(problem))) from problem
        except UnreadKind as problem:
            raise error(f"{name} holds {problem}, which is not read; save plain dense tensors.") from problem
        except Exception as problem:  # zipfile and struct raise all sorts of things on damaged bytes
            reason = (str(problem).split("\n")[0].rstrip(".") or type(problem).__name__)[:200]
            damage = f"{name} cannot be read: it is damaged, cut short or no PyTorch file ({reason})."
            raise error(damage) from problem


def _objects(name: str, dotted: str) -> str:
    if dotted.startswith("torch.") and "_rebuild_" in dotted:
        kind = dotted.rpartition("_rebuild_")[2].replace("_", " ")
        return f"{name} holds a tensor of a kind that is not read ({kind[:40]}); save plain dense tensors."
    return (
        f"{name} holds more than tensors ({dotted[:80]}) and is not opened, since unpickling Python objects can run "
        "code. Ask its author for a file of tensors alone, or for safetensors."
    )


def _from_zip(file: BinaryIO, archive: zipfile.ZipFile, mapped: bool) -> Any:
    members = {member.filename: member for member in archive.infolist()}
    name = next((name for name in members if name == "data.pkl" or name.endswith("/data.pkl")), None)
    if name is None:
        raise NotPlain("it has no data.pkl")
    root = name.removesuffix("data.pkl")
    order = members.get(f"{root}byteorder")
    if order is not None and archive.read(order) != b"little":
        raise UnreadKind("big-endian numbers")
    file.seek(data_offset(file, members[name]))
    content = pickles.unpickle(file)

    def place(storage: StorageRef) -> tuple[int, int]:
        member = members.get(f"{root}data/{storage.key}")
        if member is None:
            raise NotPlain(f"the storage {storage.key[:40]} is absent")
        return data_offset(file, member), member.file_size

    return _Tensors(file, place, mapped).build(content)


def _from_legacy(file: BinaryIO, mapped: bool) -> Any:
    """Four pickles (magic number, protocol, machine, content), the storages' keys, then each one's count and bytes."""
    file.seek(0)
    if (pickles.unpickle(file), pickles.unpickle(file)) != (_MAGIC, _PROTOCOL):
        raise NotPlain("no PyTorch file")
    if not pickles.unpickle(file).get("little_endian"):
        raise UnreadKind("big-endian numbers")
    content = pickles.unpickle(file)
    keys = pickles.unpickle(file)
    sizes = {storage.key: storage for storage in _storages(content)}
    size, at, places = os.fstat(file.fileno()).st_size, file.tell(), {}
    for key in map(str, keys):
        if key not in sizes or key in places:
            raise NotPlain(f"the storage {key[:40]} has no tensor or comes twice")
        file.seek(at)
        (count,) = struct.unpack("<q", file.read(8))
        held = count * _width(sizes[key].word)
        if not 0 <= held <= size - at - 8:
            raise NotPlain(f"a storage of {held} bytes, where {max(0, size - at - 8)} are left")
        places[key] = (at + 8, held)
        at += 8 + held
    return _Tensors(file, lambda storage: places[storage.key], mapped).build(content)


def _storages(content: Any) -> list[StorageRef]:
    found: list[StorageRef] = []
    waiting = [content]
    while waiting:
        one = waiting.pop()
        if isinstance(one, TensorRef):
            found.append(one.storage)
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, (list, tuple)):
            waiting += one
    return found


def _width(word: str) -> int:
    if word == "untyped":
        return 1
    if word not in _READ:
        raise UnreadKind(f"numbers of the type {word}")
    return _READ[word].itemsize


class _Tensors:
    """Tensors over the bytes of a file; those that share a storage there share it here.

    Args:
        file: open for reading.
        place: where a storage's bytes begin, and how many there are.
        mapped: whether the bytes stay on the disk until they are used.
    """

    def __init__(self, file: BinaryIO, place: Callable[[StorageRef], tuple[int, int]], mapped: bool) -> None:
        self._file, self._place = file, place
        self._size = os.fstat(file.fileno()).st_size
        # ACCESS_COPY: a write to a tensor stays in memory
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) if mapped else None
        self._storages: dict[str, Tensor] = {}
        self._bytes = 0

    def build(self, value: Any) -> Any:
        """The value with tensors and dtypes in place of their descriptions."""
        if isinstance(value, TensorRef):
            return self._tensor(value)
        if isinstance(value, DType):
            return getattr(torch, value.word)
        if isinstance(value, dict):
            return {key: self.build(part) for key, part in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.build(part) for part in value)
        return value

    def _tensor(self, ref: TensorRef) -> Tensor:
        width = _width(ref.word)
        whole = self._storage(ref.storage, width)
        count = math.prod(ref.shape)
        last = ref.offset + sum((n - 1) * step for n, step in zip(ref.shape, ref.strides)) if count else ref.offset - 1
        if (last + 1) * width > whole.numel():
            raise NotPlain(f"a tensor that needs {(last + 1) * width} bytes of a storage of {whole.numel()}")
        self._bytes += count * width
        if self._bytes > _MOST_REPEATED * self._size + _SPARE_BYTES:
            raise NotPlain(f"tensors of {self._bytes} bytes in a file of {self._size}")
        if not count:
            return torch.empty(ref.shape, dtype=_READ[ref.word])
        return whole.view(_READ[ref.word]).as_strided(ref.shape, ref.strides, ref.offset)

    def _storage(self, storage: StorageRef, width: int) -> Tensor:
        """All bytes of a storage, uint8; a whole number of elements of `width` bytes."""
        if storage.key not in self._storages:
            start, held = self._place(storage)
            if storage.count * _width(storage.word) > held:
                raise NotPlain(f"a storage of {storage.count} numbers in {held} bytes")
            self._storages[storage.key] = self._bytes_at(start, held)
        whole = self._storages[storage.key]
        return whole[: whole.numel() // width * width]

    def _bytes_at(self, start: int, count: int) -> Tensor:
        if not count:
            return torch.empty(0, dtype=torch.uint8)
        if self._map is not None and start % 16 == 0:  # numbers must lie at multiples of their width
            return torch.frombuffer(self._map, dtype=torch.uint8, offset=start, count=count)
        self._file.seek(start)
        return torch.frombuffer(bytearray(self._file.read(count)), dtype=torch.uint8, count=count)
