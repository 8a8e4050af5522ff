"""What is done with rows: `Reader` turns them into tensors without a model, `Worker` answers them with one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from .._optional import require
from ..catalog import find_modality, modalities
from ..errors import CheckpointError, InputError, LensPluginsError, MissingDependency, Unsupported
from ..hosts.loading import load_host
from ..hosts.messages import Reply, Request, Text
from ..hosts.vectors import settings_of
from ..inputs import ModalityInput
from ..inputs.base import has_clips, read_as
from ..lens.config import settings_class
from ..lens.loading import load_lens
from .columns import handed_name
from .plan import Plan
from .rows import Row

if TYPE_CHECKING:
    from .._config import FrozenConfig
    from ..hosts.base import Host

__all__ = ["Prepared", "Reader", "Settings", "Worker", "no_answer"]

Settings = Mapping[str, Mapping[str, Any]]
"""How each modality is read, as plain data."""
_STOPPING = (CheckpointError, MissingDependency)  # no fault of a row: every other one would fail as well


@dataclass(frozen=True)
class Prepared:
    """A row that has been read.

    Args:
        row: which.
        inputs: of each path what the host is given.
        error: why it cannot be read; None: it can.
    """

    row: Row
    inputs: tuple[ModalityInput | Text, ...] = ()
    error: str | None = None


class Reader:
    """Reads rows with the settings of a host's lenses; needs neither host nor weights.

    Args:
        settings: of each modality that can be read, as `Worker.settings` gives them.
        host: what errors call the host.
    """

    def __init__(self, settings: Settings, host: str) -> None:
        self._settings = {name: settings_class(name).from_dict(values) for name, values in settings.items()}
        self._host = host

    def read(self, rows: Sequence[Row]) -> list[Prepared]:
        """Each row read, or why it cannot be."""
        return [self.read_row(row) for row in rows]

    def read_row(self, row: Row) -> Prepared:
        """One row read, or why it cannot be."""
        if row.problem is not None:
            return Prepared(row, error=row.problem)
        try:
            return Prepared(row, tuple(self._input(one) for one in row.inputs))
        except (LensPluginsError, MemoryError) as error:
            return Prepared(row, error=str(error) or "It needs more memory than there is.")

    def settings(self, modality: str) -> FrozenConfig:
        """How a modality is read.

        Raises:
            Unsupported: there is no lens for it.
        """
        if modality not in self._settings:
            raise Unsupported(
                f"{self._host} has no lens for {find_modality(modality).noun}; lenses and pictures it reads: "
                f"{', '.join(sorted(self._settings))}. Give one with --lens {modality}=PATH."
            )
        return self._settings[modality]

    def _input(self, source: str) -> ModalityInput | Text:
        text = Text.of(source)
        return replace(read_as(source, None, self.settings), source=source) if text is None else text


class Worker:
    """A host that answers rows as a plan says; the same rows together give the same answers, wherever it runs.

    Args:
        plan: what to do.
        host: one that is loaded, with its lenses; None: the plan's.
        modalities: of which shipped lenses are needed; None: all.

    Raises:
        LensPluginsError: the host or a lens cannot be loaded, or the host cannot do the task.
    """

    def __init__(self, plan: Plan, host: Host | None = None, *, modalities: frozenset[str] | None = None) -> None:
        self.plan = plan
        self.host = load_host(plan.host, **plan.loading) if host is None else host
        if host is None:
            self._plug(modalities)
        self._check()
        self._labels = self.host.label_vectors(plan.labels, list(plan.templates)) if plan.task == "classify" else None
        self.width = self._width()

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """How each modality is read that the host has a lens for, or reads itself: plain data, for `Reader`."""
        found = {}
        for name, row in modalities().items():
            if row.embedding is not None and name not in self.host.lenses:
                continue
            settings, clips = settings_of(self.host, name), self.host.default_clips
            if clips is not None and has_clips(settings) and "clips" not in self.plan.settings.get(name, {}):
                settings = replace(settings, clips=clips)  # type: ignore[call-arg]  # has_clips says so
            found[name] = settings.to_dict()
        return found

    def reader(self) -> Reader:
        """What reads rows for this worker, in this process or in another."""
        return Reader(self.settings, self.host.name)

    def read(self, rows: Sequence[Row]) -> list[Prepared]:
        """Rows read in this process."""
        return self.reader().read(rows)

    def answer(self, unit: Sequence[Prepared]) -> list[dict[str, Any]]:
        """A line of the result for each row, in order: plain values and numpy arrays by column.

        The rows go through the host together. A row that cannot be answered carries the reason in `error`, and the
        others are answered as if it were not there.

        Raises:
            CheckpointError: something that the host loads late cannot be loaded.
            MissingDependency: a package is absent that every row needs.
        """
        errors = {one.row.number: one.error for one in unit if one.error is not None}
        good = [one for one in unit if one.error is None]
        found = self._found(good, errors)
        return [
            found[one.row.number] if one.row.number in found else no_answer(self.plan, one.row, errors[one.row.number])
            for one in unit
        ]

    def _found(self, good: Sequence[Prepared], errors: dict[int, str]) -> dict[int, dict[str, Any]]:
        """Answers by row number; the reasons of rows that have none are put among the errors."""
        answers = self._tried(good)
        if isinstance(answers, str):
            alone = {one.row.number: self._tried([one]) for one in good}
            errors.update((number, told) for number, told in alone.items() if isinstance(told, str))
            good = [one for one in good if one.row.number not in errors]
            answers = self._tried(good)
            if isinstance(answers, str):  # each works alone, but not with the others
                answers = [told[0] for told in alone.values() if not isinstance(told, str)]
        found = {}
        for one, own in zip(good, answers):
            if isinstance(own, str):
                errors[one.row.number] = own
            else:
                found[one.row.number] = {**_given(self.plan, one), **own, "error": None}
        return found

    def _tried(self, rows: Sequence[Prepared]) -> list[dict[str, Any] | str] | str:
        """Answers of rows, or an error for one of them; or why there are none at all."""
        if not rows:
            return []
        try:
            return self._tasks[self.plan.task](self, rows)
        except _STOPPING:
            raise
        except LensPluginsError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a run of days does not end at one row
            if self.host.vit.device.type == "cuda":
                torch.cuda.synchronize()  # raises where the device is lost, and with it every other row
            return f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:500]}"

    # Tasks

    def _write(self, rows: Sequence[Prepared]) -> list[dict[str, Any] | str]:
        """Captions and answers; rows that are sampled go one by one, each with its own seed."""
        replies: dict[int, Reply] = {}
        together = [one for one in rows if not self._samples(one)]
        if together:
            requests = [self._request(one) for one in together]
            answered = self.host.generate_batch(requests, len(requests), **self.plan.generation)
            replies.update((one.row.number, reply) for one, reply in zip(together, answered))
        for one in rows:
            if one.row.number not in replies:
                with self._seeded(one) as options:
                    replies[one.row.number] = self.host.generate(
                        self._request(one).inputs, self._prompt(one), fuse=self._fuse(one), **options
                    )
        return [{"prompt": self._prompt(one), "text": replies[one.row.number].text} for one in rows]

    def _embed(self, rows: Sequence[Prepared]) -> list[dict[str, Any] | str]:
        vectors = iter(self.host.embed([each for one in rows for each in one.inputs], self.plan.space).numpy())
        found: list[dict[str, Any] | str] = []
        for one in rows:
            own = np.stack([next(vectors) for _ in one.inputs])
            vector = own[0] if len(own) == 1 else own.mean(0) / np.linalg.norm(own.mean(0))  # (E,)
            found.append(
                {"vector": vector} if np.isfinite(vector).all() else f"The vector of {_name(one)} is not finite."
            )
        return found

    def _classify(self, rows: Sequence[Prepared]) -> list[dict[str, Any] | str]:
        if any(len(one.inputs) > 1 for one in rows):
            raise InputError("classify takes one path in a row; give each a row of its own.")
        inputs = [one.inputs[0] for one in rows]
        found: list[dict[str, Any] | str] = []
        for one, ranked in zip(rows, self.host.classify(inputs, self.plan.labels, vectors=self._labels)):
            scores = {answer["label"]: answer["score"] for answer in ranked}
            every = np.array([scores[label] for label in self._names], np.float32)
            best = ranked[0]
            told = {"label": best["label"], "score": best["score"], "scores": every}
            found.append(told if np.isfinite(every).all() else f"The scores of {_name(one)} are not finite.")
        return found

    def _imagine(self, rows: Sequence[Prepared]) -> list[dict[str, Any] | str]:
        """One picture of each row, as a .png in bytes; rows go one by one, since each has a seed of its own."""
        host: Any = self.host
        found: list[dict[str, Any] | str] = []
        for one in rows:
            seen = host.look(list(one.inputs), fuse=self._fuse(one))
            prompt = host.prompt_of(self._own_prompt(one), len(seen.features))
            with self._seeded(one) as options:
                (reply,) = host.imagine(seen, prompt, **options)
            data = io.BytesIO()
            reply.images[0].convert("RGB").save(data, "PNG")
            codes = reply.codes[0].numpy()
            found.append({
                "prompt": prompt, "text": reply.text, "picture": data.getvalue(), "seed": reply.seed, "codes": codes,
            })  # fmt: skip
        return found

    _tasks: Mapping[str, Callable[[Worker, Sequence[Prepared]], list[dict[str, Any] | str]]] = {
        "caption": _write,
        "ask": _write,
        "embed": _embed,
        "classify": _classify,
        "imagine": _imagine,
    }

    @property
    def _names(self) -> list[str]:
        return [label.strip() for label in self.plan.labels]

    # A row's own

    def _own_prompt(self, one: Prepared) -> str | None:
        return self.plan.prompt if one.row.prompt is None else one.row.prompt

    def _prompt(self, one: Prepared) -> str:
        prompt = self._own_prompt(one)
        if prompt is None and self.plan.task == "ask":
            raise InputError("There is no question: the row has no prompt, and none is given for all.")
        return self.host.default_prompt if prompt is None else prompt

    def _fuse(self, one: Prepared) -> str | None:
        return self.plan.fuse if one.row.fuse is None else one.row.fuse

    def _request(self, one: Prepared) -> Request:
        return Request(list(one.inputs), self._prompt(one), self._fuse(one), None, one.row.options)  # type: ignore[arg-type]  # texts are refused by _check_texts

    def _options(self, one: Prepared) -> dict[str, Any]:
        several = one.row.options.get("num_return_sequences", 1)
        if several != 1:
            raise InputError(f"num_return_sequences is {several}; a row of a batch has one answer.")
        return {**self.plan.generation, **one.row.options}

    def _samples(self, one: Prepared) -> bool:
        """Whether an answer depends on random numbers."""
        options = {**getattr(self.host, "generation", {}), **self._options(one)}
        return bool(options.get("do_sample")) or "seed" in options

    @contextmanager
    def _seeded(self, one: Prepared) -> Iterator[dict[str, Any]]:
        """The options of a row, while random numbers begin at its seed."""
        options = self._options(one)
        seed = int(options.pop("seed", self.plan.row_seed(one.row.number)))
        if hasattr(self.host, "imagine"):  # which has random numbers of its own
            yield {**options, "seed": seed}
            return
        devices = range(torch.cuda.device_count()) if self.host.vit.device.type == "cuda" else []
        with torch.random.fork_rng(list(devices)):
            torch.manual_seed(seed)
            yield options

    # Beginning

    def _plug(self, needed: frozenset[str] | None) -> None:
        settings = self.plan.settings
        for modality, source in self.plan.lens_sources(needed).items():
            lens = load_lens(source, modality, dtype=self.plan.loading.get("dtype"))
            self.host.plug(lens.to(self.host.vit.device))
        for modality, lens in self.host.lenses.items():
            lens.config = lens.config.reading(settings.get(modality, {}))
        own = self.host.image_settings
        self.host.image_settings = own.from_dict({**own.to_dict(), **settings.get("image", {})})

    def _check(self) -> None:
        """Refuse what the host cannot do, before any row is read."""
        host, task = self.host, self.plan.task
        if task in ("caption", "ask"):
            host.generate_batch  # noqa: B018 - the host's own sentence where it cannot
        if task == "imagine":
            if not hasattr(host, "imagine"):
                raise Unsupported(
                    f"{host.name} writes text and cannot make a picture; a SEED-LLaMA host can, as "
                    "--host AILab-CVC/seed-llama-8b-sft."
                )
            require("diffusers", extra="seed", purpose="Drawing pictures")
        if self.plan.fuse is not None and self.plan.fuse not in host.places:
            able = " or ".join(map(repr, host.places))
            raise Unsupported(f"{host.name} cannot fuse inputs with fuse={self.plan.fuse!r}; it can with {able}.")

    def _width(self) -> int | None:
        """How wide the vectors are; of a picture without anything, since every host reads pictures."""
        if self.plan.task != "embed":
            return None
        blank = Image.new("RGB", (self.host.image_settings.size,) * 2)
        return int(self.host.embed(blank, self.plan.space).shape[1])


def no_answer(plan: Plan, row: Row, error: str | None) -> dict[str, Any]:
    """The line of a row that has failed."""
    return {**_given(plan, Prepared(row)), "error": error or "It failed."}


def _given(plan: Plan, one: Prepared) -> dict[str, Any]:
    """The columns of a line that do not depend on the answer."""
    told = [each.modality if isinstance(each, ModalityInput) else "text" for each in one.inputs]
    more = {handed_name(plan.task, name): value for name, value in one.row.more.items()}
    return {"row": one.row.number, "path": one.row.given, "modality": "+".join(told) or one.row.modality, **more}


def _name(one: Prepared) -> str:
    return one.row.given if isinstance(one.row.given, str) else ", ".join(one.row.given)
