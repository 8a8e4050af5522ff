"""Objects of other libraries, written as a file that a reader knows: what is read then is read in one way only.

Bytes, open files, rows of `datasets`, sound with its sample rate, `trimesh` meshes and `mne` recordings.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from torch import Tensor

from ..errors import InputError
from ..files.opening import MAX_FILE_BYTES, parsing
from .arrays import as_array

__all__ = ["is_recording", "suffix_of", "write_object"]

_EEG_SECONDS = 60  # of a recording: readers see no more of one
_MOST_CHANNELS = 8
_KINDS = (  # how a file of each kind begins
    (b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"), (b"BM", ".bmp"), (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"), (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"),
    *((start, ".mp3") for start in (b"\xff\xfa", b"\xff\xfb", b"\xff\xf2", b"\xff\xf3", b"\xff\xe2", b"\xff\xe3")),
    (b"glTF", ".glb"), (b"ply\n", ".ply"), (b"ply\r", ".ply"), (b"# .PCD", ".pcd"), (b"OFF", ".off"),
    (b"\x93NUMPY", ".npy"), (b"v/1\x01", ".exr"), (b"\xffBIOSEMI", ".bdf"), (b"0       ", ".edf"),
)  # fmt: skip
_RIFF = {b"WAVE": ".wav", b"WEBP": ".webp"}


def is_recording(source: object) -> TypeGuard[tuple[np.ndarray | Tensor, float]]:
    """Whether this is sound with its sample rate: ``(array, 16000)``."""
    return (
        isinstance(source, tuple)
        and len(source) == 2
        and isinstance(source[0], (np.ndarray, Tensor))
        and isinstance(source[1], Real)
    )


def write_object(source: object, folder: Path) -> Path | None:
    """Write an object as a file whose ending says what it is.

    Args:
        source: anything.
        folder: an empty one, for this file alone.

    Returns:
        The file; None where `source` is none of the objects known here.

    Raises:
        InputError: it is one, and cannot be written.
    """
    if isinstance(source, Mapping):
        return _write_row(source, folder)
    if is_recording(source):
        return _write_sound(*source, folder)
    if hasattr(source, "get_all_samples"):  # a decoder of torchcodec, as `datasets` hands it out
        source = source.get_all_samples()
    if hasattr(source, "sample_rate") and hasattr(source, "data"):
        return _write_sound(source.data, source.sample_rate, folder)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _write_bytes(bytes(source), None, folder)
    if callable(getattr(source, "read", None)):
        return _write_file(source, folder)
    if _is_of("trimesh", ("Trimesh", "PointCloud", "Scene"), source):
        return _write_mesh(source, folder)
    if _is_of("mne.io", ("BaseRaw",), source):
        return _write_eeg(source, folder)
    return None


def _is_of(module: str, names: tuple[str, ...], source: object) -> bool:
    """Whether an object is of a class of a library; who has such an object has imported the library."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(source, tuple(getattr(loaded, name) for name in names))


def _write_row(row: Mapping[str, Any], folder: Path) -> Path | None:
    """A row of `datasets`: ``{"array", "sampling_rate"}`` of sound, or ``{"bytes", "path"}`` of any file."""
    samples = row.get("array", row.get("raw"))
    if samples is not None and "sampling_rate" not in row:
        raise InputError('The row has an "array" without its "sampling_rate"; give both.')
    if samples is not None:
        samples = samples if isinstance(samples, (np.ndarray, Tensor)) else np.asarray(samples)
        return _write_sound(samples, row["sampling_rate"], folder)
    content, path = row.get("bytes"), row.get("path")
    if isinstance(content, (bytes, bytearray, memoryview)):
        return _write_bytes(bytes(content), path, folder)
    return Path(path) if isinstance(path, str) else None


def _write_sound(samples: np.ndarray | Tensor, rate: Any, folder: Path) -> Path:
    """A WAV file: floats as float32, int16 and int32 as PCM. (channels, S) is turned to (S, channels)."""
    import soundfile

    name = "The recording"
    try:
        hertz = int(rate)
    except (TypeError, ValueError, OverflowError):
        hertz = 0
    if hertz != rate or not 0 < hertz < 2**31:
        raise InputError(f"{name} has the sample rate {rate!r}; it must be a whole number of Hz, such as 16000.")
    values = samples.detach().cpu() if isinstance(samples, Tensor) else samples
    kind = str(values.dtype).removeprefix("torch.")
    whole = kind in ("int16", "int32")
    if not whole and "float" not in kind:
        raise InputError(f"{name} holds {kind}; a waveform is floats from -1 to 1, int16 or int32.")
    array = np.asarray(values) if whole else as_array(values, name).astype(np.float32)
    if array.ndim == 2 and array.shape[0] <= _MOST_CHANNELS < array.shape[1]:
        array = array.T  # torchaudio's (channels, S)
    if array.ndim not in (1, 2) or not array.size or array[0].size > _MOST_CHANNELS:
        raise InputError(
            f"{name} has shape {tuple(samples.shape)}; a waveform is (samples,), (samples, channels) or "
            f"(channels, samples) with at most {_MOST_CHANNELS} channels."
        )
    path = folder / "recording.wav"
    soundfile.write(path, array, hertz, subtype={"int16": "PCM_16", "int32": "PCM_32"}.get(kind, "FLOAT"))
    return path


def _write_bytes(content: bytes, name: object, folder: Path) -> Path:
    if not content:
        raise InputError("The bytes given are 0 in number; give the content of a file.")
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"The bytes given are {len(content)} in number; at most {MAX_FILE_BYTES} are read.")
    safe = re.sub(r"[^\w.-]", "_", Path(str(name or "")).name)[-100:]  # what errors call it
    path = folder / (safe if Path(safe).suffix else f"{safe or 'bytes'}{suffix_of(content)}")
    if not path.suffix:
        raise InputError(
            f"{len(content)} bytes do not say what file they are of; give "
            '{"bytes": content, "path": "chair.ply"}, whose ending says it.'
        )
    path.write_bytes(content)
    return path


def suffix_of(content: bytes) -> str:
    """The ending that bytes tell by how they begin; "" where they do not."""
    if content[:4] == b"RIFF":
        return _RIFF.get(content[8:12], "")
    return next((suffix for start, suffix in _KINDS if content.startswith(start)), "")


def _write_file(file: Any, folder: Path) -> Path:
    """What an open file holds, from its start where it can be rewound."""
    if callable(getattr(file, "seekable", None)) and file.seekable():
        file.seek(0)
    content = file.read(MAX_FILE_BYTES + 1)
    if not isinstance(content, bytes):
        raise InputError('The file given is open as text; open it with open(path, "rb").')
    name = getattr(file, "name", None)
    return _write_bytes(content, name if isinstance(name, str) else None, folder)


def _write_mesh(mesh: Any, folder: Path) -> Path:
    """A mesh or cloud as PLY, a scene as GLB, which keeps where its parts stand."""
    suffix = "glb" if hasattr(mesh, "geometry") else "ply"
    path = folder / f"mesh.{suffix}"
    with parsing("The mesh given", "mesh", cure="export it and give the file"):
        path.write_bytes(mesh.export(file_type=suffix))
    return path


def _write_eeg(raw: Any, folder: Path) -> Path:
    path = folder / "recording_raw.fif"  # the ending that mne asks for
    with parsing("The recording given", "recording of mne", cure="save it and give the file"):
        raw.save(path, tmax=min(_EEG_SECONDS, float(raw.times[-1])), overwrite=True, verbose="ERROR")
    return path
