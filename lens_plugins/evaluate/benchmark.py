"""What a benchmark says of itself: its rows, classes, templates, metric and published figures. Plain data, no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from ..inputs.base import Source
    from ..inputs.settings import InputSettings

__all__ = ["Benchmark", "Figures", "Folders", "Metric", "Published", "Row", "Task", "as_it_is"]


@dataclass(frozen=True)
class Row:
    """One thing to embed, and what is right.

    Attributes:
        name: what reports call it: a path below the data folder, or an id.
        source: a file or an array; or a function that reads it, called in another thread.
        target: of a class, its number; of several, a tuple of them; of captions, the row's own number.
        facts: what `Benchmark.reading` needs to know of this row alone.
        modality: where the rows of one benchmark differ; None: the benchmark's.
    """

    name: str
    source: Source | Callable[[], Source]
    target: Any
    facts: Mapping[str, Any] = field(default_factory=dict)
    modality: str | None = None


@dataclass(frozen=True)
class Folders:
    """Where a benchmark's files are.

    Args:
        data: the data set's own root, or for `pairs` the manifest.
        meta: lists and labels that lie elsewhere: a checkout of ViT-Lens, or its folder of metadata.
    """

    data: Path
    meta: Path | None = None

    def find(self, *names: str, below: str = "") -> Path:
        """The first of some files that is there, by a path below the data folder or among the metadata.

        Args:
            names: of one file, best first.
            below: where a checkout of ViT-Lens has them, under ``vitlens/src/open_clip``.

        Raises:
            InputError: none is there; names the folders that were searched.
        """
        roots = [self.data]
        if self.meta is not None:
            checkout = self.meta / "vitlens" / "src" / "open_clip"
            roots += [self.meta, self.meta / below, checkout / below]
        found = next((root / name for name in names for root in roots if (root / name).is_file()), None)
        if found is None:
            told = " or ".join(names)
            where = " and ".join(dict.fromkeys(map(str, roots)))
            hint = "" if self.meta or not below else " Give the folder of ViT-Lens's metadata with --meta."
            raise InputError(f"There is no {told} in {where}; the benchmark reads its rows or labels from it.{hint}")
        return found


Figures = Mapping[str, float]  # by the metric's name; percent


@dataclass(frozen=True)
class Published:
    """Figures that somebody reports, and of which model."""

    model: str
    figures: Figures
    checkpoint: str = ""  # released file that reaches them; "" where none is public


class Metric(Protocol):
    """How scores become figures."""

    def __call__(self, vectors: Tensor, texts: Tensor, targets: Sequence[Any]) -> dict[str, float]:
        """(N, E) unit vectors of the rows and (L, E) of what is compared with them -> percents by name."""

    def chance(self, texts: int, targets: Sequence[Any]) -> dict[str, float]:
        """What guessing reaches, by the same names."""


def _whole(target: Any) -> Any:
    return target


@dataclass(frozen=True)
class Task:
    """What rows are compared with, and how that is scored.

    Attributes:
        names: classes, or all captions.
        templates: each name fills every one of them, and its vector is the mean of theirs.
        metric: of the benchmark.
        target: what is right, taken from `Row.target`; None leaves the row out of this task.
    """

    names: Sequence[str]
    templates: Sequence[str]
    metric: Metric
    target: Callable[[Any], Any] = _whole


def as_it_is(settings: InputSettings, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Inputs are read as the lens was trained."""
    return {}


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: as on the command line.
        title: as in tables.
        modality: of its rows.
        rows: in a fixed order; files that are not there are rows too, and counted as missed.
        tasks: classes or captions, once the rows are known; nearly always one.
        reading: settings of the modality that the protocol asks for, given the lens's own and a row's facts.
        expected: how many rows the published figure counts; None where nobody states it.
        departs: how its protocol differs from the published figure's, as a sentence; "" where it does not.
        published: the figure of the released lens first.
        notes: what must be said beside any figure.
    """

    name: str
    title: str
    modality: str
    rows: Callable[[Folders], Sequence[Row]]
    tasks: Callable[[Folders, Sequence[Row]], Sequence[Task]]
    reading: Callable[[InputSettings, Mapping[str, Any]], Mapping[str, Any]] = as_it_is
    expected: int | None = None
    departs: str = ""
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()
