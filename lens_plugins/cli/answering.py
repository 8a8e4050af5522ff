"""Who answers a command: a host that is loaded here, or a server that has one. What is printed is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import typer

from ..errors import ConfigError, InputError, LensPluginsError, Unsupported
from .options import GenerationOptions, InputOptions, ServedHostOptions
from .output import answer, complain, print_json, progress
from .session import Session

if TYPE_CHECKING:
    from torch import Tensor

    from ..serve.client import Answer, Client

__all__ = ["Answering", "answer_together", "answering", "client_of"]


class Answering(Protocol):
    """What commands ask. Answers are as ``--json`` prints them; files that cannot be read are reported on stderr."""

    def caption(
        self, files: Sequence[str], prompt: str | None, options: GenerationOptions
    ) -> tuple[list[dict[str, Any]], int]:
        """An answer for each file that can be read, and the exit code so far."""

    def together(
        self, files: Sequence[str], prompt: str | None, fuse: str | None, options: GenerationOptions
    ) -> dict[str, Any]:
        """One answer about all files."""

    def classify(
        self, files: Sequence[str], labels: Sequence[str], template: Sequence[str] | None
    ) -> tuple[list[dict[str, Any]], int]:
        """Labels with scores for each file that can be read, and the exit code so far."""


def answering(host: ServedHostOptions, reading: InputOptions) -> Answering:
    """Who is meant by the options.

    Raises:
        ConfigError: options of a host here beside ``--server``.
    """
    return Here(Session(host.here(), reading)) if host.server is None else There(client_of(host), reading)


def answer_together(
    asked: Answering,
    files: Sequence[str],
    prompt: str | None,
    *,
    fuse: str | None,
    generation: GenerationOptions,
    json: bool,
) -> None:
    """Print one answer about all files.

    Raises:
        InputError: one of them cannot be read; nothing is printed then.
    """
    found = asked.together(files, prompt, fuse, generation)
    print_json(found) if json else typer.echo(found["text"])


class Here:
    """A host that is loaded for this command."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._labels: Tensor | None = None  # vectors of the labels, made once for all batches

    def caption(
        self, files: Sequence[str], prompt: str | None, options: GenerationOptions
    ) -> tuple[list[dict[str, Any]], int]:
        """See `Answering`; the seconds of an answer are its share of the batch's."""
        session, given = self._session, options.given()
        inputs, code = session.read_each(files)
        if not inputs:
            return [], code
        asked = session.host.default_prompt if prompt is None else prompt
        began = perf_counter()
        with progress(f"captioning {len(inputs)}"):
            replies = session.host.generate_batch(inputs, len(inputs), prompt=asked, **given)
        seconds = (perf_counter() - began) / len(inputs)
        told = [
            answer([each.source], [each.modality], asked, reply.text, host=session.name, seconds=seconds)
            for each, reply in zip(inputs, replies)
        ]
        return told, code

    def together(
        self, files: Sequence[str], prompt: str | None, fuse: str | None, options: GenerationOptions
    ) -> dict[str, Any]:
        """See `Answering`."""
        session, given = self._session, options.given()
        inputs = session.read_all(files)
        asked = session.host.default_prompt if prompt is None else prompt
        place = fuse or session.host.default_place
        began = perf_counter()
        with progress("thinking"):
            reply = session.host.generate(inputs, asked, fuse=place, **given)
        seconds, modalities = perf_counter() - began, [each.modality for each in inputs]
        return answer(files, modalities, asked, reply.text, host=session.name, seconds=seconds, fuse=place)

    def classify(
        self, files: Sequence[str], labels: Sequence[str], template: Sequence[str] | None
    ) -> tuple[list[dict[str, Any]], int]:
        """See `Answering`; the seconds of an answer are its share of the batch's."""
        session = self._session
        inputs, code = session.read_each(files)
        if not inputs:
            return [], code
        if self._labels is None:
            self._labels = session.host.label_vectors(labels, template or "{}")
        began = perf_counter()
        with progress(f"classifying {len(inputs)}"):
            found = session.host.classify(inputs, labels, vectors=self._labels)
        seconds = (perf_counter() - began) / len(inputs)
        told = [_labelled(each.source, each.modality, scores, session.name, seconds)
                for each, scores in zip(inputs, found)]  # fmt: skip
        return told, code


class There:
    """A model of a server; files are sent whole and read there."""

    def __init__(self, client: Client, reading: InputOptions) -> None:
        self._client = client
        sent = reading.sent()
        self._settings: dict[str, Any] = {"settings": sent} if sent else {}
        self._reading: dict[str, Any] = {**self._settings, **({"clips": reading.clips} if reading.clips else {})}

    def caption(
        self, files: Sequence[str], prompt: str | None, options: GenerationOptions
    ) -> tuple[list[dict[str, Any]], int]:
        """See `Answering`; requests are under way together."""
        name, began = self._client.model_for("chat"), perf_counter()
        with progress(f"captioning {len(files)}"):
            found = self._client.each(files, prompt=prompt, **self._reading, **options.sent())
        seconds = (perf_counter() - began) / len(files)
        return _kept(
            [
                one if isinstance(one, LensPluginsError) else _answered([file], one, name, seconds)
                for file, one in zip(files, found)
            ]
        )

    def together(
        self, files: Sequence[str], prompt: str | None, fuse: str | None, options: GenerationOptions
    ) -> dict[str, Any]:
        """See `Answering`."""
        name, began = self._client.model_for("chat"), perf_counter()
        place = fuse or self._client.models[name].get("default_place")
        with progress("thinking"):
            reply = self._client.generate(list(files), prompt, fuse=place, **self._reading, **options.sent())
        return _answered(files, reply, name, perf_counter() - began, fuse=place)

    def classify(
        self, files: Sequence[str], labels: Sequence[str], template: Sequence[str] | None
    ) -> tuple[list[dict[str, Any]], int]:
        """See `Answering`."""
        name, template = self._client.model_for("text_embeddings"), list(template or ("{}",))
        found: list[dict[str, Any] | LensPluginsError] = []
        for file in files:
            began = perf_counter()
            try:
                (row,) = self._client.classified([file], labels, template, **self._settings)
            except (InputError, Unsupported) as error:
                found.append(error)
            else:
                found.append(_labelled(file, row["modality"], row["labels"], name, perf_counter() - began))
        return _kept(found)


def _answered(files: Sequence[str], reply: Answer, name: str, seconds: float, **more: Any) -> dict[str, Any]:
    """What ``--json`` prints of a server's answer."""
    told = reply.told
    return answer(files, told["modalities"], told["prompt"], reply.text, host=name, seconds=seconds, **more)


def _labelled(
    file: str | None, modality: str, scores: Sequence[Mapping[str, Any]], name: str, seconds: float
) -> dict[str, Any]:
    """What ``--json`` prints of a classified file."""
    labels = [{"label": one["label"], "score": round(one["score"], 6)} for one in scores]
    return {"inputs": [file], "modality": modality, "labels": labels, "host": name, "seconds": round(seconds, 3)}


def _kept(found: Sequence[dict[str, Any] | LensPluginsError]) -> tuple[list[dict[str, Any]], int]:
    """The answers; what was refused is told on stderr, and gives the exit code."""
    refused = [one for one in found if isinstance(one, LensPluginsError)]
    for error in refused:
        complain(error)
    kept = [one for one in found if not isinstance(one, LensPluginsError)]
    return kept, max((error.exit_code for error in refused), default=0)


def client_of(host: ServedHostOptions) -> Client:
    """The server that the options name.

    Raises:
        ConfigError: options of a host here are beside it.
    """
    from ..serve.client import Client

    given = [option for option, value in host.loaded_here().items() if value]
    if given:
        raise ConfigError(
            f"{given[0]} is of a host that is loaded here; the server {host.server} has hosts and lenses of its own. "
            f"Leave out {given[0]}, or --server (and LENS_PLUGINS_SERVER)."
        )
    return Client(str(host.server), model=host.host or None)
