"""EEG, simulated: trials of people who look at things of a dozen classes, paired with pictures of such things.

The lens is tried on people whom it never met, at `STATED_DB` (see `data/eeg_simulator.py` for what that means).
Held-out trials are of people whom no training met.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from lens_plugins.train.augment import EegAugment

from ..data.classes import WORDS
from ..data.eeg_simulator import (
    AROUND,
    EPOCH,
    LABELS,
    RATE,
    SINGLE_TRIAL_DB,
    Trial,
    band,
    parts,
    prepare,
    simulate,
)
from ..data.pack import read_lines, write_lines
from ..heldout import VIEWS
from ..packs import OBJECT_PACKS, Pictures
from .base import Run, Sense, close
from .pairing import save_pictures, views_of, write_once

__all__ = ["SENSE", "STATED_DB", "held_out_trials"]

STATED_DB = -5.0  # as the average of some thirty trials of one person has it
TRAIN_DB = (-14.0, 8.0)  # the mixture that the lens is taught with
TRAIN_PEOPLE, TRAIN_TRIALS = range(48), 4  # per person and class
VAL_PEOPLE, VAL_TRIALS = range(60, 62), 4
NEW_PEOPLE = range(100, 110)
PICTURES = 8  # of each class
PER_CLASS = 10
STEPS = 32  # of the kept waves, to their root mean square


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
        known = sorted(name for name, row in rows.items() if (row["class"], row["split"]) == (label, "train"))
        objects = np.random.default_rng([8, place]).permutation(np.array(known))[:PICTURES]
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


def write_heldout(work: Path, target: Path) -> int:
    """Write the held-out trials: ten of each class, of ten new people; `lens_plugins.bench.heldout` reads them.

    What the picture evokes and everything else, at the ratio of a single trial, are kept apart, so that a reader may
    mix them at any ratio: two FLAC files of whole numbers, trial after trial, channel after channel.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    written: dict[str, list[np.ndarray]] = {"evoked": [], "noise": []}
    for trial in held_out_trials(PER_CLASS):
        found = parts(trial, SINGLE_TRIAL_DB)
        row = {"label": trial.label, "words": list(WORDS.get(trial.label, ())), "subject": trial.subject}
        for name, wave in (("evoked", found.evoked), ("noise", found.ongoing + found.artefacts)):
            seen = band(wave)[:, AROUND : AROUND + EPOCH]
            row[f"{name}_step"] = step = float(np.sqrt((seen**2).mean()) / STEPS)
            written[name].append((seen / step).round().astype(np.int16))
        facts = {"number": trial.number, "snr_db": STATED_DB, "simulated": True, "licence": "CC0-1.0"}
        rows.append({**row, **facts})
    for name, waves in written.items():
        soundfile.write(
            str(target / f"{name}.flac"), np.stack(waves).reshape(-1), RATE, format="FLAC", subtype="PCM_16"
        )
    write_lines(target / "index.jsonl", rows)
    write_lines(target / "pictures.jsonl", _picture_lines(target.parent / "objects"))
    return len(rows)


def _picture_lines(objects: Path) -> list[dict[str, Any]]:
    """Four pictures of held-out objects of each class, of as many objects as there are, as places in their strips."""
    rows, found = read_lines(objects / "index.jsonl"), []
    for label in LABELS:
        shown = [row for row in rows if row["class"] == label]
        views = [(row, place) for place in range(VIEWS) for row in shown]
        found += [
            {"label": label, "words": row["words"], "strip": f"../{objects.name}/{row['strip']}", "place": place}
            for row, place in views[:4]
        ]
    return found


_VARIED = EegAugment(noise=0.2, drop_channels=0.15, shift=4)

SENSE = Sense(
    modality="eeg",
    pairs=pairs,
    write_heldout=write_heldout,
    runs=(
        Run("first", _VARIED, {"steps": 220, "batch_size": 64, "optimizer": "muon", "lr": 2e-3, "weight_decay": 0.1}),
        close(_VARIED, steps=100, optimizer="muon", weight_decay=0.1, batch_size=64),
    ),
    lens={"steps": 220, "window": 20, "stride": 10},  # 2 ms a step; 21 tokens of 40 ms, every 20 ms
)
