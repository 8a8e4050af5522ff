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
    """A held-out object's cloud and another's picture, together and each alone; the point cloud lens is plugged.

    Pairs are drawn with a fixed seed among objects of different classes.
    """
    drawn = different_pairs(objects, pairs, seed=5)
    inputs = [_inputs(host, pair) for pair in drawn]
    labels = [(one.label, other.label) for one, other in drawn]
    alone = [_names(host, [[pair[i]] for pair in inputs], [pair[i : i + 1] for pair in labels], None) for i in (0, 1)]
    first, second = alone[0][:, 0], alone[1][:, 0]
    rows = [Mixed("each asked alone", (first & second).mean(), first.mean(), second.mean())]
    for place in PLACES:
        named = _names(host, inputs, labels, place)
        rows.append(Mixed(f"`--fuse {place}`", named.all(1).mean(), *named.mean(0)))
        note(f"{place}: both named in {rows[-1].both:.0%} of {pairs} pairs")
    return rows


def _inputs(host: Host, pair: tuple[HeldOut, HeldOut]) -> list[Any]:
    settings = host.lenses["point_cloud"].config.input
    return [read(pair[0].cloud, "point_cloud", settings), pair[1].pictures[0]]


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
