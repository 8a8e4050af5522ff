"""Tables and chart of what the pocket host names: ``lens-plugins bench pocket``. See `naming` for what counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._optional import require
from ..catalog import find_modality
from ..errors import InputError
from ..hosts.base import Host
from ..hosts.loading import load_host
from ..lens.loading import load_lens
from . import naming
from .heldout import SENSES, HeldOut, open_objects
from .lens import hardware
from .naming import Mixed, Score, SenseScore

__all__ = ["Bar", "describe_folder", "draw", "mixed_table", "run", "sense_table"]

PAIRS = 50  # of a cloud and a picture
EEG_LEVELS = (-20, -15, -10, -5, 0, 5)  # dB
EEG_PER_CLASS = 5


def run(
    host: str = "pocket-instructblip",
    lens: str = "pocket-point-cloud",
    *,
    clouds: Path | None = None,
    everything: bool = False,
    chart: Path | None = None,
    note: Callable[[str], Any] = lambda line: None,
) -> str:
    """Measure; returns the tables, and what the host says of the clouds in a folder where one is given.

    Args:
        host: which host answers.
        lens: which point cloud lens.
        clouds: a folder whose clouds are captioned as well.
        everything: the other senses and mixed inputs too.
        chart: where to draw accuracy by modality; needs `everything`.
        note: called with a line whenever a row is done.

    Raises:
        CheckpointError: the held-out cases are not in this installation.
    """
    objects = open_objects()
    loaded, plugged = load_host(host), load_lens(lens)
    scores = naming.measure_objects(loaded, plugged, objects, note)
    classes = len({o.label for o in objects})
    lines = [f"{len(objects)} held-out objects of {classes} classes; {hardware()}", "", *_table(scores)]
    loaded.plug(plugged)
    if everything:
        lines += ["", *_everything(loaded, scores, objects, chart, note)]
    if clouds is not None:
        lines += ["", "| file | what the host says |", "| --- | --- |"]
        lines += [f"| {name} | {caption} |" for name, caption in describe_folder(loaded, clouds)]
    return "\n".join(lines)


def describe_folder(host: Host, folder: Path) -> list[tuple[str, str]]:
    """What the host says of every point cloud and mesh in a folder: (file name, caption).

    Raises:
        InputError: there is none.
    """
    endings = find_modality("point_cloud").suffixes
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings)
    if not files:
        raise InputError(f"{folder} holds no point cloud: no file ends in {', '.join(endings)}.")
    return [(path.name, str(host.generate(path, num_beams=1, max_new_tokens=16))) for path in files]


def _everything(
    host: Host, scores: Sequence[Score], objects: Sequence[HeldOut], chart: Path | None, note: Callable[[str], Any]
) -> list[str]:
    """The other senses, the curve over EEG's noise, mixed inputs; and the chart where one is asked for."""
    mixed = naming.measure_mixed(host, objects, PAIRS, note)
    found = [naming.measure_sense(host, sense, note) for sense in SENSES]
    sounds = naming.audio_by_recording(host, note)
    curve = naming.eeg_curve(host, EEG_LEVELS, EEG_PER_CLASS, note)
    if chart is not None:
        clouds = Bar("point cloud", scores[1].share, scores[0].share, scores[-1].share)
        pictures = Bar("picture", scores[0].share, scores[0].share, scores[-1].share)
        draw([pictures, clouds, *(Bar(one.title, one.named, one.ceiling, one.chance) for one in found)], chart)
    lines = [sense_table(found), "", "| sounds | cases | nearest of the names |", "| --- | --- | --- |"]
    lines += [f"| {name} | {cases} | {nearest:.0%} |" for name, cases, nearest in sounds]
    lines += ["", "| simulated EEG, signal to noise | named | nearest |", "| --- | --- | --- |"]
    lines += [f"| {level:+g} dB | {named:.0%} | {nearest:.0%} |" for level, named, nearest in curve]
    return [*lines, "", mixed_table(mixed)]


# ---- Markdown


def _table(scores: Sequence[Score]) -> list[str]:
    ceiling = scores[0].share
    lines = ["| asked about | names the class | of the ceiling |", "| --- | --- | --- |"]
    for score in scores:
        part = f"{score.share / ceiling:.0%}" if ceiling else "-"
        lines.append(f"| {score.name} | {score.share:.1%} ({score.right} of {score.asked}) | {part} |")
    return lines


def sense_table(scores: Sequence[SenseScore]) -> str:
    """One row a sense."""
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


def mixed_table(rows: Sequence[Mixed]) -> str:
    """One row a place."""
    lines = ["| a cloud and a picture | both named | the cloud's thing | the picture's thing |"]
    lines.append("| --- | --- | --- | --- |")
    lines += [f"| {row.place} | {row.both:.0%} | {row.first:.0%} | {row.second:.0%} |" for row in rows]
    return "\n".join(lines)


# ---- the chart


@dataclass(frozen=True)
class Bar:
    """One modality; shares between 0 and 1."""

    title: str
    named: float
    ceiling: float
    chance: float


def draw(bars: Sequence[Bar], file: Path) -> None:
    """Draw accuracy by modality against the picture ceiling and chance; the file's ending decides its format.

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
