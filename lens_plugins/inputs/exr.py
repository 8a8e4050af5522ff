"""OpenEXR files: which of their channels is depth, and its values."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from .._optional import require
from ..errors import InputError
from ..files.opening import open_regular, parsing
from .arrays import MAX_VALUES

__all__ = ["depth_channel", "read_exr"]

_OTHER_LAYERS = ("normal", "position", "vector", "velocity", "motion", "mist", "uv")  # may have a Z too
_NO_DEPTH = 4
_DEEP = 0x08  # in the second byte of the version: a pixel has any number of samples
_PRINTED = re.compile(r"^Warning: Exception raised reading pixel data|\(EXR_ERR_")  # what the library says of them
_ONE_AT_A_TIME = Lock()  # a process has one standard output

Channel = tuple[int, str]  # the number of its part, its name


def read_exr(path: Path) -> np.ndarray:  # (H, W)
    """The depth channel of a file.

    Raises:
        InputError: no .exr file, damaged, deep, too large, or without a channel that is depth by its name.
        MissingDependency: the package OpenEXR is absent.
    """
    openexr = require("OpenEXR", extra="exr", purpose="Reading .exr files")
    with open_regular(path) as file:
        version = file.read(8)
    with parsing(str(path), ".exr file"), _own_output() as printed:
        headers = [part.header for part in openexr.File(str(path), header_only=True).parts]
        _check_headers(path, version, headers)
        parts = openexr.File(str(path), separate_channels=True).parts
        read = [len(part.channels) for part in parts]
        if printed() or read != [len(header["channels"]) for header in headers]:
            reason = printed().rpartition(" - ")[2] or f"{sum(read)} channels can be read"
            raise InputError(f"{path} is truncated or damaged ({reason}); save it again.")
    channels: dict[Channel, np.ndarray] = {
        (number, name): part.channels[name].pixels for number, part in enumerate(parts) for name in part.channels
    }
    names = [str(header.get("name", "")) for header in headers]
    found = depth_channel(names, list(channels)) or _grey(channels)
    if found is None:
        listed = [(f"{names[number]}/{name}" if names[number] else name)[:60] for number, name in channels]
        more = f" and {len(listed) - 16} more" if len(listed) > 16 else ""
        raise InputError(
            f"{path} has the channels {', '.join(listed[:16]) or 'none'}{more}; a depth channel is called Z or Depth, "
            "or is in a layer or part called depth."
        )
    return _framed(channels[found], headers[found[0]], path)


def _framed(pixels: np.ndarray, header: Mapping[str, Any], path: Path) -> np.ndarray:  # -> (H, W) of the whole frame
    """What was rendered, where it stands in its frame; 0, nothing measured, where a crop left it out."""
    (left, top), _ = np.asarray(header["dataWindow"], np.int64)
    (first, above), (last, below) = np.asarray(header.get("displayWindow", header["dataWindow"]), np.int64)
    height, width = below - above + 1, last - first + 1
    if (left, top, *pixels.shape) == (first, above, height, width):
        return pixels
    if min(height, width) < 1 or height * width > MAX_VALUES:
        raise InputError(f"{path} has a frame of {width} × {height} pixels; at most {MAX_VALUES} values are read.")
    frame = np.zeros((height, width), pixels.dtype)
    rows = slice(max(top - above, 0), max(top - above + pixels.shape[0], 0))
    columns = slice(max(left - first, 0), max(left - first + pixels.shape[1], 0))
    shown = pixels[max(above - top, 0) :, max(first - left, 0) :]
    room = frame[rows, columns]
    room[...] = shown[: room.shape[0], : room.shape[1]]
    return frame


def depth_channel(parts: Sequence[str], channels: Sequence[Channel]) -> Channel | None:
    """The channel that is depth by its name.

    Z or Depth of no layer comes first, then a layer or part called depth, then one with depth in its name (a denoising
    pass), then Z of another layer. A Z beside X and Y is the third coordinate of a normal or a position.

    Args:
        parts: their names, "" where a file has one part without a name.
        channels: as the file orders them, such as (0, "ViewLayer.Depth.V").
    """
    beside: dict[tuple[int, str], set[str]] = {}  # the channels of each layer, without its name
    for number, name in channels:
        layer, _, base = name.lower().rpartition(".")
        beside.setdefault((number, layer), set()).add(base)
    best: tuple[int, Channel | None] = (_NO_DEPTH, None)
    for number, name in channels:
        layer, _, base = name.lower().rpartition(".")
        rank = _rank(parts[number].lower(), layer, base, beside[number, layer])
        if rank < best[0]:
            best = rank, (number, name)
    return best[1]


def _rank(part: str, layer: str, base: str, beside: set[str]) -> int:
    """How well a channel's name says that it is depth, 0 best; `_NO_DEPTH` where it does not."""
    called = base == "z" or "depth" in base
    where = f"{part}.{layer}"
    if {"x", "y"} & (beside - {base}) or ("depth" not in where and any(word in where for word in _OTHER_LAYERS)):
        return _NO_DEPTH
    if called and not layer:
        return 0
    if "depth" in where and (called or base in ("v", "y") or len(beside) == 1):
        return 1 if "depth" in where.split(".") else 2
    return 3 if called else _NO_DEPTH


def _grey(channels: Mapping[Channel, np.ndarray]) -> Channel | None:
    """The one channel of a file without colours; alpha does not count, and R, G and B are one where they are equal.

    They may stand in a layer called depth, beside other layers.
    """
    colours = {channel: pixels for channel, pixels in channels.items() if channel[1].lower().split(".")[-1] != "a"}
    called = {channel: pixels for channel, pixels in colours.items() if "depth" in channel[1].lower().split(".")[:-1]}
    colours = called or colours
    first = next(iter(colours), None)
    layers = {(number, name.rpartition(".")[0]) for number, name in colours}
    if first is None or len(layers) > 1 or ("." in first[1] and not called):
        return None
    names = {name.lower().split(".")[-1] for _, name in colours}
    equal = all(np.array_equal(pixels, colours[first], equal_nan=True) for pixels in colours.values())
    return first if len(colours) == 1 or (names == {"r", "g", "b"} and equal) else None


def _check_headers(path: Path, version: bytes, headers: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what would take too much memory to decode; `version` is the first 8 bytes."""
    if version[5] & _DEEP or any("deep" in str(header.get("type")) for header in headers):
        raise InputError(f"{path} is a deep image, with several depths in a pixel; flatten it to one channel called Z.")
    declared = sum(_values(header) for header in headers)
    if not 0 < declared <= MAX_VALUES:
        raise InputError(f"{path} declares {declared} values; at most {MAX_VALUES} are read.")


def _values(header: Mapping[str, Any]) -> int:
    low, high = (np.asarray(corner, np.int64) for corner in header["dataWindow"])  # inclusive corners (x, y)
    sides = np.maximum(high - low + 1, 0)
    return int(sides[0]) * int(sides[1]) * len(header["channels"])


@contextmanager
def _own_output() -> Iterator[Callable[[], str]]:
    """Keep what the library prints of damaged files to ourselves; gives a look at what it said on standard output.

    Its warnings go to `sys.stdout`, where results belong, and its errors past `sys.stderr` to the descriptor. What
    other threads write meanwhile is passed on after.
    """
    with _ONE_AT_A_TIME, ExitStack() as stack:
        said = StringIO()
        if sys.stdout is not None:
            stack.callback(lambda out: out.write("".join(_others(said.getvalue()))), sys.stdout)
        stack.enter_context(redirect_stdout(said))  # undone before the line above is
        with suppress(OSError):  # closed, as in a daemon: nothing can be printed there
            saved = os.dup(2)
            kept = stack.enter_context(tempfile.TemporaryFile()).fileno()
            stack.callback(_restore, saved, kept)
            os.dup2(kept, 2)
        yield lambda: "".join(line for line in said.getvalue().splitlines() if _PRINTED.search(line))


def _restore(saved: int, kept: int) -> None:
    os.dup2(saved, 2)
    os.close(saved)
    written = os.pread(kept, os.fstat(kept).st_size, 0).decode("utf-8", "surrogateescape")
    os.write(2, "".join(_others(written)).encode("utf-8", "surrogateescape"))


def _others(text: str) -> list[str]:
    return [line for line in text.splitlines(keepends=True) if not _PRINTED.search(line)]
