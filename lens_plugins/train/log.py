"""What a run says of itself: one JSON line a measurement, a progress bar on stderr, a plot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .._optional import require
from ..errors import CheckpointError, InputError
from ..files.opening import open_regular
from ..files.writing import replacing

__all__ = ["Bar", "Bars", "MetricsLog", "plot_metrics", "progress_bars", "read_metrics"]


class MetricsLog:
    """`metrics.jsonl`: appended to, and cut back to the step from which a run goes on.

    Args:
        path: of the file; None keeps nothing (processes other than the first).
        start: rows after this step, left by a run that ended without a checkpoint, are dropped.
    """

    def __init__(self, path: Path | None, start: int = 0) -> None:
        self._path = path
        if path is None:
            return
        # Steps after the checkpoint are done again, and would stand there twice.
        kept = [row for row in read_metrics(path) if row["step"] <= start] if path.exists() and start else []
        with replacing(path, error=CheckpointError) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        """Append one measurement; it has a `step`.

        Raises:
            CheckpointError: the disk refuses.
        """
        if self._path is None:
            return
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise CheckpointError(f"{self._path} cannot be written: {error.strerror or error}.") from error


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, or of the one in a run's folder.

    A last line without its end, which a killed process or a full disk leaves behind, is dropped.

    Raises:
        InputError: no such file, or a line that is not a measurement.
    """
    path = Path(path)
    path = path / "metrics.jsonl" if path.is_dir() else path
    try:
        with open_regular(path, empty=True) as file:
            whole, _, torn = file.read().rpartition(b"\n")
        rows = [json.loads(line) for line in whole.split(b"\n") if line.strip()]
    except (InputError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a log of measurements: {error}.") from error
    with suppress(ValueError):  # the last line may be whole all the same
        rows += [json.loads(torn)] if torn.strip() else []
    if not all(isinstance(row, dict) and "step" in row for row in rows):
        raise InputError(f"{path} has a line without a step; it is not the metrics.jsonl of a training run.")
    return rows


class Bar:
    """One line of progress; silent when made without a bar."""

    def __init__(self, progress: Progress | None, task: Any = None) -> None:
        self._progress, self._task = progress, task

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        if self._progress is not None:
            self._progress.advance(self._task, count)

    def note(self, text: str) -> None:
        """What stands at the end of the line."""
        if self._progress is not None:
            self._progress.update(self._task, note=text)


class Bars:
    """Where lines of progress are added."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def add(self, what: str, total: int, done: int = 0) -> Bar:
        """A further line."""
        if self._progress is None:
            return Bar(None)
        return Bar(self._progress, self._progress.add_task(what, total=total, completed=done, note=""))


@contextmanager
def progress_bars(shown: bool) -> Iterator[Bars]:
    """Lines of progress on stderr while the block runs; none unless `shown`."""
    if not shown:
        yield Bars(None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as progress:
        yield Bars(progress)


def plot_metrics(source: str | Path, output: str | Path) -> Path:
    """Draw the loss parts and the retrieval accuracies of a run over its steps.

    Args:
        source: a `metrics.jsonl`, or the folder of a run.
        output: a picture file; its ending says the format (.png, .svg, .pdf).

    Returns:
        `output`.

    Raises:
        InputError: no measurements.
        MissingDependency: no matplotlib (the extra `train`).
    """
    figure_module = require("matplotlib.figure", extra="train", purpose="Plotting a training run")
    rows = read_metrics(source)
    if not rows:
        raise InputError(f"{source} has 0 measurements; a run writes one every `log_every` steps.")
    figure = figure_module.Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, title, names in (
        (left, "loss", ("loss", "image", "text", "regression")),
        (right, "validation retrieval", ("val_image_top1", "val_image_top5", "val_text_top1", "val_text_top5")),
    ):
        for name in names:
            points = [(row["step"], row[name]) for row in rows if name in row]
            if points:
                axes.plot(*zip(*points), label=name, marker="o" if len(points) < 30 else None, markersize=3)
                axes.legend()
        axes.set(title=title, xlabel="step")
    right.set_ylim(0, 1)
    figure.savefig(output, dpi=120)
    return Path(output)
