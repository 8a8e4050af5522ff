"""The door of this room: any file, array or object becomes a `ModalityInput`, by prefix, suffix or the name given."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Protocol, TypeAlias, TypeGuard

import numpy as np
from PIL import Image
from torch import Tensor

from .._config import FrozenConfig
from ..catalog import ModalityRow, find_modality, modalities, modality_of_suffix, resolve
from ..errors import ConfigError, InputError
from ..files.opening import MAX_FILE_BYTES, check_file, local_path
from .checks import check_result
from .names import parse_source
from .objects import is_recording, write_object

__all__ = [
    "ModalityInput",
    "Payload",
    "Source",
    "check_settings",
    "described",
    "has_clips",
    "is_several",
    "read",
    "read_as",
    "several",
    "wrong_suffix",
]


@dataclass(frozen=True, eq=False)
class ModalityInput:
    """One preprocessed input: what a lens of its modality reads, without the batch axis.

    `tensor` is float32 and contiguous: image and tactile (3, S, S), point_cloud (P, 3), depth (1, S, S), audio
    (T, F) or (C, T, F) for C clips, eeg (C, T). `source` is the file it came from, None for arrays. `settings` are
    those that it was read with, None for an input made by hand.
    """

    modality: str
    tensor: Tensor
    source: str | None = None
    settings: FrozenConfig | None = None

    @property
    def clips(self) -> tuple[Tensor, ...]:
        """The clips of a recording, in order of time; of anything else the one tensor."""
        several = self.tensor.ndim > find_modality(self.modality).ndim
        return tuple(self.tensor) if several else (self.tensor,)

    def __repr__(self) -> str:
        return f"ModalityInput({self.modality!r}, tensor of shape {tuple(self.tensor.shape)}, source={self.source!r})"


class Mesh(Protocol):
    """A mesh, cloud or scene of trimesh."""

    def export(self, file_obj: Any = None, file_type: Any = None) -> Any: ...


class Recording(Protocol):
    """A recording of mne."""

    def save(self, fname: Any, /) -> Any: ...


class OpenFile(Protocol):
    """A file open for reading bytes."""

    def read(self, size: int, /) -> bytes: ...


Payload: TypeAlias = "Path | np.ndarray | Tensor | Image.Image"  # what a modality's own reader gets
Source: TypeAlias = (
    "str | os.PathLike[str] | np.ndarray | Tensor | Image.Image | ModalityInput | bytes | OpenFile | Mapping[str, Any]"
    " | tuple[np.ndarray | Tensor, float] | Mesh | Recording"
)


_MAX_BYTES = 8 * MAX_FILE_BYTES
_Rate: TypeAlias = Literal["stated", "assumed", "unknown"]  # what is known of the rate of an array of sound


def read(source: Source, modality: str | None = None, settings: FrozenConfig | None = None) -> ModalityInput:
    """Turn a file, an array or an object of another library into the tensor of its modality.

    Args:
        source: one of

            - a path; as a string, "depth:room.png" names the modality in front;
            - an array or tensor of raw data, or a PIL picture;
            - sound with its rate, ``(array, 16000)`` or ``{"array": array, "sampling_rate": 16000}``;
            - bytes or a file open for reading them, or ``{"bytes": content, "path": "chair.ply"}``;
            - a mesh, cloud or scene of trimesh, or a recording of mne;
            - a `ModalityInput`, which is returned as it is.
        modality: overrides the file's suffix; needed for arrays and tensors.
        settings: the modality's settings class, as in `lens.config.input`; its defaults where None. An array of sound
            without a rate has the `sample_rate` of the settings; where none are given, a warning says so.

    Raises:
        InputError: no such file, an unknown suffix or prefix, or data that is not of the modality.
        ConfigError: an unknown modality, or settings of another one.
    """
    return _read(source, modality, lambda _: settings, "stated" if settings is not None else "assumed")


def read_as(source: Source, modality: str | None, settings_of: Callable[[str], FrozenConfig | None]) -> ModalityInput:
    """`read` with settings that are chosen once the modality is known, by its name: those of a lens or a host.

    They do not tell the rate of an array of sound, which must come with it.

    Raises:
        InputError: as `read`; or sound without a rate.
        ConfigError: as `read`.
    """
    return _read(source, modality, settings_of, "unknown")


def is_several(inputs: object) -> TypeGuard[Sequence[Any]]:
    """Whether these are several inputs: a list, or a tuple other than ``(array, 16000)``."""
    return isinstance(inputs, (list, tuple)) and not is_recording(inputs)


def several(inputs: Any) -> list[Any]:
    """The inputs as a list, also where one was given alone."""
    return list(inputs) if is_several(inputs) else [inputs]


def has_clips(settings: FrozenConfig | None) -> bool:
    """Whether a modality is read as one or several clips in time: its settings have a field `clips`."""
    return settings is not None and any(field.name == "clips" for field in fields(settings))


def check_settings(given: ModalityInput, wanted: FrozenConfig | None, reader: str) -> None:
    """Refuse an input that was read with other settings than its reader has.

    What describes the one input (`InputSettings.per_input`) may differ, and an input made by hand has no settings to
    compare.

    Raises:
        InputError: with the fields that differ and both values of each.
    """
    if given.settings is None or wanted is None:
        return
    free = getattr(wanted, "per_input", ())
    names = [field.name for field in fields(wanted) if field.name not in free]
    other = [name for name in names if getattr(given.settings, name, None) != getattr(wanted, name)]
    if other:
        was, wants = (
            ", ".join(f"{name}={getattr(settings, name, None)!r}" for name in other)
            for settings in (given.settings, wanted)
        )
        raise InputError(
            f"{given.source or f'The {given.modality} input'} was read with {was}; {reader} reads with {wants}. "
            "Give the file or array itself, or read it with host.read."
        )


def described(
    settings: FrozenConfig | None, given: Mapping[str, Mapping[str, Any]] | None, modality: str
) -> FrozenConfig | None:
    """Settings with what is said of one input in place.

    Args:
        settings: of the reader.
        given: by modality, fields of `InputSettings.per_input` and their values.
        modality: what the input is.

    Raises:
        ConfigError: a field that does not describe one input, or a wrong value of one that does.
    """
    own = (given or {}).get(modality)
    if not own or settings is None:
        return settings
    free = getattr(settings, "per_input", ())
    for name in own:
        if name not in free:
            raise ConfigError(f"The setting {modality}.{name} is the reader's; an input may set {' or '.join(free)}.")
    return type(settings).from_dict({**settings.to_dict(), **own})


def wrong_suffix(path: Path, row: ModalityRow) -> InputError:
    """The refusal of a file whose ending the modality does not read."""
    readable = " ".join((*row.suffixes, *row.also))
    return InputError(f"{path} cannot be read as {row.noun}: its ending is {path.suffix!r}; it would be {readable}.")


def _read(
    source: Source, modality: str | None, settings_of: Callable[[str], FrozenConfig | None], rate: _Rate
) -> ModalityInput:
    if isinstance(source, ModalityInput):
        return _unchanged(source, modality)
    if isinstance(source, (str, os.PathLike, np.ndarray, Tensor, Image.Image)):
        return _read_plain(source, modality, settings_of, rate)
    if modality is not None and is_recording(source):
        row = find_modality(modality)
        if not getattr(resolve(row.settings), "arrays_need_rate", False):
            raise InputError(f"A sample rate goes with sound; {row.noun} is given as the array alone, not with a rate.")
    with TemporaryDirectory(prefix="lens-plugins-") as folder:
        path = write_object(source, Path(folder))
        if path is None:
            raise InputError(
                f"A {type(source).__name__} is no input; give a path, an array, a tensor, a PIL picture, "
                "(array, sample rate), bytes, an open file, an object of trimesh or mne, or a dict with array and "
                "sampling_rate or with bytes and path."
            )
        try:
            found = _read_plain(path, modality, settings_of, rate)
        except InputError as error:  # without the folder, which nobody has heard of
            raise InputError(str(error).replace(f"{folder}{os.sep}", "")) from error
    return replace(found, source=None) if path.is_relative_to(folder) else found


def _read_plain(
    source: str | os.PathLike[str] | np.ndarray | Tensor | Image.Image,
    modality: str | None,
    settings_of: Callable[[str], FrozenConfig | None],
    rate: _Rate,
) -> ModalityInput:
    payload: Payload
    if isinstance(source, (str, os.PathLike)):
        named, payload = parse_source(source) if isinstance(source, str) else (None, local_path(source))
        row = _row_of_file(payload, _agreed(payload, named, modality))
    else:
        row, payload = _row_of_array(source, modality), source
    settings, reader = _settings(row, settings_of(row.name)), resolve(row.reader)
    if isinstance(payload, Path):
        check_file(payload, max_bytes=_MAX_BYTES)  # each reader has its own, lower bound
    if isinstance(source, (np.ndarray, Tensor)) and getattr(settings, "arrays_need_rate", False):
        _check_rate(source, settings, rate)
    found: ModalityInput = reader(payload, settings)
    return replace(check_result(found, row), settings=settings)


def _check_rate(array: np.ndarray | Tensor, settings: FrozenConfig, rate: _Rate) -> None:
    how = 'give (array, 16000) or {"array": array, "sampling_rate": 16000}.'
    what = f"An array of shape {tuple(array.shape)} does not say its sample rate"
    if rate == "unknown":
        raise InputError(f"{what}; {how}")
    if rate == "assumed":
        warnings.warn(f"{what}; {settings.to_dict()['sample_rate']} Hz is assumed: {how}", stacklevel=5)


def _unchanged(source: ModalityInput, modality: str | None) -> ModalityInput:
    if modality not in (None, source.modality):
        raise InputError(f"The input {source.source or ''} is already {source.modality}, not {modality}.")
    return source


def _agreed(path: Path, named: str | None, modality: str | None) -> str | None:
    if named and modality and named != modality:
        raise InputError(f"{path} is named {named!r} by its prefix and {modality!r} by the call; give one of them.")
    return named or modality


def _row_of_file(path: Path, modality: str | None) -> ModalityRow:
    """By the name given, or by the ending alone; a file that is not there is named before its ending."""
    suffix = path.suffix.lower()
    name = modality or modality_of_suffix(suffix)
    row = find_modality(name) if name else None
    if row is not None and suffix in (*row.suffixes, *row.also):
        return row
    check_file(path, max_bytes=_MAX_BYTES)
    if row is not None:
        raise wrong_suffix(path, row)
    takers = [row.name for row in modalities().values() if suffix in row.also]
    if takers:
        raise InputError(f"{path} may be {' or '.join(takers)}; say which, as in {takers[0]}:{path.name}.")
    known = " ".join(ending for row in modalities().values() for ending in row.suffixes)
    raise InputError(f"{path} has the unknown ending {suffix!r}; known endings: {known}.")


def _row_of_array(source: np.ndarray | Tensor | Image.Image, modality: str | None) -> ModalityRow:
    if isinstance(source, Image.Image):
        return find_modality(modality or "image")
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
