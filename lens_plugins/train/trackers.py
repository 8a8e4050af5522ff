"""TensorBoard, Weights & Biases and what else accelerate knows, beside a run's own `metrics.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from accelerate.utils import ProjectConfiguration

from ..errors import ConfigError, MissingDependency
from .config import TrainConfig

__all__ = ["Tracker", "start_trackers", "with_trackers"]

Tracker: TypeAlias = Any  # accelerate's GeneralTracker, which has no types


def with_trackers(log_with: str | Tracker | Sequence[str | Tracker] | None, folder: Path) -> Accelerator:
    """An accelerator that logs with these trackers; those that write files do so in `folder/logs`.

    Raises:
        ConfigError: accelerate knows no tracker of that name.
        MissingDependency: its package is not installed; accelerate alone would leave it out without a word.
    """
    given = [] if log_with is None else list(log_with) if isinstance(log_with, (list, tuple)) else [log_with]
    known = [str(name) for name in LOGGER_TYPE_TO_CLASS]
    for tracker in given:
        if isinstance(tracker, GeneralTracker):
            continue
        if tracker not in known:
            near = get_close_matches(str(tracker), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
            raise ConfigError(f"log_with is {tracker!r}, which is no tracker; {hint}")
        if tracker not in map(str, get_available_trackers()):
            raise MissingDependency(
                f"Logging with {tracker!r} needs its package, which is not installed. "
                "Install TensorBoard and Weights & Biases with: pip install 'lens-plugins[track]'"
            )
    project = ProjectConfiguration(project_dir=str(folder), logging_dir=str(folder / "logs"))
    return Accelerator(
        mixed_precision="no", device_placement=False, log_with=given or None, project_config=project if given else None
    )


def start_trackers(accelerator: Accelerator, config: TrainConfig) -> None:
    """Begin a run in every tracker, with the values of its configuration.

    Raises:
        ConfigError: a tracker refuses (no account, no network).
    """
    if not accelerator.log_with:
        return
    plain = (int, float, str, bool)
    values = {name: value if isinstance(value, plain) else str(value) for name, value in config.to_dict().items()}
    try:
        accelerator.init_trackers("lens-plugins", config=values)
    except Exception as error:  # every tracker has classes of its own
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ConfigError(f"The tracker cannot be started: {reason or type(error).__name__}.") from error
