"""EEG, simulated: trials of people who look at things of a dozen classes, paired with pictures of such things.

The lens is tried on people whom it never met, at `STATED_DB` (see `data/eeg_simulator.py` for what that means).
Held-out trials are not stored: the index names person, class and number of each, and they are simulated again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...train.augment import EegAugment
from ..data.classes import WORDS
from ..data.eeg_simulator import LABELS, Trial, prepare, simulate
from ..data.pack import write_lines
from ..heldout import open_heldout as open_objects
from ..packs import OBJECT_PACKS, Pictures
from .base import Case, Run, Sense, close
from .pairing import read_index, save_pictures, views_of, write_once

__all__ = ["SENSE", "STATED_DB", "cases_at", "held_out_trials"]

STATED_DB = -5.0  # as the average of some thirty trials of one person has it
TRAIN_DB = (-14.0, 8.0)  # the mixture that the lens is taught with
TRAIN_PEOPLE, TRAIN_TRIALS = range(48), 4  # per person and class
VAL_PEOPLE, VAL_TRIALS = range(60, 62), 4
NEW_PEOPLE = range(100, 110)
PICTURES = 8  # of each class
PER_CLASS = 10


def pairs(work: Path) -> Path:
    """Trials as float16 files of (128, 460), z-scored, each with the pictures of its class; 283 MB."""
    return write_once(work / "pairs-eeg", lambda folder: list(_pairs(work, folder)))


def _pairs(work: Path, folder: Path) -> Iterator[dict[str, Any]]:
    pictures = _class_pictures(work, folder)
    (folder / "trials").mkdir()
    for split, people, count, ratios in (
        ("train", TRAIN_PEOPLE, TRAIN_TRIALS, TRAIN_DB),
        ("val", VAL_PEOPLE, VAL_TRIALS, (STATED_DB, STATED_DB)),
    ):
        for trial in (Trial(p, label, n) for p in people for label in LABELS for n in range(count)):
            name = f"trials/{trial.label}-{trial.subject}-{trial.number}.npy"
            ratio = np.random.default_rng([trial.subject, LABELS.index(trial.label), trial.number]).uniform(*ratios)
            np.save(folder / name, prepare(simulate(trial, ratio)).astype(np.float16))
            shown = {"image": pictures[trial.label], "text": trial.label, "split": split}
            yield {"modality": "eeg", "path": name, **shown, "id": Path(name).stem}


def _class_pictures(work: Path, folder: Path) -> dict[str, list[str]]:
    """Pictures of random training objects of each class, of as many objects as there are.

    All trials of a class share them: trials of one class are no counterexamples of each other.
    """
    pictures = Pictures.open([work / "pack" / name for name in OBJECT_PACKS])
    views = views_of(pictures)
    found = {}
    for place, label in enumerate(LABELS):
        rows = {name: pictures.rows[numbers[0]] for name, numbers in views.items()}
        objects = sorted(name for name, row in rows.items() if (row["class"], row["split"]) == (label, "train"))
        objects = np.random.default_rng([8, place]).permutation(objects)[:PICTURES]
        numbers = [views[objects[i % len(objects)]][i // len(objects)] for i in range(PICTURES)]
        found[label] = [f"pictures/{label}-{i}.png" for i in range(PICTURES)]
        save_pictures(pictures, {number: folder / name for number, name in zip(numbers, found[label])})
    return found


def held_out_trials(per_class: int, *, known: bool = False) -> list[Trial]:
    """Trials that no training saw: of people whom it never met, or new ones of those it did."""
    people, first = (TRAIN_PEOPLE, 1000) if known else (NEW_PEOPLE, 0)
    return [
        Trial(people[n % len(people)], label, first + n // len(people)) for label in LABELS for n in range(per_class)
    ]


def cases_at(snr_db: float, per_class: int, *, known: bool = False) -> list[Case]:
    """Held-out trials at a signal-to-noise ratio.

    Args:
        snr_db: as the simulator defines it.
        per_class: trials of each class.
        known: of people whose other trials were in the training set.
    """
    return [_case(trial, snr_db) for trial in held_out_trials(per_class, known=known)]


def _case(trial: Trial, snr_db: float) -> Case:
    return Case(trial.label, prepare(simulate(trial, snr_db)), tuple(WORDS.get(trial.label, ())))


def write_heldout(work: Path, target: Path) -> int:
    """Name the held-out trials: ten of each class, of ten new people, at the stated ratio."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    trials = held_out_trials(PER_CLASS)
    rows = [{"label": t.label, "subject": t.subject, "number": t.number, "snr_db": STATED_DB} for t in trials]
    write_lines(target / "index.jsonl", [{**row, "simulated": True, "licence": "CC0-1.0"} for row in rows])
    return len(rows)


def open_heldout(folder: Path) -> list[Case]:
    """The trials that the index names, simulated."""
    rows = read_index(folder, "index of EEG trials")
    return [_case(Trial(row["subject"], row["label"], row["number"]), row["snr_db"]) for row in rows]


def held_out_pictures(folder: Path) -> list[Case]:
    """Four pictures of held-out objects of each class, of as many objects as there are."""
    objects, found = open_objects(folder.parent / "objects"), []
    for label in LABELS:
        shown = [item.pictures for item in objects if item.label == label]
        views = [pictures[i] for i in range(4) for pictures in shown]
        found += [Case(label, view, tuple(WORDS.get(label, ()))) for view in views[:4]]
    return found


_VARIED = EegAugment(noise=0.2, drop_channels=0.15, shift=4)

SENSE = Sense(
    modality="eeg",
    pairs=pairs,
    write_heldout=write_heldout,
    open_heldout=open_heldout,
    pictures=held_out_pictures,
    runs=(
        Run("first", _VARIED, {"steps": 220, "batch_size": 64, "optimizer": "muon", "lr": 2e-3, "weight_decay": 0.1}),
        close(_VARIED, steps=100, optimizer="muon", weight_decay=0.1, batch_size=64),
    ),
    lens={"steps": 220, "window": 20, "stride": 10},  # 2 ms a step; 21 tokens of 40 ms, every 20 ms
    simulated=True,
)
