"""What the page does when something is pressed: the same engine, limits and sentences as the HTTP interface."""

from __future__ import annotations

import html
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ...errors import InputError, LensPluginsError
from ...hosts.labels import check_labels
from ...hosts.messages import Request, Text
from ...splice.frozen import digest
from .tray import Item, Reader, spoken

if TYPE_CHECKING:
    from PIL import Image

    from ...hosts.reply import Reply
    from ..engine import Engine

__all__ = ["Actions", "Told", "sentence"]

log = logging.getLogger(__name__)


def sentence(error: BaseException) -> str:
    """What a visitor reads of an error: ours as it is, of any other a number under which the log has it."""
    if isinstance(error, LensPluginsError):
        return str(error)
    number = uuid4().hex[:12]
    log.error("The page failed (%s).", number, exc_info=error)
    return f"The server failed at this; its log has more under {number}."


@dataclass(frozen=True)
class Told:
    """A line of a conversation.

    Args:
        role: "user" or "assistant".
        text: what was said.
        markup: of an answer that holds pictures, what a host that remembers is given back.
    """

    role: str
    text: str
    markup: str = ""


class Actions:
    """Everything that a visitor can do.

    Args:
        engine: who answers.
        reader: who reads.
    """

    def __init__(self, engine: Engine, reader: Reader) -> None:
        self._engine, self._reader = engine, reader
        self.at_start: dict[str, dict[str, str]] = {}
        Thread(target=self._digest_all, name="lens-plugins-digest", daemon=True).start()

    @property
    def speakers(self) -> list[str]:
        """Models that answer in words, those that only write first."""
        able = [
            name for name, host in self._engine.hosts.items() if hasattr(host, "chat") or hasattr(host, "generation")
        ]
        return sorted(able, key=lambda name: hasattr(self._engine.hosts[name], "chat"))

    @property
    def artists(self) -> list[str]:
        """Models that draw."""
        return [name for name, host in self._engine.hosts.items() if hasattr(host, "imagine")]

    @property
    def finders(self) -> list[str]:
        """Models that compare inputs with texts."""
        return [name for name, host in self._engine.hosts.items() if host.text_tower is not None]

    def places(self, model: str) -> list[str]:
        """Where several inputs may meet."""
        return list(self._engine.host(model).places)

    def remembers(self, model: str) -> bool:
        """Whether a model knows what was said before."""
        return hasattr(self._engine.host(model), "chat")

    def ask(
        self, tray: Sequence[Item], question: str, model: str, place: str | None, said: Sequence[Told] = ()
    ) -> Iterator[tuple[str, Reply | None]]:
        """The answer so far, again and again as it grows, at last with all of it; closing the iterator ends it.

        Raises:
            LensPluginsError: see `Engine.answer`.
        """
        prompt = question.strip() or None
        if not tray and not (self.remembers(model) and prompt):
            raise InputError("There is nothing to look at yet: add a file, record a sound, or click an example.")
        inputs = self._reader.inputs(tray, model)
        request: Request | str = Request(inputs, prompt, place) if inputs else str(prompt)
        history = self._history(said) if self.remembers(model) else ()
        ticket = self._engine.answer(request, model, history=history, stream=True)
        try:
            text = ""
            for _, piece in ticket.pieces():
                text += piece
                yield text.strip(), None
            (reply,) = ticket.result()
            yield reply.text, reply
        finally:
            ticket.cancel()

    def markup(self, model: str, reply: Reply) -> str:
        """A reply as a host that remembers is given it back: text, and pictures as their codes."""
        codes = getattr(reply, "codes", None)
        if codes is None or not len(codes):
            return reply.text
        write = getattr(self._engine.host(model), "vocabulary").text  # noqa: B009 - of hosts that draw
        return " ".join([reply.text, *map(write, codes.tolist())]).strip()

    @staticmethod
    def _history(said: Sequence[Told]) -> list[tuple[Request | str, str]]:
        pairs = zip(said[::2], said[1::2])
        return [(question.text, reply.markup or reply.text) for question, reply in pairs]

    def imagine(
        self, tray: Sequence[Item], change: str, model: str, count: int, seed: int
    ) -> list[tuple[Image.Image, int, list[int]]]:
        """Pictures with their seeds and codes.

        Raises:
            LensPluginsError: see `Engine.imagine`.
        """
        prompt = change.strip() or None
        if not tray and prompt is None:
            raise InputError("There is nothing to draw yet: add an input, or say what you want to see.")
        inputs = self._reader.inputs(tray, model)
        replies = self._engine.imagine(inputs, prompt, model, count=int(count), seed=int(seed)).result()
        return [(reply.images[0], reply.seed, reply.codes[0].tolist()) for reply in replies if reply.images]

    def find(self, tray: Sequence[Item], query: str, place: int | None, model: str) -> list[tuple[str, float]]:
        """The other inputs ranked by likeness to a text, or to one of them.

        Raises:
            LensPluginsError: there is nothing to ask with, or nothing to look through.
        """
        if not query.strip() and place is None:
            raise InputError("There is no query: write what you look for, or choose one of the inputs.")
        others = [number for number in range(len(tray)) if query.strip() or number != place]
        if not others:
            raise InputError(f"There are {len(tray)} inputs; add some more to look through.")
        given: list[Any] = list(self._reader.inputs(tray, model))
        asked = Text(query) if query.strip() else given[int(place or 0)]
        vectors = self._engine.embed([asked, *(given[number] for number in others)], model).result()
        scores = (vectors[1:] @ vectors[0]).tolist()
        return sorted(((tray[n].name, score) for n, score in zip(others, scores)), key=lambda one: -one[1])

    def label(self, tray: Sequence[Item], place: int | None, labels: str, model: str) -> dict[str, float]:
        """Labels with their shares for one of the inputs.

        Raises:
            LensPluginsError: no input, or fewer than two labels.
        """
        if not tray:
            raise InputError("There is nothing to label yet: add a file, or click an example.")
        item = tray[min(place or 0, len(tray) - 1)]
        names = check_labels(labels.split(","))
        (found,) = self._engine.classify(self._reader.inputs([item], model), names, model).result()
        return {one["label"]: one["score"] for one in found}

    def lenses(self) -> list[list[str]]:
        """Rows of model, modality, lens."""
        rows = []
        for name, host in self._engine.hosts.items():
            rows += [[name, spoken(lens.modality), str(lens.source or "given")] for lens in host.lenses.values()]
        return rows

    def check_frozen(self) -> str:
        """Digests of every host's weights when it was loaded beside now, as HTML."""
        rows = []
        for name in self._engine.hosts:
            before, now = self.at_start.get(name), self._engine.digests(name).result()
            if before is None:
                rows.append(f"<tr><td>{html.escape(name)}</td><td colspan=3>is still being read; ask again</td></tr>")
                continue
            for part in now:
                same = "unchanged" if before[part] == now[part] else "CHANGED"
                cells = (name, part, f"{before[part][:16]}… → {now[part][:16]}…", same)
                rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
        head = "<tr><th>model</th><th>part</th><th>sha256 when loaded → now</th><th></th></tr>"
        return f"<table class='lp-table'>{head}{''.join(rows)}</table>"

    def _digest_all(self) -> None:
        for name, host in self._engine.hosts.items():
            self.at_start[name] = {"vit": digest(host.vit.module), "host": digest(host.model)}
