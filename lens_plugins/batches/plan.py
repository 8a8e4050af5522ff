"""What a run does with every row: plain data, so that a process on another machine does the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._config import FrozenConfig
from ..catalog import LENSES, find_host, find_modality, folders
from ..errors import ConfigError
from ..splice.fusion import check_place

__all__ = ["LOADING", "TASKS", "Plan"]

TASKS = ("caption", "ask", "embed", "classify", "imagine")
LOADING = ("dtype", "device", "device_map", "quantization", "revision", "text_tower", "text_head")
"""Options of `load_host` that a plan may hold."""
_FORMAT = 1


@dataclass(frozen=True)
class Plan(FrozenConfig):
    """A task, the host that does it, and how.

    Args:
        task: one of `TASKS`.
        host: what `load_host` takes: a shipped host, a hub id or a folder.
        loading: options of `load_host`, of `LOADING`.
        lenses: by modality, what `load_lens` takes; the shipped lenses of a shipped host need not be named.
        settings: how inputs are read, by modality and field, where not as the lens was trained.
        prompt: for rows without their own; None: the host's default.
        fuse: where several inputs of a row meet, for rows that do not say it.
        generation: options of `generate`, for all rows.
        labels: of classify, two or more.
        templates: of classify, in whose ``{}`` a label stands.
        space: of embed; None: "text" where the host has a text tower.
        seed: of sampling and drawing: row n has the seed ``seed + n``.
        batch_size: consecutive rows that go through the host together. Other sizes round otherwise.

    Raises:
        ConfigError: names the field.
    """

    task: str
    host: str = "pocket-instructblip"
    loading: Mapping[str, Any] = field(default_factory=dict)
    lenses: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    fuse: str | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("{}",)
    space: str | None = None
    seed: int = 0
    batch_size: int = 16
    format: int = _FORMAT

    def __post_init__(self) -> None:
        self._check_kinds()
        self._require(self.task in TASKS, f"task is {self.task!r}; it must be one of {', '.join(TASKS)}.")
        self._require(self.format <= _FORMAT, f"format is {self.format}, this version reads {_FORMAT}; upgrade.")
        self._require(self.batch_size >= 1, f"batch_size is {self.batch_size}; it must be at least 1.")
        self._require(0 <= self.seed < 2**62, f"seed is {self.seed}; it must be from 0 to 2^62 - 1.")
        for name in self.loading:
            self._require(name in LOADING, f"loading has {name!r}; it may have {', '.join(LOADING)}.")
        for modality in (*self.lenses, *self.settings):
            find_modality(modality)
        if self.fuse is not None:
            check_place(self.fuse)
        self._check_task()
        try:
            self.digest  # noqa: B018 - refuses what is no plain data
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"A batch keeps its options as JSON, and one of them cannot be so kept: {error}."
            ) from error

    def _check_task(self) -> None:
        """What goes with each task alone: given elsewhere it would be for nothing."""
        task, generating = self.task, self.task in ("caption", "ask", "imagine")
        self._require(
            task != "classify" or len(self.labels) >= 2, f"classify has {len(self.labels)} labels; give 2 or more."
        )
        self._require(task == "classify" or not self.labels, f"labels are for classify; the task is {task}.")
        self._require(
            task == "classify" or self.templates == ("{}",), f"a template is for classify; the task is {task}."
        )
        self._require(all("{}" in one for one in self.templates), f"templates are {self.templates}; each needs a {{}}.")
        self._require(task == "embed" or self.space is None, f"space is for embed; the task is {task}.")
        self._require(
            self.space in (None, "vision", "text"), f"space is {self.space!r}; it must be 'vision' or 'text'."
        )
        for name in ("prompt", "fuse", "generation"):
            self._require(generating or not getattr(self, name), f"{name} is for tasks that generate; {task} does not.")
        several = self.generation.get("num_return_sequences", 1)
        self._require(several == 1, f"num_return_sequences is {several}; a row of a batch has one answer.")

    @property
    def digest(self) -> str:
        """A sha256 of everything in it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True, allow_nan=False).encode()).hexdigest()

    @property
    def ships(self) -> bool:
        """Whether the host is a shipped one, for which there are shipped lenses."""
        row = find_host(self.host)
        return row is not None and row.source in folders()

    def lens_sources(self, modalities: frozenset[str] | None = None) -> dict[str, str]:
        """Where the lens of each modality is: those named, and of a shipped host the shipped ones.

        Args:
            modalities: of which shipped lenses are needed; None: all.
        """
        shipped = {row.modality: row.id for row in LENSES if row.family == "pocket"} if self.ships else {}
        needed = {name: lens for name, lens in shipped.items() if modalities is None or name in modalities}
        return {**needed, **self.lenses}

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """What another plan has otherwise, as ``name: theirs, here mine``."""
        mine = json.loads(json.dumps(self.to_dict()))
        names = [name for name in {**mine, **other} if mine.get(name) != other.get(name)]
        return [f"{name}: {other.get(name)!r} there, {mine.get(name)!r} now" for name in names]

    def row_seed(self, number: int) -> int:
        """Of sampling and drawing for a row."""
        return self.seed + number
