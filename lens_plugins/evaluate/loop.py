"""The one loop of all benchmarks: rows, texts, vectors, figures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ..errors import ConfigError, InputError
from ..files.opening import parsing
from ..hosts.base import Host
from ..hosts.vectors import FeatureCache
from ..inputs.settings import InputSettings
from .benchmark import Benchmark, Folders, Row, Task
from .checks import check_task, check_templates
from .features import Features, Note, embed_rows, embed_texts
from .metrics import CaptionRecall, TopK, confusion
from .names import find_benchmark
from .report import Confusion, Result

__all__ = ["Work", "evaluate", "lay_out", "score", "spread"]


T = TypeVar("T")


@dataclass(frozen=True)
class Work:
    """A benchmark with its lists read: what is left is to embed and to score.

    Attributes:
        benchmark: whose it is.
        rows: that are embedded.
        listed: how many rows the data set lists here.
        limit: as it was asked for.
        tasks: what the rows are compared with.
        own_templates: whether the caller's stand in place of the benchmark's.
    """

    benchmark: Benchmark
    rows: Sequence[Row]
    listed: int
    limit: int | None
    tasks: Sequence[Task]
    own_templates: bool = False

    @property
    def modalities(self) -> set[str]:
        """Of the rows: a host needs a lens for each."""
        return {row.modality or self.benchmark.modality for row in self.rows}


def lay_out(
    benchmark: str | Benchmark,
    data: str | os.PathLike[str],
    *,
    meta: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    templates: Sequence[str] | None = None,
) -> Work:
    """Read a benchmark's lists; arguments and errors as in `evaluate`. No host is needed."""
    chosen = find_benchmark(benchmark) if isinstance(benchmark, str) else benchmark
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}; it must be at least 1.")
    if templates is not None:
        check_templates(templates)
    folders = Folders(Path(data), None if meta is None else Path(meta))
    with parsing(str(data), f"data set for {chosen.title}", "its lists have other fields than those that are read"):
        every = list(chosen.rows(folders))
        if not every:
            raise InputError(f"{data} lists 0 inputs of {chosen.title}; at least 1 is needed.")
        rows = spread(every, limit)
        tasks = [_with(task, templates) for task in chosen.tasks(folders, rows)]
        for task in tasks:
            check_task(task, rows, str(data))
    return Work(chosen, rows, len(every), limit, tasks, own_templates=templates is not None)


def evaluate(
    host: Host,
    benchmark: str | Benchmark,
    data: str | os.PathLike[str],
    *,
    meta: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    settings: Mapping[str, Any] | None = None,
    templates: Sequence[str] | None = None,
    note: Note | None = None,
) -> Result:
    """Score a host on a benchmark.

    Files that cannot be read are counted by reason and left out of the figures.

    Args:
        host: any that embeds texts and the benchmark's modality, its lens plugged.
        benchmark: a name in `BENCHMARKS`, or one of your own.
        data: root folder of the data set; of `pairs`, the manifest.
        meta: folder of lists and labels, where they lie elsewhere.
        cache: folder in which vectors are kept; a run that was stopped goes on from there.
        limit: so many rows, spread evenly; None: all.
        batch_size: inputs that go through the host together.
        settings: how inputs are read, over what the benchmark says.
        templates: sentences that classes fill at ``{c}``, in place of the benchmark's own.
        note: is told of the progress: what goes on, how much is done, of how much.

    Raises:
        InputError: the data set's lists are not there or damaged, or no row can be read.
        Unsupported: the host has no text tower, or no lens of the modality.
        ConfigError: no such benchmark, `limit` or `batch_size` below 1, or a template without ``{c}``.
        Interrupted: by Ctrl-C.
    """
    work = lay_out(benchmark, data, meta=meta, limit=limit, templates=templates)
    return score(host, work, cache=cache, batch_size=batch_size, settings=settings, note=note)


def score(
    host: Host,
    work: Work,
    *,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int = 32,
    settings: Mapping[str, Any] | None = None,
    note: Note | None = None,
) -> Result:
    """Embed and score what `lay_out` has read; arguments and errors as in `evaluate`."""
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; it must be at least 1.")
    chosen, rows = work.benchmark, work.rows
    store = None if cache is None else FeatureCache(cache)

    def reading(own: InputSettings, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**chosen.reading(own, facts), **(settings or {})}

    with nullcontext() if store is None else closing(store):
        # Texts come first: a host without a text tower is refused before thousands of files are read.
        texts = [embed_texts(host, task.names, task.templates, cache=store, note=note) for task in work.tasks]
        found = embed_rows(
            host, rows, chosen.modality, reading, space="text", batch_size=batch_size, cache=store, note=note
        )
    if not found.kept:
        raise InputError(f"0 of {len(rows)} inputs of {chosen.title} can be used; the first: {found.misses[0].reason}")
    scored = [_scored(task, vectors, rows, found) for task, vectors in zip(work.tasks, texts)]
    return Result(
        benchmark=chosen,
        host=host.name,
        lens=str(getattr(host.lenses.get(chosen.modality), "source", None) or ""),
        figures={name: value for each in scored for name, value in each.figures.items()},
        chance={name: value for each in scored for name, value in each.chance.items()},
        classes=len(work.tasks[0].names),
        used=len(found.kept),
        rows=work.listed,
        limit=work.limit,
        misses=found.misses,
        cached=found.cached,
        seconds=found.seconds,
        confusion=next((each.confusion for each in scored if each.confusion is not None), None),
        changed=(("templates",) if work.own_templates else ()) + (("settings",) if settings else ()),
    )


def _with(task: Task, templates: Sequence[str] | None) -> Task:
    """A task of classes with other templates; captions stay as they are."""
    return task if templates is None or isinstance(task.metric, CaptionRecall) else replace(task, templates=templates)


@dataclass(frozen=True)
class _Scored:
    figures: Mapping[str, float]
    chance: Mapping[str, float]
    confusion: Confusion | None


def _scored(task: Task, texts: Tensor, rows: Sequence[Row], found: Features) -> _Scored:
    targets = {place: task.target(rows[number].target) for place, number in enumerate(found.kept)}
    places = [place for place, target in targets.items() if target is not None]
    vectors, right = found.vectors[places], [targets[place] for place in places]
    if not right:
        return _Scored({}, {}, None)
    mixed_up = None
    if isinstance(task.metric, TopK):
        mixed_up = Confusion(tuple(task.names), confusion(vectors, texts, right))
    return _Scored(task.metric(vectors, texts, right), task.metric.chance(len(task.names), right), mixed_up)


def spread(rows: Sequence[T], limit: int | None) -> list[T]:
    """So many rows at even distances, since lists are often in order of class."""
    if limit is None or limit >= len(rows):
        return list(rows)
    return [rows[number * len(rows) // limit] for number in range(limit)]
