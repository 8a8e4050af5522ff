"""Arrays from memory, .npy, .npz and .pt: never unpickled, sizes read before data, every value finite."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..files.opening import check_file, open_regular, parsing
from ..files.tensors import read_pt_value
from ..files.zips import is_zip, open_zip

__all__ = ["ARRAY_SUFFIXES", "MAX_VALUES", "Array", "array_names", "as_array", "load_array"]

Array: TypeAlias = "np.ndarray | Tensor"

ARRAY_SUFFIXES = (".npy", ".npz", ".pt")
MAX_VALUES = 2**27  # 512 MiB as float32
_MAX_BYTES = 8 * MAX_VALUES


def load_array(path: Path, keys: Sequence[str] = ()) -> Array:
    """The one array of a .npy, .npz or .pt file, as it is stored.

    Args:
        path: a file with one of `ARRAY_SUFFIXES`.
        keys: names to look for where a file holds several arrays, best first.

    Raises:
        InputError: the file is not of its kind, holds Python objects, declares more than it has or than
            `MAX_VALUES`, or leaves open which array is meant.
    """
    check_file(path, _MAX_BYTES)
    suffix = path.suffix.lower()
    load: dict[str, Callable[[Path, Sequence[str]], Array]] = {".npy": _load_npy, ".npz": _load_npz, ".pt": _load_pt}
    with parsing(str(path), f"{suffix} file of numbers"):
        return load[suffix](path, keys)


def array_names(path: Path) -> list[str]:
    """The names of the arrays in an .npz file.

    Raises:
        InputError: not a regular file, or not a whole .npz file.
    """
    with (
        parsing(str(path), ".npz file of numbers"),
        open_regular(path, _MAX_BYTES) as outer,
        open_zip(outer, str(path), _MAX_BYTES) as archive,
    ):
        return _members(archive)


def as_array(data: Array, name: str) -> np.ndarray:
    """Finite numbers in memory: float64 stays, every other number type becomes float32 (integers by value).

    Raises:
        InputError: no numbers, none at all, more than `MAX_VALUES`, or some that are not finite.
    """
    array = _from_tensor(data, name) if isinstance(data, Tensor) else data
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"{name} holds {kind}; give an array or tensor of real numbers.")
    if not 0 < array.size <= MAX_VALUES:
        raise InputError(f"{name} has shape {array.shape}, {array.size} values; give between 1 and {MAX_VALUES}.")
    array = array.astype(np.float64 if array.dtype.itemsize >= 8 else np.float32)
    broken = array.size - int(np.isfinite(array).sum())
    if broken:
        raise InputError(f"{name} has {broken} of {array.size} values NaN or infinite; all must be finite.")
    return array


def _from_tensor(tensor: Tensor, name: str) -> np.ndarray:
    if tensor.is_nested or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise InputError(f"{name} is a nested, sparse, quantised or meta tensor; give a dense one with values.")
    if tensor.numel() > MAX_VALUES:
        raise InputError(f"{name} has shape {tuple(tensor.shape)}, over {MAX_VALUES} values; give a smaller one.")
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    exact = tensor.dtype in (torch.float32, torch.float64) or not tensor.is_floating_point()
    return (tensor if exact else tensor.float()).numpy()  # numpy knows neither bfloat16 nor float8


def _load_npy(path: Path, keys: Sequence[str]) -> np.ndarray:
    with open_regular(path, _MAX_BYTES) as file:
        if file.read(6) != b"\x93NUMPY":
            raise InputError(f"{path} is not a .npy file (numpy's signature is missing); save it with numpy.save.")
        file.seek(0)
        _check_header(file, os.fstat(file.fileno()).st_size, f"{path} is not a whole .npy file: it")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)  # read, not mapped: a file cut meanwhile is an error


def _load_npz(path: Path, keys: Sequence[str]) -> np.ndarray:
    with open_regular(path, _MAX_BYTES) as outer, open_zip(outer, str(path), _MAX_BYTES) as archive:
        member = _pick(path, _members(archive), keys) + ".npy"
        with archive.open(member) as file:
            _check_header(file, archive.getinfo(member).file_size, f"{member} in {path}")
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def _members(archive: zipfile.ZipFile) -> list[str]:
    return [info.filename.removesuffix(".npy") for info in archive.infolist() if info.filename.endswith(".npy")]


def _check_header(file: IO[bytes], size: int, name: str) -> None:
    """Refuse an array that declares more bytes than the `size` bytes of its file hold."""
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise InputError(f"{name} has array format {version}; save it with plain numeric arrays.")
    shape, _, dtype = read_header[version](file)
    declared = math.prod(shape) * dtype.itemsize
    if declared > size or min(shape, default=0) < 0:
        raise InputError(f"{name} declares {declared} bytes of data but has {size}; save it again.")


def _load_pt(path: Path, keys: Sequence[str]) -> Tensor:
    with open_regular(path, _MAX_BYTES) as file:
        if not is_zip(file):
            raise InputError(f"{path} is not a tensor file (a pickle is not read); save the tensor with torch.save.")
    content = read_pt_value(path, _MAX_BYTES, error=InputError, mapped=False)
    if isinstance(content, dict):
        content = content[_pick(path, [str(key) for key, value in content.items() if isinstance(value, Tensor)], keys)]
    if not isinstance(content, Tensor):
        raise InputError(f"{path} holds a {type(content).__name__}; save one tensor in it.")
    return content


def _pick(path: Path, names: Sequence[str], keys: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    found = next((key for key in keys if key in names), None)
    if found is None:
        listed = ", ".join(name[:40] for name in names[:8]) or "none"
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        raise InputError(
            f"{path} holds the arrays {listed}{more}; give one array, or name it one of {', '.join(keys)}."
        )
    return found
