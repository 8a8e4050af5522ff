"""Arrays from memory, .npy, .npz and .pt: never unpickled, sizes read before data, every value finite."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .files import check_file, parsing

__all__ = ["ARRAY_SUFFIXES", "MAX_VALUES", "Array", "as_array", "load_array"]

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
    with parsing(str(path), f"{suffix} file of numbers"):
        return {".npy": _load_npy, ".npz": _load_npz, ".pt": _load_pt}[suffix](path, keys)


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
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise InputError(f"{name} is a sparse, quantised or meta tensor; give a dense one with values.")
    if tensor.numel() > MAX_VALUES:
        raise InputError(f"{name} has shape {tuple(tensor.shape)}, over {MAX_VALUES} values; give a smaller one.")
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy()


def _load_npy(path: Path, keys: Sequence[str]) -> np.ndarray:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise InputError(f"{path} is not a .npy file (numpy's signature is missing); save it with numpy.save.")
    return np.load(path, mmap_mode="r", allow_pickle=False)  # compares the declared size with the file's


def _load_npz(path: Path, keys: Sequence[str]) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        _check_sizes(archive, path)
        names = [info.filename.removesuffix(".npy") for info in archive.infolist() if info.filename.endswith(".npy")]
        member = _pick(path, names, keys) + ".npy"
        with archive.open(member) as file:
            _check_member(file, archive.getinfo(member).file_size, path, member)
        with archive.open(member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def _check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > _MAX_BYTES:
        raise InputError(f"{path} unpacks to {unpacked} bytes; at most {_MAX_BYTES} are read.")


def _check_member(file: zipfile.ZipExtFile, size: int, path: Path, member: str) -> None:
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise InputError(f"{member} in {path} has array format {version}; save it with plain numeric arrays.")
    shape, _, dtype = read_header[version](file)
    declared = int(np.prod([*map(float, shape), dtype.itemsize]))
    if declared > size:
        raise InputError(f"{member} in {path} declares {declared} bytes of data but has {size}; save it again.")


def _load_pt(path: Path, keys: Sequence[str]) -> Tensor:
    # the older format of torch.save allocates whatever its pickle declares; the zip format can be measured first
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not a tensor file (a pickle is not read); save the tensor with torch.save.")
    with zipfile.ZipFile(path) as archive:
        _check_sizes(archive, path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # its message advises to switch the protection off
        raise InputError(f"{path} is damaged or holds more than tensors; save one tensor in it.") from error
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
        listed = ", ".join(names) or "none"
        raise InputError(f"{path} holds the arrays {listed}; give one array, or name it one of {', '.join(keys)}.")
    return found
