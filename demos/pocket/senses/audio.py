"""Hearing: sounds of things, aligned to pictures of the same things.

What the split can show: whether the lens knows a recording again at a moment that it was not trained on, changed in
nothing else (the same animal, room and microphone). A quarter of the things have one recording only, so for those it
says nothing about another dog. The recordings held out whole do; they are few, and counted apart (`same_recording` in
the index). The lens begins as a network that heard libraries of sound effects, which may hold some of either.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from lens_plugins.errors import InputError
from lens_plugins.train.augment import AudioAugment

from .. import sound_network
from ..data import sound_sources, sounds
from ..data.pack import write_lines
from ..data.sound_files import RATE, read_sound
from ..data.sound_sources import licence_of
from ..data.sounds import Thing, Window
from ..packs import Pictures
from .base import Run, Sense
from .pairing import save_pictures, write_once

__all__ = ["SENSE", "Heard", "audio_pairs", "hear", "pictures_of", "write_heldout"]

PACKS = ("emoji", "stamps")  # whose pictures anchor the sounds, in this order
SPARE = "clipart"  # whose names are less to be relied on: a "chicken" there may be a hamburger
ENOUGH = 3  # pictures from the other packs that make those of SPARE needless
VIEWS = 8  # pictures of a thing, at most
CLIPS = 60  # training clips of a thing, at most
FEWEST = 40  # rows of a thing in the manifest: the clips of one that has fewer stand there more than once


@dataclass(frozen=True)
class Heard:
    """One window of a recording, cut out."""

    thing: Thing
    sound: str  # the recording
    window: Window
    samples: np.ndarray  # (S,) float32 at 16 kHz


def hear(thing: Thing, packages: Mapping[str, Path]) -> dict[str, list[Heard]]:
    """All clips of a thing by what they are for: train, val, test, other.

    Two clips of different splits never share a moment of a recording; those of "other" are of recordings that are in
    no split.
    """
    found: dict[str, list[list[Heard]]] = {"train": [], "val": [], "test": [], "other": []}
    for sound in (*thing.sounds, *thing.extra, *thing.other):
        samples = read_sound(sound, packages)
        whole = Window(0, len(samples))
        parts = {"other": whole} if sound in thing.other else {"train": whole}
        if sound in thing.sounds:
            parts = sounds.split_in_time(len(samples))
        for split, part in parts.items():
            cut = sounds.held_out_windows if split in ("test", "other") else sounds.training_windows
            found[split].append([Heard(thing, sound, w, samples[w.start : w.stop]) for w in cut(samples, part)])
    return {split: list(_in_turn(clips)) for split, clips in found.items()}


def _in_turn(lists: Iterable[list[Heard]]) -> Iterator[Heard]:
    """One of each recording after another, so that the first ones are of all recordings."""
    for row in zip_longest(*lists):
        yield from (clip for clip in row if clip is not None)


def audio_pairs(work: Path) -> Path:
    """Write the training clips and the pictures of every thing, and the manifest that names them; returns the manifest.

    Packages are fetched to and unpacked in `work/downloads`.

    Raises:
        InputError: a pack is incomplete, or shows a thing in no training picture.
        MissingDependency: a registry's client is absent.
    """

    def write(folder: Path) -> list[dict[str, Any]]:
        packages = sound_sources.folders(work / "downloads")
        pictures = Pictures.open([work / "pack" / name for name in (*PACKS, SPARE)])
        return [row for thing in sounds.THINGS for row in _pairs_of(thing, packages, pictures, folder)]

    return write_once(work / "pairs-audio", write)


def _pairs_of(thing: Thing, packages: Mapping[str, Path], pictures: Pictures, folder: Path) -> list[dict[str, Any]]:
    home = folder / thing.name.replace(" ", "-")
    views = {number: home / f"view{i}.png" for i, number in enumerate(pictures_of(thing, pictures.rows))}
    save_pictures(pictures, views)
    clips = hear(thing, packages)
    rows = []
    for split in ("train", "val"):
        for number, clip in enumerate(clips[split][:CLIPS]):
            path = home / f"{split}{number:02d}.flac"
            _write(path, clip.samples)
            rows.append(
                {
                    "modality": "audio",
                    "path": str(path.relative_to(folder)),
                    "image": [str(view.relative_to(folder)) for view in views.values()],
                    "text": [thing.name],
                    "split": split,
                    "id": f"{thing.name} {split} {number}",
                }
            )
    return rows + _again([row for row in rows if row["split"] == "train"], FEWEST)


def _again(rows: list[dict[str, Any]], fewest: int) -> list[dict[str, Any]]:
    """Copies of rows, so that things with few clips are heard about as often as the others."""
    missing = max(0, fewest - len(rows))
    return [{**rows[i % len(rows)], "id": f"{rows[i % len(rows)]['id']} again {i}"} for i in range(missing)]


def pictures_of(thing: Thing, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Numbers of up to VIEWS training pictures by the thing's names; clip art only where there are few others.

    Raises:
        InputError: there is none.
    """
    names = (thing.name, *thing.shown)
    found = [i for i, row in enumerate(rows) if row["name"] in names and row["split"] == "train"]
    sure = [i for i in found if rows[i]["pack"] != SPARE]
    found = sure if len(sure) >= ENOUGH else found
    if not found:
        raise InputError(f"No pack of pictures has a training picture named {' or '.join(names)}.")
    return found[:VIEWS]


def _write(path: Path, samples: np.ndarray) -> None:
    import soundfile

    kind = {".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}[path.suffix]
    soundfile.write(str(path), samples, RATE, format=kind[0], subtype=kind[1])


def write_heldout(work: Path, target: Path) -> int:
    """Write every held-out clip as a small file, with `index.jsonl`, and a picture of each thing; returns the clips.

    Raises:
        MissingDependency, InputError: as `sound_sources.folders`.
    """
    packages = sound_sources.folders(work / "downloads")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for thing in sounds.THINGS:
        clips = hear(thing, packages)
        for clip in (*clips["test"], *clips["other"]):
            name = f"{len(rows):03d}.ogg"
            _write(target / name, clip.samples)
            rows.append({"file": name, **_row(clip, same=clip.sound not in thing.other)})
    write_lines(target / "index.jsonl", rows)
    _write_pictures(work, target, {row["label"] for row in rows})
    return len(rows)


def _write_pictures(work: Path, target: Path, labels: set[str]) -> None:
    """One picture of each thing that is heard, of those that the host learnt from: there are no others."""
    pictures = Pictures.open([work / "pack" / name for name in (*PACKS, SPARE)])
    lines: list[dict[str, Any]] = []
    wanted: dict[int, Path] = {}
    for thing in (thing for thing in sounds.THINGS if thing.name in labels):
        number = pictures_of(thing, pictures.rows)[0]
        row, name = pictures.rows[number], f"{len(lines):03d}.webp"
        wanted[number] = target / name
        kept = {"object": row["object"], "licence": row["licence"]}
        lines.append({"file": name, "label": thing.name, "words": list(thing.words), **kept})
    save_pictures(pictures, wanted)
    write_lines(target / "pictures.jsonl", lines)


def _row(clip: Heard, same: bool) -> dict[str, Any]:
    licence, maker = licence_of(clip.sound)
    source = sound_sources.SOURCES[clip.sound.partition(":")[0]]
    return {
        "label": clip.thing.name,
        "words": list(clip.thing.words),
        "same_recording": same,
        "recording": clip.sound,
        "seconds": [round(clip.window.start / RATE, 2), round(clip.window.stop / RATE, 2)],
        "source": f"{source.name} {source.version}",
        "licence": licence,
        "creator": maker,
    }


_VARIED = AudioAugment(
    frequency_mask=10,
    time_mask=24,
    loudest_partner=0.0,
    roll=99,  # any: half of the clip, either way
    gain=(-18.0, 6.0),
    tone=3.0,
    dull=0.15,
    hiss=0.2,
    stretch=0.15,
    pitch=2.0,
    pieces=0.5,  # nearly half of the held-out clips last less than a second
)

_TRAIN = {
    "steps": 1900,
    "batch_size": 64,
    "optimizer": "muon",
    "lr": 2e-3,
    "embedding_share": 0.15,
    "weight_decay": 0.1,
    "views": "mean",
    "validate_every": 250,
}

SENSE = Sense(
    modality="audio",
    pairs=audio_pairs,
    write_heldout=write_heldout,
    # One run: behind one that closes with regression, or goes on, names are found no more often, in captions either.
    runs=(Run("first", _VARIED, _TRAIN),),
    # One clip of two seconds, since most recordings are that short: 198 frames, 8 rows of 12 cells of the stem's map.
    lens={
        "clip_seconds": 2.0,
        "frames": 198,
        "clips": 1,
        "stem": sound_network.CHANNELS,
        "patch": 1,
        "stride": 1,
        "positions": 96,
    },
    start=sound_network.start_stem,
)
