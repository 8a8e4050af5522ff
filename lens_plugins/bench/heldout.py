"""The held-out cases that every figure is measured on: data beside the weights, in the repository alone.

``heldout/objects/``: `index.jsonl`, one WebP strip of views an object, `clouds.safetensors` (O, 2048, 3) float16.
``heldout/SENSE/``: `index.jsonl` with the cases and `pictures.jsonl` with pictures of the same things; EEG lies in
two FLAC files. No stage of training saw any of these things, surfaces or people; for sounds see `Case`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from ..errors import CheckpointError, ConfigError
from ..pocket.shipped import shipped

__all__ = [
    "SENSES",
    "Case",
    "HeldOut",
    "Sense",
    "find_sense",
    "names_word",
    "open_objects",
    "open_trials",
]

SINGLE_TRIAL_DB = -20.0  # signal to noise of one EEG trial; averaging makes the noise smaller
TRIAL = (128, 460)  # channels, samples


@dataclass(frozen=True)
class Case:
    """One input and what a right answer names."""

    label: str
    source: Any  # a file, a picture or an array that the modality's reader takes
    words: tuple[str, ...] = ()  # other names that count as right
    same_recording: bool = False  # a later moment of a recording whose beginning was in training

    def named_in(self, text: str) -> bool:
        """Whether a sentence names the thing."""
        return names_word(text, (self.label, *self.words))


@dataclass(frozen=True)
class HeldOut:
    """One object: its class, its pictures and its cloud."""

    object: str
    label: str
    pictures: list[Image.Image]  # on a light background
    cloud: Tensor  # (2048, 3) float32, y up
    words: tuple[str, ...] = ()

    def case(self, source: Any) -> Case:
        """The object as this picture or cloud shows it."""
        return Case(self.label, source, self.words)


@dataclass(frozen=True)
class Sense:
    """A modality whose lens ships, and the folder of its cases."""

    modality: str
    simulated: bool = False  # marked wherever a figure is shown

    @property
    def lens_id(self) -> str:
        return f"pocket-{self.modality}"

    @property
    def title(self) -> str:
        return self.modality + (" (simulated)" if self.simulated else "")

    def cases(self, folder: Path | None = None) -> list[Case]:
        """The cases in a fixed order; `folder` is the shipped one unless given.

        Raises:
            CheckpointError: the folder is incomplete, or not in this installation.
        """
        folder = folder or shipped("heldout") / self.modality
        return open_trials(folder=folder) if self.modality == "eeg" else _files(folder, "index.jsonl")

    def pictures(self, folder: Path | None = None) -> list[Case]:
        """Pictures of the same things, the ceiling of what a lens can reach; arguments and errors as `cases`."""
        return _files(folder or shipped("heldout") / self.modality, "pictures.jsonl")


SENSES = (Sense("audio"), Sense("depth"), Sense("tactile", simulated=True), Sense("eeg", simulated=True))


def find_sense(modality: str) -> Sense:
    """The row of a modality other than point clouds, whose cases are `open_objects`.

    Raises:
        ConfigError: there is none.
    """
    found = next((sense for sense in SENSES if sense.modality == modality), None)
    if found is None:
        known = ", ".join(sense.modality for sense in SENSES)
        raise ConfigError(f"There are no held-out cases of {modality!r}; there are some of {known}.")
    return found


def names_word(text: str, words: Iterable[str]) -> bool:
    """Whether a sentence holds one of the words, singular or plural."""
    return any(re.search(rf"\b{re.escape(word)}(s|es)?\b", text.lower()) for word in words)


def open_objects(folder: Path | None = None) -> list[HeldOut]:
    """All held-out objects in a fixed order.

    Raises:
        CheckpointError: the folder is incomplete, or not in this installation.
    """
    folder = folder or shipped("heldout") / "objects"
    rows = _read_index(folder)
    try:
        clouds = load_file(folder / "clouds.safetensors")["clouds"].float()  # (O, 2048, 3)
        views = [_views(folder / row["strip"]) for row in rows]
    except (OSError, KeyError) as error:
        raise CheckpointError(f"The held-out objects in {folder} are incomplete: {error}.") from error
    return [
        HeldOut(row["object"], row["class"], pictures, cloud, tuple(row["words"]))
        for row, pictures, cloud in zip(rows, views, clouds)
    ]


def open_trials(snr_db: float | None = None, per_class: int | None = None, folder: Path | None = None) -> list[Case]:
    """Simulated EEG trials, (128, 460) float32 each, z-scored by channel.

    Args:
        snr_db: signal-to-noise ratio in dB; None: the one that the index states.
        per_class: how many of each class; None: all.
        folder: the shipped one unless given.

    Raises:
        CheckpointError: the folder is incomplete, or not in this installation.
    """
    folder = folder or shipped("heldout") / "eeg"
    rows = _read_index(folder)
    evoked, noise = (_waves(folder / f"{name}.flac", len(rows)) for name in ("evoked", "noise"))  # (T, 128, 460)
    cases, taken = [], dict.fromkeys((row["label"] for row in rows), 0)
    for row, signal, other in zip(rows, evoked, noise):
        if per_class is not None and taken[row["label"]] >= per_class:
            continue
        taken[row["label"]] += 1
        ratio = row["snr_db"] if snr_db is None else snr_db
        smaller = 10 ** ((SINGLE_TRIAL_DB - ratio) / 20)
        trial = signal * row["evoked_step"] + smaller * other * row["noise_step"]
        trial = (trial - trial.mean(1, keepdims=True)) / trial.std(1, keepdims=True)
        cases.append(Case(row["label"], trial.astype(np.float32), tuple(row["words"])))
    return cases


def _read_index(folder: Path, name: str = "index.jsonl") -> list[dict[str, Any]]:
    """The lines of a file that names held-out cases.

    Raises:
        CheckpointError: it is absent or damaged.
    """
    try:
        return [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The held-out cases in {folder} are incomplete: {name} cannot be read: {error}."
        ) from error


def _files(folder: Path, name: str) -> list[Case]:
    rows = _read_index(folder, name)
    named = {row.get("file") or row["strip"] for row in rows}
    missing = sorted(name for name in named if not (folder / name).is_file())
    if missing:
        raise CheckpointError(f"The held-out cases in {folder} are incomplete: no {', '.join(missing[:5])}.")
    return [
        Case(row["label"], _source(folder, row), tuple(row["words"]), row.get("same_recording", False)) for row in rows
    ]


def _source(folder: Path, row: Mapping[str, Any]) -> Any:
    """A file, or one view of a strip."""
    return _views(folder / row["strip"])[row["place"]] if "strip" in row else folder / row["file"]


def _views(strip: Path) -> list[Image.Image]:
    """The square pictures that stand side by side in a strip."""
    whole = Image.open(strip).convert("RGB")
    side = whole.height
    return [whole.crop((left, 0, left + side, side)) for left in range(0, whole.width, side)]


def _waves(file: Path, trials: int) -> np.ndarray:
    """(T, 128, 460) of a FLAC file in which trials and channels follow one another."""
    import soundfile

    try:
        values, _ = soundfile.read(str(file), dtype="int16")
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"The held-out trials {file} cannot be read: {error}.") from error
    if values.size != trials * TRIAL[0] * TRIAL[1]:
        raise CheckpointError(
            f"{file} holds {values.size} values; {trials} trials of {TRIAL[0]} x {TRIAL[1]} are "
            f"{trials * TRIAL[0] * TRIAL[1]}."
        )
    return np.asarray(values, np.float64).reshape(trials, *TRIAL)
