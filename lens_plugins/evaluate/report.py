"""What a run found, as a table, as JSON, and as a picture of what is taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from .._optional import require
from ..errors import InputError
from ..files.writing import replacing
from .benchmark import Benchmark, Figures, Published
from .features import Miss

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Confusion", "Result", "draw_confusion"]

_NEAR = 1.0  # percent points; clouds begin at a random point in the original, tenths of a point


@dataclass(frozen=True, eq=False)
class Confusion:
    """What is taken for what: counts (L, L), the right class down, the nearest across."""

    names: tuple[str, ...]
    counts: Tensor


@dataclass(frozen=True, eq=False)
class Result:
    """Figures of one run, in percent, beside the published ones.

    Attributes:
        benchmark: that was run.
        host: whose vectors they are.
        lens: file or name of the lens of the benchmark's modality; "" where the host has none.
        figures: by name.
        chance: what guessing reaches, by the same names.
        classes: or captions, that each input was compared with.
        used: inputs that the figures count.
        rows: inputs that the data set lists here.
        limit: as it was asked for.
        misses: inputs that could not be used.
        cached: vectors that came from the disk.
        seconds: of reading and computing.
        confusion: where rows have one class each.
        changed: what the caller put in place of the benchmark's own: "templates", "settings".
    """

    benchmark: Benchmark
    host: str
    lens: str
    figures: Figures
    chance: Figures
    classes: int
    used: int
    rows: int
    limit: int | None
    misses: Sequence[Miss]
    cached: int
    seconds: float
    confusion: Confusion | None = None
    changed: tuple[str, ...] = ()

    @property
    def expected(self) -> int:
        """Inputs that a complete run counts."""
        return self.benchmark.expected or self.rows

    @property
    def compared(self) -> Published | None:
        """The published model that ours stands beside: the one whose checkpoint the lens is, else the first."""
        every = self.benchmark.published
        stem = Path(self.lens).stem.lower() if self.lens else ""
        return next(
            (each for each in every if each.checkpoint and Path(each.checkpoint).stem.lower() == stem), None
        ) or (every[0] if every else None)

    @property
    def obstacles(self) -> list[str]:
        """Why the difference from the published figure says nothing, as sentences; empty where it does."""
        theirs, own = self.compared, self.benchmark
        if theirs is None:
            return ["No figure is published."]
        said = [own.departs] if own.departs else []
        if not self.lens or not theirs.checkpoint or _stem(theirs.checkpoint) != _stem(self.lens):
            said.append("The lens is not by name the published one.")
        said += [f"The run has {what} of its own." for what in self.changed]
        if own.expected is None:
            said.append("How many inputs the published figure counts is not stated.")
        elif self.used != own.expected:
            said.append(f"The published figure is of {own.expected} inputs, this one of {self.used}.")
        return said

    @property
    def reproduces(self) -> bool:
        """Whether the run is the published one as far as can be told, and every published figure is met.

        The lens is known by its file's name alone; figures are met within 1 percent point.
        """
        theirs = self.compared
        return theirs is not None and not self.obstacles and not self._missed_by(theirs.figures)

    def _missed_by(self, published: Figures) -> list[str]:
        """Published figures that ours is not near to, NaN included."""
        ours = {name: self.figures.get(name, float("nan")) for name in published}
        return [name for name, value in published.items() if not abs(ours[name] - value) <= _NEAR]

    def text(self) -> str:
        """The table, and what must be said beside it."""
        theirs = self.compared
        figures = theirs.figures if theirs else {}
        by = self.host if not self.lens else f"{self.host}, {Path(self.lens).name}"
        lines = [
            f"{self.benchmark.title}, {by}: {self.used} used of {self.expected} expected",
            "",
            f"{'':24}{'ours':>8}{'published':>11}{'difference':>12}{'chance':>9}",
        ]
        for name in self.figures:
            if name == "classes":
                continue
            apart = f"{self.figures[name] - figures[name]:+.1f}" if name in figures else "-"
            shown = f"{figures[name]:.1f}" if name in figures else "-"
            lines.append(
                f"{name:24}{self.figures[name]:>8.1f}{shown:>11}{apart:>12}{self.chance.get(name, float('nan')):>9.1f}"
            )
        return "\n".join([*lines, "", *self.remarks()])

    def remarks(self) -> list[str]:
        """Sentences: what is missing, how much it was, what the benchmark itself must have said."""
        said = []
        for kind, count in Counter(miss.kind for miss in self.misses).items():
            first = next(miss for miss in self.misses if miss.kind == kind)
            said.append(f"{count} {kind}; the first: {first.name}: {first.reason}")
        if "classes" in self.figures:
            said.append(f"{self.figures['classes']:.0f} of {self.classes} classes occur; the mean is over these.")
        limit = f" (--limit {self.limit})" if self.limit is not None else ""
        if self.used != self.expected:
            said.append(f"{self.used} of {self.expected} inputs{limit}: compare with care.")
        theirs = self.compared
        if theirs is not None:
            of = f"{theirs.model}, {theirs.checkpoint}" if theirs.checkpoint else f"{theirs.model}, not released"
            said.append(f"Published: {of}.")
            said += self._judged(theirs)
            others = [each for each in self.benchmark.published if each is not theirs]
            told = "; ".join(f"{o.model} " + ", ".join(f"{k} {v:.1f}" for k, v in o.figures.items()) for o in others)
            said += [f"Others: {told}."] if told else []
        return [*said, *self.benchmark.notes]

    def _judged(self, theirs: Published) -> list[str]:
        """What the difference is worth."""
        if self.obstacles:
            return [*self.obstacles, "So the difference reproduces nothing."]
        apart = self._missed_by(theirs.figures)
        told = f"{', '.join(apart)} not within {_NEAR:g} point of it" if apart else f"Within {_NEAR:g} point of it"
        return [f"{told}; the lens is known by its file's name alone."]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a figure of a published model stands beside ours with the difference."""
        published = [
            {
                "model": each.model,
                "checkpoint": each.checkpoint,
                "figures": dict(each.figures),
                "difference": {
                    name: self.figures[name] - value for name, value in each.figures.items() if name in self.figures
                },
            }
            for each in self.benchmark.published
        ]
        return {
            "benchmark": self.benchmark.name,
            "host": self.host,
            "lens": self.lens,
            "reproduces": self.reproduces,
            "obstacles": self.obstacles,
            "lens_plugins": __version__,
            "figures": dict(self.figures),
            "chance": dict(self.chance),
            "published": published,
            "used": self.used,
            "expected": self.expected,
            "rows": self.rows,
            "limit": self.limit,
            "classes": self.classes,
            "missed": [{"name": miss.name, "kind": miss.kind, "reason": miss.reason} for miss in self.misses],
            "cached": self.cached,
            "seconds": round(self.seconds, 3),
            "notes": self.remarks(),
        }


def _stem(name: str) -> str:
    return Path(name).stem.lower()


def draw_confusion(table: Confusion, file: Path) -> None:
    """Draw what is taken for what; the file's ending decides its format.

    Raises:
        MissingDependency: matplotlib is not installed (extra ``train``).
        InputError: the disk refuses.
    """
    require("matplotlib", extra="train", purpose="The confusion picture")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side = min(30.0, 2.5 + 0.3 * len(table.names))  # inches
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shares = table.counts / table.counts.sum(dim=1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(table.names)), table.names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(table.names)), table.names, fontsize=7)
    axes.set_xlabel("nearest")
    axes.set_ylabel("right")
    with replacing(file, error=InputError) as temporary:
        figure.savefig(temporary, dpi=150, format=file.suffix[1:].lower())  # the temporary's ending says nothing
