"""Finding things in rooms: how often the thing meant is first, among five, or near what is first.

A folder holds scans and ``queries.jsonl``, one query a line: {"scene": a file or folder that `read_scene` reads,
"query": "text:a toilet" or a file, "modality": of the query, "answers": [instance ids], "label": what is meant}.
`lens_plugins.bench.rooms.write_rooms` makes such a folder of the held-out objects that ship.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..catalog import modalities
from ..errors import InputError, Unsupported
from ..files.json_lines import cut_lines
from ..files.jsons import parse_json
from ..files.opening import brief, local_path, read_bytes
from ..hosts.messages import Text
from ..scene.data import Instance
from ..scene.ranking import DEFAULT_COMBINATION, SceneVectors, embed_scene
from ..scene.reading import read_scene

if TYPE_CHECKING:
    from ..hosts.base import Host

__all__ = ["Outcome", "Query", "SceneResult", "SceneWork", "embed_scenes", "evaluate_scenes", "read_queries"]

NEAR = 1.0  # metres
_FIELDS = ("scene", "query", "modality", "answers")
_BATCH = 16


@dataclass(frozen=True)
class Query:
    """One line of ``queries.jsonl``."""

    scene: str
    query: str
    modality: str  # or "text"
    answers: tuple[int, ...]
    label: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one query.

    `rank` is that of the best right instance, `among` how many are ranked, `right` how many of these are right, and
    `near` whether the first lies within `NEAR` of a right one, None where the scene has no places; `near_chance` is the
    share of instances that do.
    """

    query: Query
    rank: int
    among: int
    right: int
    near: bool | None = None
    near_chance: float = math.nan


@dataclass(frozen=True)
class SceneResult:
    """Figures by the queries' modality."""

    host: str
    combine: str
    outcomes: Sequence[Outcome]
    scenes: int
    expected: int
    missed: Sequence[str] = ()

    def figures(self, modality: str | None = None) -> dict[str, float]:
        """R@1, R@5, near (percent), the median rank, and chance of each; of one modality or of all queries."""
        own = [each for each in self.outcomes if modality in (None, each.query.modality)]
        placed = [each for each in own if each.near is not None]
        return {
            "queries": len(own),
            "R@1": _percent([each.rank <= 1 for each in own]),
            "R@1 chance": _percent([_drawn(each, 1) for each in own]),
            "R@5": _percent([each.rank <= 5 for each in own]),
            "R@5 chance": _percent([_drawn(each, 5) for each in own]),
            "median rank": float(median([each.rank for each in own])) if own else math.nan,
            "median rank chance": float(median([_median_rank(each) for each in own])) if own else math.nan,
            "within 1 m": _percent([bool(each.near) for each in placed]),
            "within 1 m chance": _percent([each.near_chance for each in placed]),
        }

    @property
    def modalities(self) -> list[str]:
        """Of the queries, in the catalogue's order, texts first."""
        order = ["text", *modalities()]
        return sorted({each.query.modality for each in self.outcomes}, key=order.index)

    def text(self) -> str:
        """A Markdown table, a row for each modality; chance in brackets."""
        lines = [
            f"Finding things, {self.host}: {len(self.outcomes)} of {self.expected} queries in {self.scenes} scenes, "
            f"scores by {self.combine}; chance in brackets.",
            "",
            "| query | n | R@1 | R@5 | median rank | within 1 m |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for name in [*self.modalities, None]:
            found = self.figures(name)
            cells = [
                f"{found[key]:.1f} ({found[f'{key} chance']:.1f})" if not math.isnan(found[key]) else "–"
                for key in ("R@1", "R@5", "median rank", "within 1 m")
            ]
            lines.append(f"| {name or 'all'} | {found['queries']:.0f} | {' | '.join(cells)} |")
        if self.missed:
            lines += ["", f"{len(self.missed)} queries were left out; the first: {self.missed[0]}"]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what cannot be told is null."""

        def plain(figures: dict[str, float]) -> dict[str, float | None]:
            return {key: None if math.isnan(value) else round(value, 4) for key, value in figures.items()}

        return {
            "benchmark": "scene",
            "host": self.host,
            "combine": self.combine,
            "scenes": self.scenes,
            "used": len(self.outcomes),
            "expected": self.expected,
            "figures": {name: plain(self.figures(name)) for name in self.modalities} | {"all": plain(self.figures())},
            "missed": list(self.missed),
        }


@dataclass(frozen=True, eq=False)
class SceneWork:
    """Scenes and queries as vectors; scored in as many ways as one likes."""

    host: str
    scenes: Sequence[SceneVectors]
    asked: Sequence[tuple[int, Query, Tensor]]  # scene, query, its vector
    expected: int
    missed: Sequence[str] = field(default_factory=list)

    def score(self, combine: str = DEFAULT_COMBINATION) -> SceneResult:
        """Rank every query in its scene. A query none of whose answers has a vector of the kind is missed."""
        outcomes, missed = [], list(self.missed)
        for place, query, vector in self.asked:
            outcome = _outcome(self.scenes[place], query, vector, combine)
            if outcome is None:
                missed.append(f"{query.query} in {query.scene}: none of its answers has {combine} to compare.")
            else:
                outcomes.append(outcome)
        return SceneResult(self.host, combine, outcomes, len(self.scenes), self.expected, missed)


def evaluate_scenes(
    host: Host,
    data: str | os.PathLike[str],
    *,
    combine: str = DEFAULT_COMBINATION,
    space: str | None = None,
    note: Callable[[str], Any] | None = None,
    **reading: Any,
) -> SceneResult:
    """Score a host on a folder of scans and queries.

    Args:
        host: one that embeds, the lenses of the queries and of point clouds plugged.
        data: a folder with ``queries.jsonl``.
        combine: as in `SceneVectors.scores`.
        space: as in `host.embed`.
        note: is told of the progress.
        reading: as `read_scene` takes it: crops, up, unit and so on.

    Raises:
        InputError: the list of queries or a scan cannot be read, or no query can be asked.
    """
    return embed_scenes(host, data, space=space, note=note, **reading).score(combine)


def embed_scenes(
    host: Host,
    data: str | os.PathLike[str],
    *,
    space: str | None = None,
    note: Callable[[str], Any] | None = None,
    **reading: Any,
) -> SceneWork:
    """What of `evaluate_scenes` takes long; arguments and errors as there. Queries that cannot be read are missed."""
    folder = local_path(data)
    queries = read_queries(folder)
    names = list(dict.fromkeys(query.scene for query in queries))
    scenes = []
    for place, name in enumerate(names, start=1):
        if note is not None:
            note(f"scene {place} of {len(names)}: {name}")
        scenes.append(embed_scene(host, read_scene(folder / name, **reading), space=space))
    vectors: dict[tuple[str, str], Tensor] = {}
    missed: list[str] = []
    asked = list(dict.fromkeys((query.modality, query.query) for query in queries))
    for start in range(0, len(asked), _BATCH):
        if note is not None:
            note(f"queries {start + 1} to {min(start + _BATCH, len(asked))} of {len(asked)}")
        vectors |= _embed(host, folder, asked[start : start + _BATCH], space, missed)
    if not vectors:
        raise InputError(f"{brief(folder)} has {len(queries)} queries, 0 of them can be asked; the first: {missed[0]}")
    found = [
        (names.index(query.scene), query, vectors[query.modality, query.query])
        for query in queries
        if (query.modality, query.query) in vectors
    ]
    return SceneWork(host.name, scenes, found, len(queries), missed)


def read_queries(folder: Path) -> list[Query]:
    """The lines of ``queries.jsonl``.

    Raises:
        InputError: absent, empty, or a line that is no query.
    """
    path = folder / "queries.jsonl"
    lines = cut_lines(read_bytes(path))
    if not lines:
        raise InputError(f"{brief(path)} holds 0 queries; each line is one JSON object.")
    return [_query(parse_json(line, f"{brief(path)}, line {n}", error=InputError), path, n) for n, line in lines]


def _query(raw: Any, path: Path, number: int) -> Query:
    where = f"{brief(path)}, line {number}"
    absent = [name for name in _FIELDS if not isinstance(raw, dict) or name not in raw]
    if absent:
        raise InputError(f"{where} has no {absent[0]}; a query has {', '.join(_FIELDS)}.")
    known = ("text", *modalities())
    answers = raw["answers"]
    if raw["modality"] not in known or not isinstance(raw["scene"], str) or not isinstance(raw["query"], str):
        raise InputError(f"{where}: scene and query must be texts and modality one of {', '.join(known)}.")
    if not isinstance(answers, list) or not answers or not all(type(each) is int for each in answers):
        raise InputError(f"{where}: answers is {str(answers)[:40]}; it must be a list of instance ids, at least one.")
    if raw["modality"] == "text" and not raw["query"].startswith("text:"):
        raise InputError(f"{where}: the text {raw['query'][:40]!r} must begin with text:")
    return Query(raw["scene"], raw["query"], raw["modality"], tuple(answers), str(raw.get("label", "")))


def _embed(
    host: Host, folder: Path, asked: Sequence[tuple[str, str]], space: str | None, missed: list[str]
) -> dict[tuple[str, str], Tensor]:
    """The vectors of queries that can be read; the others are told."""
    found, sources = [], []
    for modality, query in asked:
        try:
            text = Text.of(query) if modality == "text" else None
            sources.append(text or host.read(folder / query, modality))
            found.append((modality, query))
        except (InputError, Unsupported) as error:
            missed.append(f"{query}: {error}")
    if not found:
        return {}
    return dict(zip(found, host.embed(sources, space)))


def _outcome(scene: SceneVectors, query: Query, vector: Tensor, combine: str) -> Outcome | None:
    ranking = scene.rank(vector, combine) if not scene.scores(vector, combine).isnan().all() else []
    right = [each for each in ranking if each.instance.id in query.answers]
    if not right:
        return None
    near = [_is_near(each.instance, [other.instance for other in right]) for each in ranking]
    placed = [each for each in near if each is not None]
    share = sum(placed) / len(placed) if placed else math.nan
    return Outcome(query, right[0].rank, len(ranking), len(right), near[0], share)


def _is_near(instance: Instance, right: Sequence[Instance]) -> bool | None:
    """Whether its centre lies within `NEAR` of that of a right one; None where it, or all of them, have no place."""
    centre = instance.centre
    others = [place for each in right if (place := each.centre) is not None]
    if centre is None or not others:
        return None
    return bool(min(np.linalg.norm(centre - other) for other in others) <= NEAR)


def _drawn(outcome: Outcome, k: int) -> float:
    """The chance that `k` drawn at random hold a right one."""
    wrong = outcome.among - outcome.right
    return 1 - math.comb(wrong, k) / math.comb(outcome.among, k) if k <= outcome.among else 1.0


def _median_rank(outcome: Outcome) -> float:
    """The median rank of the best right one in a random order: where the chance reaches a half."""
    return next(k for k in range(1, outcome.among + 1) if _drawn(outcome, k) >= 0.5)


def _percent(values: Sequence[float]) -> float:
    return 100 * sum(values) / len(values) if values else math.nan
