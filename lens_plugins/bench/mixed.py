"""Two inputs of different things in one question: how often the answer names both, by the place where they meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..hosts.base import Host
from ..inputs import read
from ..pocket.heldout import HeldOut, different_pairs, names_class
from ..splice.fusion import PLACES
from .pocket import ask

__all__ = ["Mixed", "measure_mixed", "table"]

PROMPT = "What are these?"


@dataclass(frozen=True)
class Mixed:
    """One row; shares between 0 and 1 of the same pairs."""

    place: str
    both: float
    first: float
    second: float


def measure_mixed(host: Host, objects: Sequence[HeldOut], pairs: int, note: Callable[[str], Any]) -> list[Mixed]:
    """A held-out object's cloud and another's picture, each alone and together; the point cloud lens is plugged.

    The first row is of every object asked alone. The others are of pairs of different classes, drawn with a fixed seed,
    of which the host names each when asked about it alone: what is lost there is lost by asking together.
    """
    settings = host.lenses["point_cloud"].config.input
    clouds = {one.object: read(one.cloud, "point_cloud", settings) for one in objects}
    labels = [[one.label] for one in objects]
    first = _names(host, [[clouds[one.object]] for one in objects], labels, None)[:, 0]
    second = _names(host, [[one.pictures[0]] for one in objects], labels, None)[:, 0]
    rows = [Mixed("any object, each asked alone", first.mean() * second.mean(), first.mean(), second.mean())]
    named = [[one for one, right in zip(objects, some) if right] for some in (first, second)]
    drawn = different_pairs(*named, pairs, seed=5)
    note(f"{len(drawn)} pairs of which each is named alone")
    inputs = [[clouds[one.object], other.pictures[0]] for one, other in drawn]
    wanted = [(one.label, other.label) for one, other in drawn]
    for place in PLACES if drawn else ():
        found = _names(host, inputs, wanted, place)
        rows.append(Mixed(f"`--fuse {place}`", found.all(1).mean(), *found.mean(0)))
        note(f"{place}: both named in {rows[-1].both:.0%} of {len(drawn)} pairs")
    return rows


def _names(host: Host, inputs: Sequence[list], labels: Sequence[Sequence[str]], place: str | None) -> np.ndarray:
    """(pairs, labels) bool: which labels the answers name."""
    replies = ask(host, inputs, None if place is None else PROMPT, place)
    return np.array([[names_class(reply, label) for label in some] for reply, some in zip(replies, labels)])


def table(rows: Sequence[Mixed]) -> str:
    """Markdown."""
    lines = ["| a cloud and a picture | both named | the cloud's thing | the picture's thing |"]
    lines.append("| --- | --- | --- | --- |")
    lines += [f"| {row.place} | {row.both:.0%} | {row.first:.0%} | {row.second:.0%} |" for row in rows]
    return "\n".join(lines)
