"""How often a host names what it is given: held-out objects, the cases of the other senses, two inputs at once.

A caption counts when it holds the thing's name or one of its listed other words. Pictures are the ceiling: whatever
the host cannot name from a picture, no lens can make it name. Beside each figure stand a shuffled lens and chance.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..hosts.base import Host
from ..hosts.messages import Reply, Request
from ..inputs import read
from ..lens.lens import Lens
from ..lens.loading import load_lens
from ..splice.fusion import PLACES
from .heldout import Case, HeldOut, Sense, find_sense, open_trials

__all__ = [
    "BATCH",
    "Mixed",
    "Score",
    "SenseScore",
    "ask",
    "audio_by_recording",
    "different_pairs",
    "eeg_curve",
    "measure_mixed",
    "measure_objects",
    "measure_sense",
    "shuffled",
]

BATCH = 24
QUESTION = "What is it?"
QUESTION_OF_TWO = "What are these?"
Note = Callable[[str], Any]


@dataclass(frozen=True)
class Score:
    """How many of the asked cases were named."""

    name: str
    right: int
    asked: int

    @property
    def share(self) -> float:
        return self.right / self.asked


@dataclass(frozen=True)
class SenseScore:
    """One sense; shares between 0 and 1."""

    title: str
    cases: int
    things: int
    named: float
    nearest: float  # zero-shot top 1 among the sense's names
    shuffled: float  # named, the lens's weights in a random order
    chance: float  # always the most frequent answer
    ceiling: float  # named, from pictures of the same things
    ceiling_nearest: float


@dataclass(frozen=True)
class Mixed:
    """A cloud and a picture that meet at one place; shares between 0 and 1 of the same pairs."""

    place: str
    both: float
    first: float
    second: float


def ask(
    host: Host, inputs: Sequence[Sequence[Any]], prompt: str | None = None, place: str | None = None
) -> list[Reply]:
    """Short greedy answers about each list of inputs, in batches."""
    requests = [Request(some, prompt, fuse=place) for some in inputs]
    return host.generate_batch(requests, batch_size=BATCH, num_beams=1, max_new_tokens=16)


# ---- objects


def measure_objects(host: Host, lens: Lens, objects: Sequence[HeldOut], note: Note) -> list[Score]:
    """Pictures, clouds as they are and as they come from elsewhere, a shuffled lens, no lens, chance, in this order."""
    pictures = [o.case(p) for o in objects for p in o.pictures]
    scores = [_score(host, "pictures (ceiling)", pictures, note)]
    host.plug(lens)
    cases = {
        name: [o.case(read(change(o.cloud), "point_cloud", lens.config.input)) for o in objects]
        for name, change in _CLOUDS.items()
    }
    scores += [_score(host, name, clouds, note) for name, clouds in cases.items()]
    clouds = cases["point clouds"]
    scores.append(_score(host, f"pictures, asked “{QUESTION}”", pictures, note, QUESTION))
    scores.append(_score(host, f"point clouds, asked “{QUESTION}”", clouds, note, QUESTION))
    host.plug(shuffled(lens))
    scores.append(_score(host, "point clouds, shuffled lens", clouds, note))
    host.plug(_Blank(lens))
    scores.append(_score(host, "point clouds, no lens", clouds, note))
    host.unplug("point_cloud")
    label, count = Counter(o.label for o in objects).most_common(1)[0]
    return [*scores, Score(f"always the most frequent class ({label})", count, len(objects))]


def _score(host: Host, name: str, cases: Sequence[Case], note: Note, prompt: str | None = None) -> Score:
    replies = ask(host, [[case.source] for case in cases], prompt)
    right = sum(case.named_in(reply) for reply, case in zip(replies, cases))
    note(f"{name}: {right} of {len(cases)}")
    return Score(name, right, len(cases))


def _turned(cloud: Tensor, degrees: float) -> Tensor:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return cloud @ torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]).T


def _z_up(cloud: Tensor) -> Tensor:
    return torch.stack([cloud[:, 0], -cloud[:, 2], cloud[:, 1]], 1)


def _one_side(cloud: Tensor) -> Tensor:
    """Without the third that is farthest along one level direction, and with noise: as a scan leaves it."""
    g = torch.Generator().manual_seed(0)
    kept = cloud[cloud[:, 2].argsort()[: len(cloud) * 2 // 3]]
    return kept + torch.randn(kept.shape, generator=g) * 0.01


_CLOUDS: dict[str, Callable[[Tensor], Tensor]] = {
    "point clouds": lambda cloud: cloud,
    "point clouds, turned by 60 degrees": lambda cloud: _turned(cloud, 60),
    "point clouds, z up": _z_up,
    "point clouds, a third missing, noise": _one_side,
    "point clouds, 1,000 points": lambda cloud: cloud[:1000],
}


def shuffled(lens: Lens) -> Lens:
    """The same lens with the entries of every weight tensor in a random order."""
    mixed_up = Lens(lens.config).eval().requires_grad_(False)
    g = torch.Generator().manual_seed(0)
    state = {
        name: tensor.flatten()[torch.randperm(tensor.numel(), generator=g)].view_as(tensor)
        for name, tensor in lens.state_dict().items()
    }
    mixed_up.load_state_dict(state)
    return mixed_up


class _Blank(Lens):
    """Writes the same latents whatever it is given: what the host says when it learns nothing of the input."""

    def __init__(self, lens: Lens) -> None:
        super().__init__(lens.config)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:  # (B, ...) -> (B, N, D)
        return self.resampler.get_parameter("latents").expand(len(x), -1, -1)


# ---- the other senses


def measure_sense(host: Host, sense: Sense, note: Note) -> SenseScore:
    """Does the caption name a sense's held-out cases, and is the right name the nearest of all in the text space?"""
    cases, pictures = sense.cases(), sense.pictures()
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
        _named(host, "image", pictures),
        _nearest(host, "image", pictures, labels),
    )
    note(f"{score.title}: named {named:.0%}, nearest {nearest:.0%} of {len(cases)}; pictures {score.ceiling:.0%}")
    return score


def eeg_curve(host: Host, levels: Iterable[float], per_class: int, note: Note) -> list[tuple[float, float, float]]:
    """(signal-to-noise ratio in dB, named, nearest) of simulated EEG trials."""
    host.plug(load_lens(find_sense("eeg").lens_id))
    rows = []
    for level in levels:
        cases = open_trials(level, per_class)
        labels = sorted({case.label for case in cases})
        rows.append((level, _named(host, "eeg", cases), _nearest(host, "eeg", cases, labels)))
        note(f"EEG at {level:+g} dB: named {rows[-1][1]:.0%}, nearest {rows[-1][2]:.0%}")
    host.unplug("eeg")
    return rows


def audio_by_recording(host: Host, note: Note) -> list[tuple[str, int, float]]:
    """(what, cases, nearest) of later moments of recordings in training, and of other recordings."""
    sense = find_sense("audio")
    cases = sense.cases()
    labels = sorted({case.label for case in cases})
    host.plug(load_lens(sense.lens_id))
    rows = []
    for same, name in ((True, "later moments of recordings in training"), (False, "recordings that were not")):
        chosen = [case for case in cases if case.same_recording is same]
        rows.append((name, len(chosen), _nearest(host, "audio", chosen, labels)))
        note(f"{name}: nearest {rows[-1][2]:.0%} of {len(chosen)}")
    host.unplug("audio")
    return rows


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
    return float(np.mean([case.named_in(reply) for reply, case in zip(replies, cases)]))


def _nearest(host: Host, modality: str, cases: Sequence[Case], labels: Sequence[str]) -> float:
    if not cases:
        return float("nan")
    answers = host.classify(_inputs(host, modality, cases), list(labels))
    return float(np.mean([answer[0]["label"] == case.label for answer, case in zip(answers, cases)]))


# ---- two inputs


def measure_mixed(host: Host, objects: Sequence[HeldOut], pairs: int, note: Note) -> list[Mixed]:
    """A held-out object's cloud and another's picture, each alone and together; the point cloud lens is plugged.

    The first row is of every object asked alone. The others are of pairs of different classes, drawn with a fixed seed,
    of which the host names each when asked about it alone: what is lost there is lost by asking together.
    """
    settings = host.lenses["point_cloud"].config.input
    clouds = {one.object: one.case(read(one.cloud, "point_cloud", settings)) for one in objects}
    pictures = {one.object: one.case(one.pictures[0]) for one in objects}
    first, second = (_names(host, [[case] for case in cases.values()])[:, 0] for cases in (clouds, pictures))
    rows = [Mixed("any object, each asked alone", first.mean() * second.mean(), first.mean(), second.mean())]
    by_cloud, by_picture = ([one for one, right in zip(objects, some) if right] for some in (first, second))
    drawn = different_pairs(by_cloud, by_picture, pairs, seed=5)
    note(f"{len(drawn)} pairs of which each is named alone")
    cases = [[clouds[one.object], pictures[other.object]] for one, other in drawn]
    for place in PLACES if drawn else ():
        found = _names(host, cases, place)
        rows.append(Mixed(f"`--fuse {place}`", found.all(1).mean(), *found.mean(0)))
        note(f"{place}: both named in {rows[-1].both:.0%} of {len(drawn)} pairs")
    return rows


def different_pairs(
    ones: Sequence[HeldOut], others: Sequence[HeldOut], count: int, seed: int
) -> list[tuple[HeldOut, HeldOut]]:
    """Up to `count` random pairs of different classes, one of each list, no pair twice; the same ones for a seed."""
    known = [(one, other) for one in ones for other in others if one.label != other.label]
    return [known[i] for i in np.random.default_rng(seed).permutation(len(known))[:count]]


def _names(host: Host, cases: Sequence[Sequence[Case]], place: str | None = None) -> np.ndarray:
    """(pairs, cases) bool: which of the things the answers name."""
    inputs = [[case.source for case in some] for some in cases]
    replies = ask(host, inputs, None if place is None else QUESTION_OF_TWO, place)
    return np.array([[case.named_in(reply) for case in some] for reply, some in zip(replies, cases)])
