"""Accuracy by modality against the picture ceiling and chance, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .._optional import require

__all__ = ["Bar", "draw"]


@dataclass(frozen=True)
class Bar:
    """One modality; shares between 0 and 1."""

    title: str
    named: float
    ceiling: float
    chance: float


def draw(bars: Sequence[Bar], file: Path) -> None:
    """Write the chart; the file's ending decides its format.

    Raises:
        MissingExtra: matplotlib is not installed (extra ``train``).
    """
    require("matplotlib", extra="train", purpose="The chart")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.4 * len(bars) + 2.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(len(bars))
    axes.bar(places, [100 * bar.named for bar in bars], width=0.6, color="#3b6ea5", label="named through the lens")
    for marks, colour, label in (
        ("ceiling", "#d1802f", "pictures of the same things"),
        ("chance", "#777777", "chance"),
    ):
        heights = [100 * getattr(bar, marks) for bar in bars]
        axes.hlines(heights, [p - 0.38 for p in places], [p + 0.38 for p in places], color=colour, lw=2.5, label=label)
    axes.set_xticks(list(places), [bar.title.replace(" (", "\n(") for bar in bars])
    axes.set_ylim(0, 100)
    axes.set_ylabel("% of held-out cases")
    axes.legend(frameon=False, loc="upper left", ncols=3, fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)
