"""How often the pocket host names held-out objects, beside its ceiling, its chance and a ready alternative.

``lens-plugins bench pocket``: every object was modelled by people, and no stage of training saw it. A caption counts
when it holds the class's name or one of its listed other words. Pictures are the ceiling: whatever the host cannot
name from a picture, no lens can make it name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..hosts.base import Host
from ..hosts.loading import load_host
from ..hosts.messages import Reply, Request
from ..inputs import read
from ..lens.lens import Lens
from ..lens.loading import load_lens
from ..pocket.heldout import HeldOut, names_class, open_heldout
from .lens import hardware

__all__ = ["BATCH", "Score", "ask", "describe_folder", "measure", "run", "shuffled"]

BATCH = 24
QUESTION = "What is it?"
PAIRS = 50  # of a cloud and a picture
EEG_LEVELS = (-20, -15, -10, -5, 0, 5)  # dB
EEG_PER_CLASS = 5
GENERATION = {"num_beams": 1, "max_new_tokens": 16}


@dataclass(frozen=True)
class Score:
    """One row of the table."""

    name: str
    right: int
    asked: int

    @property
    def share(self) -> float:
        return self.right / self.asked


def measure(host: Host, lens: Lens, objects: Sequence[HeldOut], note: Callable[[str], None]) -> list[Score]:
    """All rows: pictures, clouds as they are and as they come from elsewhere, a shuffled lens, no lens, chance."""
    pictures = [(p, o.label) for o in objects for p in o.pictures]
    scores = [_score(host, "pictures (ceiling)", pictures, note)]
    host.plug(lens)
    cases = {
        name: [(read(change(o.cloud), "point_cloud", lens.config.input), o.label) for o in objects]
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


def _turned(cloud: Tensor, degrees: float) -> Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    rows = [[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]]
    return cloud @ torch.tensor([[float(v) for v in row] for row in rows]).T


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
    shuffled = Lens(lens.config).eval().requires_grad_(False)
    g = torch.Generator().manual_seed(0)
    state = {
        name: tensor.flatten()[torch.randperm(tensor.numel(), generator=g)].view_as(tensor)
        for name, tensor in lens.state_dict().items()
    }
    shuffled.load_state_dict(state)
    return shuffled


class _Blank(Lens):
    """Writes the same latents whatever it is given: what the host says when it learns nothing of the input."""

    def __init__(self, lens: Lens) -> None:
        super().__init__(lens.config)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.resampler.latents.expand(len(x), -1, -1)


def _score(
    host: Host, name: str, cases: Iterable[tuple[Any, str]], note: Callable[[str], None], prompt: str | None = None
) -> Score:
    inputs, labels = zip(*cases)
    replies = ask(host, [[x] for x in inputs], prompt)
    right = sum(names_class(reply, label) for reply, label in zip(replies, labels))
    note(f"{name}: {right} of {len(labels)}")
    return Score(name, right, len(labels))


def ask(
    host: Host, inputs: Sequence[Sequence[Any]], prompt: str | None = None, place: str | None = None
) -> list[Reply]:
    """Short greedy answers about each list of inputs, in batches."""
    requests = [Request(some, prompt, fuse=place) for some in inputs]
    return host.generate_batch(requests, batch_size=BATCH, **GENERATION)


def _silent(line: str) -> None:
    """Where nobody wants to follow."""


def describe_folder(host: Host, folder: Path) -> list[tuple[str, str]]:
    """What the host says of every point cloud and mesh in a folder: (file name, caption).

    Raises:
        InputError: there is none.
    """
    from ..catalog import find_modality

    endings = find_modality("point_cloud").suffixes
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)
    if not files:
        raise InputError(f"{folder} holds no point cloud: no file ends in {', '.join(endings)}.")
    return [(path.name, str(host.generate(path, **GENERATION))) for path in files]


def run(
    host: str = "pocket-instructblip",
    lens: str = "pocket-point-cloud",
    *,
    clouds: Path | None = None,
    everything: bool = False,
    chart: Path | None = None,
    note: Callable[[str], Any] = _silent,
) -> str:
    """Measure; returns the tables, and what the host says of the clouds in a folder where one is given.

    Args:
        host: which host answers.
        lens: which point cloud lens.
        clouds: a folder whose clouds are captioned as well.
        everything: the other senses and mixed inputs too.
        chart: where to draw accuracy by modality; needs `everything`.
        note: called with a line whenever a row is done.
    """
    loaded, plugged = load_host(host), load_lens(lens)
    objects = open_heldout()
    scores = measure(loaded, plugged, objects, note)
    classes = len({o.label for o in objects})
    lines = [f"{len(objects)} held-out objects of {classes} classes; {hardware()}", "", *_table(scores)]
    loaded.plug(plugged)
    if everything:
        lines += ["", *_everything(loaded, scores, objects, chart, note)]
    if clouds is not None:
        lines += ["", "| file | what the host says |", "| --- | --- |"]
        lines += [f"| {name} | {caption} |" for name, caption in describe_folder(loaded, clouds)]
    return "\n".join(lines)


def _table(scores: Sequence[Score]) -> list[str]:
    ceiling = scores[0].share
    lines = ["| asked about | names the class | of the ceiling |", "| --- | --- | --- |"]
    for score in scores:
        part = f"{score.share / ceiling:.0%}" if ceiling else "-"
        lines.append(f"| {score.name} | {score.share:.1%} ({score.right} of {score.asked}) | {part} |")
    return lines


def _everything(
    host: Host, scores: Sequence[Score], objects: Sequence[HeldOut], chart: Path | None, note: Callable[[str], Any]
) -> list[str]:
    """The other senses, the curve over EEG's noise, mixed inputs; and the chart where one is asked for."""
    from . import mixed, senses
    from .chart import Bar, draw

    rows = mixed.measure_mixed(host, objects, PAIRS, note)
    found = senses.measure_senses(host, note)
    sounds = senses.audio_by_recording(host, note)
    curve = senses.eeg_curve(host, EEG_LEVELS, EEG_PER_CLASS, note)
    if chart is not None:
        clouds = Bar("point cloud", scores[1].share, scores[0].share, scores[-1].share)
        pictures = Bar("picture", scores[0].share, scores[0].share, scores[-1].share)
        draw([pictures, clouds, *(Bar(one.title, one.named, one.ceiling, one.chance) for one in found)], chart)
    lines = [
        senses.table(found),
        "",
        sounds,
        "",
        "| simulated EEG, signal to noise | named | nearest |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {level:+g} dB | {named:.0%} | {nearest:.0%} |" for level, named, nearest in curve]
    return [*lines, "", mixed.table(rows)]
