"""How often the pocket host names what its other senses are given: audio, depth, touch, EEG.

Each beside the host's own score on pictures of the same things (the ceiling), a shuffled lens, and chance: always the
most frequent answer. Two questions are put: does the caption name the thing, and is it the nearest of all the sense's
names in the text space (zero-shot, top 1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..hosts.base import Host
from ..inputs import read
from ..lens.loading import load_lens
from ..pocket.heldout import names_word
from ..pocket.senses import Case, Sense, senses
from .pocket import ask, shuffled

__all__ = ["SenseScore", "audio_by_recording", "eeg_curve", "measure_sense", "measure_senses", "table"]


@dataclass(frozen=True)
class SenseScore:
    """One row of the table; shares between 0 and 1."""

    title: str
    cases: int
    things: int
    named: float
    nearest: float  # zero-shot top 1 among the sense's names
    shuffled: float  # named, the lens's weights in a random order
    chance: float  # always the most frequent answer
    ceiling: float  # named, from pictures of the same things
    ceiling_nearest: float


def measure_senses(host: Host, note: Callable[[str], Any]) -> list[SenseScore]:
    """A row for every sense that ships."""
    return [measure_sense(host, sense, note) for sense in senses().values()]


def measure_sense(host: Host, sense: Sense, note: Callable[[str], Any]) -> SenseScore:
    """Captions and zero-shot classification of a sense's held-out cases."""
    cases = sense.open_heldout(sense.shipped)
    seen = sense.pictures(sense.shipped) if sense.pictures else []
    lens = load_lens(sense.lens_id)
    labels = sorted({case.label for case in cases})
    host.plug(lens)
    named, nearest = _named(host, sense.modality, cases), _nearest(host, sense.modality, cases, labels)
    host.plug(shuffled(lens))
    mixed_up = _named(host, sense.modality, cases)
    host.unplug(sense.modality)
    score = SenseScore(
        sense.title,
        len(cases),
        len(labels),
        named,
        nearest,
        mixed_up,
        max(Counter(case.label for case in cases).values()) / len(cases),
        _named(host, "image", seen),
        _nearest(host, "image", seen, labels),
    )
    note(f"{score.title}: named {named:.0%}, nearest {nearest:.0%} of {len(cases)}; pictures {score.ceiling:.0%}")
    return score


def eeg_curve(host: Host, levels: Sequence[float], per_class: int, note: Callable[[str], Any]) -> list[tuple]:
    """(signal-to-noise ratio in dB, named, nearest) of simulated EEG trials."""
    from ..pocket.senses.eeg import SENSE, cases_at

    host.plug(load_lens(SENSE.lens_id))
    rows = []
    for level in levels:
        cases = cases_at(level, per_class)
        labels = sorted({case.label for case in cases})
        rows.append((level, _named(host, "eeg", cases), _nearest(host, "eeg", cases, labels)))
        note(f"EEG at {level:+g} dB: named {rows[-1][1]:.0%}, nearest {rows[-1][2]:.0%}")
    host.unplug("eeg")
    return rows


def audio_by_recording(host: Host, note: Callable[[str], Any]) -> str:
    """Zero-shot top 1 of sounds, later moments of recordings in training and other recordings apart; Markdown."""
    from ..pocket.senses.audio import SENSE, open_heldout

    labels = sorted({case.label for case in open_heldout(SENSE.shipped)})
    host.plug(load_lens(SENSE.lens_id))
    lines = ["| sounds | cases | nearest of the names |", "| --- | --- | --- |"]
    for same, name in ((True, "later moments of recordings in training"), (False, "recordings that were not")):
        cases = open_heldout(SENSE.shipped, same)
        lines.append(f"| {name} | {len(cases)} | {_nearest(host, 'audio', cases, labels):.0%} |")
        note(lines[-1])
    host.unplug("audio")
    return "\n".join(lines)


def _inputs(host: Host, modality: str, cases: Sequence[Case]) -> list[Any]:
    """Read as the plugged lens wants them, whatever their file ending says."""
    if modality == "image":
        return [host.read(case.source) for case in cases]
    settings = host.lenses[modality].config.input
    return [read(case.source, modality, settings) for case in cases]


def _named(host: Host, modality: str, cases: Sequence[Case]) -> float:
    if not cases:
        return float("nan")
    replies = ask(host, [[source] for source in _inputs(host, modality, cases)])
    return float(np.mean([names_word(reply, (case.label, *case.words)) for reply, case in zip(replies, cases)]))


def _nearest(host: Host, modality: str, cases: Sequence[Case], labels: Sequence[str]) -> float:
    if not cases:
        return float("nan")
    answers = host.classify(_inputs(host, modality, cases), list(labels))
    return float(np.mean([answer[0]["label"] == case.label for answer, case in zip(answers, cases)]))


def table(scores: Sequence[SenseScore]) -> str:
    """Markdown."""
    head = (
        "| sense | cases | named in the caption | of the picture ceiling | shuffled lens | chance "
        "| nearest of the names | pictures: named | pictures: nearest |"
    )
    lines = [head, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for score in scores:
        part = f"{score.named / score.ceiling:.0%}" if score.ceiling > 0 else "-"
        values = (score.named, score.shuffled, score.chance, score.nearest, score.ceiling, score.ceiling_nearest)
        named, mixed_up, chance, nearest, ceiling, ceiling_nearest = ("-" if v != v else f"{v:.0%}" for v in values)
        lines.append(
            f"| {score.title} | {score.cases} of {score.things} things | {named} | {part} | {mixed_up} | {chance} "
            f"| {nearest} | {ceiling} | {ceiling_nearest} |"
        )
    return "\n".join(lines)
