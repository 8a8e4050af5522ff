"""The door of this room: any file or array to a `ModalityInput`, by its prefix, its suffix or the name given."""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from .._config import FrozenConfig
from ..catalog import ModalityRow, find_modality, modalities, modality_of_suffix, resolve
from ..errors import ConfigError, InputError
from ..files.opening import MAX_FILE_BYTES, check_file, local_path
from .checks import check_result

__all__ = ["ModalityInput", "Payload", "Source", "parse_source", "read", "wrong_suffix"]


@dataclass(frozen=True, eq=False)
class ModalityInput:
    """One preprocessed input: what a lens of its modality reads, without the batch axis.

    `tensor` is float32 and contiguous: image and tactile (3, S, S), point_cloud (P, 3), depth (1, S, S), audio
    (T, F) or (C, T, F) for C clips, eeg (C, T). `source` is the file it came from, None for arrays.
    """

    modality: str
    tensor: Tensor
    source: str | None = None

    @property
    def clips(self) -> tuple[Tensor, ...]:
        """The clips of a recording, in order of time; of anything else the one tensor."""
        several = self.tensor.ndim > find_modality(self.modality).ndim
        return tuple(self.tensor) if several else (self.tensor,)


Payload: TypeAlias = "Path | np.ndarray | Tensor | Image.Image"  # what a modality's own reader gets
Source: TypeAlias = "str | os.PathLike[str] | np.ndarray | Tensor | Image.Image | ModalityInput"


def read(source: Source, modality: str | None = None, settings: FrozenConfig | None = None) -> ModalityInput:
    """Turn a file or an array into the tensor of its modality.

    Args:
        source: a path (as a string, "depth:room.png" names the modality in front), an array or tensor of raw data, a
            PIL picture, or a `ModalityInput`, which is returned as it is.
        modality: overrides the file's suffix; needed for arrays and tensors.
        settings: the modality's settings class, as in `lens.config.input`; its defaults where None.

    Raises:
        InputError: no such file, an unknown suffix or prefix, or data that is not of the modality.
        ConfigError: an unknown modality, or settings of another one.
    """
    if isinstance(source, ModalityInput):
        return _unchanged(source, modality)
    if isinstance(source, (str, os.PathLike)):
        named, path = parse_source(source) if isinstance(source, str) else (None, Path(source))
        check_file(path, max_bytes=8 * MAX_FILE_BYTES)  # each reader has its own, lower bound
        row = _row_of_file(path, _agreed(path, named, modality))
        payload: Payload = path
    else:
        row, payload = _row_of_array(source, modality), source
    return check_result(resolve(row.reader)(payload, _settings(row, settings)), row)


def parse_source(source: str) -> tuple[str | None, Path]:
    """Split "depth:room.png" into ("depth", Path("room.png")); without a prefix the first is None.

    One letter before the colon is a Windows drive. A file whose name starts with a modality and a colon is meant by
    "./depth:room.png".

    Raises:
        InputError: nothing there, a web address, or a prefix that is no modality (unless a file has that very name).
    """
    prefix, colon, rest = source.partition(":")
    if not colon or len(prefix) < 2 or not prefix.replace("_", "").replace("-", "").isalnum():
        prefix, rest = "", source
    if not rest.strip():
        raise InputError(f"The input {source!r} names no file; give a path, such as chair.ply or depth:room.png.")
    if rest.startswith("//"):
        raise InputError(f"{source} is a web address, which is not fetched; download it and give the file.")
    if not prefix:
        return None, local_path(rest)
    if prefix in modalities():
        return prefix, local_path(rest)
    if os.path.lexists(source):
        return None, Path(source)
    near = get_close_matches(prefix, modalities(), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"The prefix {prefix!r} of {source} is no modality; {hint}Known: {', '.join(modalities())}.")


def wrong_suffix(path: Path, row: ModalityRow) -> InputError:
    """The refusal of a file whose ending the modality does not read."""
    readable = " ".join((*row.suffixes, *row.also))
    return InputError(f"{path} cannot be read as {row.noun}: its ending is {path.suffix!r}; it would be {readable}.")


def _unchanged(source: ModalityInput, modality: str | None) -> ModalityInput:
    if modality not in (None, source.modality):
        raise InputError(f"The input {source.source or ''} is already {source.modality}, not {modality}.")
    return source


def _agreed(path: Path, named: str | None, modality: str | None) -> str | None:
    if named and modality and named != modality:
        raise InputError(f"{path} is named {named!r} by its prefix and {modality!r} by the call; give one of them.")
    return named or modality


def _row_of_file(path: Path, modality: str | None) -> ModalityRow:
    suffix = path.suffix.lower()
    if modality:
        row = find_modality(modality)
        if suffix not in (*row.suffixes, *row.also):
            raise wrong_suffix(path, row)
        return row
    name = modality_of_suffix(suffix)
    if name:
        return find_modality(name)
    takers = [row.name for row in modalities().values() if suffix in row.also]
    if takers:
        raise InputError(f"{path} may be {' or '.join(takers)}; say which, as in {takers[0]}:{path.name}.")
    known = " ".join(ending for row in modalities().values() for ending in row.suffixes)
    raise InputError(f"{path} has the unknown ending {suffix!r}; known endings: {known}.")


def _row_of_array(source: np.ndarray | Tensor | Image.Image, modality: str | None) -> ModalityRow:
    if not isinstance(source, (np.ndarray, Tensor, Image.Image)):
        raise InputError(f"A {type(source).__name__} is no input; give a path, an array, a tensor or a PIL picture.")
    if modality is None and isinstance(source, Image.Image):
        modality = "image"
    if modality is None:
        raise InputError(
            f"An array of shape {tuple(source.shape)} does not say what it is; "
            f"give modality=, one of {', '.join(modalities())}."
        )
    return find_modality(modality)


def _settings(row: ModalityRow, settings: FrozenConfig | None) -> FrozenConfig:
    expected = resolve(row.settings)
    if settings is None:
        return expected()
    if not isinstance(settings, expected):
        raise ConfigError(f"{row.name} is read with {expected.__name__}, not with {type(settings).__name__}.")
    return settings
