"""Ask a running server as one asks a host. Importing this needs no torch, so that a command line starts at once."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import ConfigError, InputError, InternalError, LensPluginsError, Unsupported
from ..files.opening import read_bytes
from ..hosts.reply import Reply
from ..inputs.names import parse_source

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from ..inputs.base import Source

__all__ = ["Answer", "Client", "Drawn", "Unavailable", "connect", "part_of"]

_TOGETHER = 16  # requests of one call that are under way at once
_TRIES = 8  # of a request that a busy server puts off
_TEXT = "text:"
_KEY = "LENS_PLUGINS_API_KEY"


class Unavailable(LensPluginsError):
    """A server that does not answer, or is too busy to."""


class Answer(Reply):
    """A reply with what the server says beside it.

    Attributes:
        told: modalities of the inputs, the prompt that was asked, the place of fusion, and in `milliseconds` where the
            server's time went: reading, waiting, computing, other.
    """

    told: Mapping[str, Any]


@dataclass(frozen=True)
class Drawn:
    """A picture of `Client.imagine`, and what draws it again."""

    picture: Image
    seed: int
    codes: list[int]
    prompt: str


def connect(
    url: str, *, model: str | None = None, api_key: str | None = None, timeout: float = 600.0
) -> Client:  # fmt: skip
    """A server's models, to be asked as a host is.

    Args:
        url: where it is, such as "http://127.0.0.1:8000".
        model: which of its models is meant; None: for every call the first that can.
        api_key: as the server was started with; None: what the variable LENS_PLUGINS_API_KEY holds.
        timeout: seconds that one answer may take.

    Raises:
        ConfigError: no such address or model, or the key is wrong.
        Unavailable: nothing answers there.
    """
    client = Client(url, model=model, api_key=api_key, timeout=timeout)
    client.model_for("chat")
    return client


class Client:
    """See `connect`; this looks at the server with the first question.

    Several threads may ask one client. Errors are those that a host would raise, with the server's sentence.
    """

    def __init__(
        self, url: str, *, model: str | None = None, api_key: str | None = None, timeout: float = 600.0
    ) -> None:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{url!r} is no address of a server; give one such as http://127.0.0.1:8000.")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self.model = model
        self._secure, self._place, self._path = parts.scheme == "https", parts.netloc, parts.path.rstrip("/")
        self._key = api_key if api_key is not None else os.environ.get(_KEY)
        self._timeout = timeout

    @cached_property
    def models(self) -> dict[str, dict[str, Any]]:
        """What the server tells of each of its models: lenses, places of fusion, default prompt, what it can do.

        Raises:
            Unavailable: nothing answers, or something else than a server of ours.
        """
        try:
            return {row["id"]: row for row in self._ask("GET", "/v1/models")["data"] if row["capabilities"]}
        except (KeyError, TypeError) as error:
            raise Unavailable(f"{self.url} is no server of lens-plugins; start one with: lens-plugins serve") from error

    def model_for(self, ability: str) -> str:
        """The model that is meant, or else the first that can: "chat", "text_embeddings" or "images".

        Raises:
            ConfigError: the server has no such model.
            Unsupported: none of its models can.
        """
        if self.model is not None:
            if self.model not in self.models:
                raise ConfigError(f"{self.url} has no model {self.model!r}; it has: {', '.join(self.models)}.")
            return self.model
        for name, row in self.models.items():
            if row["capabilities"].get(ability):
                return name
        what = {"chat": "writes text", "text_embeddings": "compares with texts", "images": "makes pictures"}[ability]
        raise Unsupported(f"None of the models of {self.url} {what}: {', '.join(self.models)}.")

    def generate(
        self,
        inputs: Source | Sequence[Source],
        prompt: str | None = None,
        *,
        fuse: str | None = None,
        clips: int | None = None,
        modality: str | Sequence[str | None] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        **generation: Any,
    ) -> Answer:
        """One answer about one or several inputs, as `Host.generate`.

        Args:
            inputs: files, bytes, arrays or objects of other libraries; they are sent whole.
            prompt: None: the model's own.
            fuse: where several inputs meet.
            clips: how many clips of a recording are taken.
            modality: what the inputs are, where they do not say it themselves.
            settings: how inputs are read, by modality: ``{"point_cloud": {"up": "z"}}``.
            generation: as in `Host.generate`; `seed` makes sampling repeatable.
        """
        body = self._chat(inputs, prompt, modality, settings, generation, fuse=fuse, clips=clips)
        with self._sent("POST", "/v1/chat/completions", body) as response:
            answer = self._read(response)
            times = response.headers.get("Server-Timing", "")
        told = {**answer.get("lens_plugins", {}), "milliseconds": _milliseconds(times)}
        texts = [row["message"]["content"] or "" for row in answer["choices"]]
        others = map(Reply, texts) if len(texts) > 1 else ()
        reply = Answer(texts[0], score=told.get("score"), alternatives=others)
        reply.told = told
        return reply

    def generate_batch(self, requests: Sequence[Source | Sequence[Source]], **asked: Any) -> list[Answer]:
        """Many answers, in the order of the requests, which are under way together; arguments as in `generate`."""
        found = self.each(requests, **asked)
        for one in found:
            if isinstance(one, LensPluginsError):
                raise one
        return [one for one in found if isinstance(one, Answer)]

    def each(
        self, requests: Sequence[Source | Sequence[Source]], **asked: Any
    ) -> list[Answer | LensPluginsError]:  # fmt: skip
        """`generate_batch` whose refused requests are there as their errors."""

        def ask(inputs: Source | Sequence[Source]) -> Answer | LensPluginsError:
            try:
                return self.generate(inputs, **asked)
            except (InputError, Unsupported) as error:
                return error

        with ThreadPoolExecutor(_TOGETHER) as pool:
            return list(pool.map(ask, requests))

    def stream(
        self,
        inputs: Source | Sequence[Source],
        prompt: str | None = None,
        *,
        fuse: str | None = None,
        clips: int | None = None,
        modality: str | Sequence[str | None] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        **generation: Any,
    ) -> Iterator[str]:
        """`generate` in pieces of text, with one beam. Closing the iterator ends the answer on the server, too."""
        body = self._chat(inputs, prompt, modality, settings, generation, fuse=fuse, clips=clips)
        with self._sent("POST", "/v1/chat/completions", {**body, "stream": True}) as response:
            for line in _lines(response, self.url):
                name, _, value = line.partition(b":")
                if name.strip() != b"data" or value.strip() == b"[DONE]":
                    continue
                event = json.loads(value)
                if "error" in event:
                    raise _error(int(event["error"].get("status") or 500), event["error"], self.url)
                for choice in event.get("choices", ()):
                    if text := choice.get("delta", {}).get("content"):
                        yield text

    def embed(
        self,
        inputs: Source | Sequence[Source],
        *,
        space: str | None = None,
        modality: str | Sequence[str | None] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> np.ndarray:
        """Vectors (B, E), float32 of length 1, of files, objects and texts (``"text:a wooden chair"``)."""
        import numpy as np

        body = {
            "model": self.model_for("text_embeddings"), "input": _parts(inputs, modality), "space": space,
            "settings": settings, "encoding_format": "base64",
        }  # fmt: skip
        rows = sorted(self._ask("POST", "/v1/embeddings", body)["data"], key=lambda row: row["index"])
        return np.stack([np.frombuffer(base64.b64decode(row["embedding"]), np.float32) for row in rows])

    def classify(
        self,
        inputs: Source | Sequence[Source],
        labels: Sequence[str],
        template: str | Sequence[str] = "{}",
        *,
        modality: str | Sequence[str | None] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> list[list[dict[str, Any]]]:
        """For each input the labels with their scores, the best first, as `Host.classify`."""
        rows = self.classified(inputs, labels, template, modality=modality, settings=settings)
        return [row["labels"] for row in rows]

    def classified(
        self,
        inputs: Source | Sequence[Source],
        labels: Sequence[str],
        template: str | Sequence[str] = "{}",
        *,
        modality: str | Sequence[str | None] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> list[dict[str, Any]]:
        """`classify` with what the server took each input for: rows of `modality` and `labels`."""
        body = {
            "model": self.model_for("text_embeddings"), "input": _parts(inputs, modality), "labels": list(labels),
            "template": template if isinstance(template, str) else list(template), "settings": settings,
        }  # fmt: skip
        return sorted(self._ask("POST", "/v1/classify", body)["data"], key=lambda row: row["index"])

    def imagine(
        self,
        inputs: Source | Sequence[Source],
        prompt: str | None = None,
        *,
        count: int = 1,
        seed: int = 0,
        fuse: str | None = None,
        clips: int | None = None,
        modality: str | Sequence[str | None] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        **drawing: Any,
    ) -> list[Drawn]:
        """Pictures of inputs, or of a change to them; `drawing` as in `SeedLlamaHost.imagine`."""
        from PIL import Image

        body = {
            "model": self.model_for("images"), "prompt": prompt or "", "input": _parts(inputs, modality), "n": count,
            "seed": seed, "fuse": fuse, "clips": clips, "settings": settings,
            "response_format": "b64_json", **drawing,
        }  # fmt: skip
        return [
            Drawn(
                Image.open(BytesIO(base64.b64decode(row["b64_json"]))).convert("RGB"),
                row["seed"],
                row["codes"],
                row.get("revised_prompt") or prompt or "",
            )
            for row in self._ask("POST", "/v1/images/generations", body)["data"]
        ]

    def _chat(
        self,
        inputs: Source | Sequence[Source],
        prompt: str | None,
        modality: str | Sequence[str | None] | None,
        settings: Mapping[str, Mapping[str, Any]] | None,
        generation: Mapping[str, Any],
        **more: Any,
    ) -> dict[str, Any]:
        content = _parts(inputs, modality)
        if prompt is not None:
            content.append({"type": "text", "text": prompt})
        options, sent = dict(generation), {}
        for ours, theirs in _OPENAI.items():
            if ours in options:
                sent[theirs] = options.pop(ours)
        given = {"settings": settings, **more, **sent, **options}
        return {
            "model": self.model_for("chat"),
            "messages": [{"role": "user", "content": content}],
            **{name: value for name, value in given.items() if value is not None},
        }

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        with self._sent(method, path, body) as response:
            return self._read(response)

    def _read(self, response: HTTPResponse) -> Any:
        try:
            return json.loads(response.read())
        except (ValueError, HTTPException, OSError) as error:
            raise Unavailable(f"{self.url} broke off its answer ({_reason(error)}); ask again.") from error

    @contextmanager
    def _sent(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Iterator[HTTPResponse]:
        """The response to a request that was taken; one that a busy server puts off is sent again."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        for left in reversed(range(_TRIES)):
            kind = HTTPSConnection if self._secure else HTTPConnection
            with closing(kind(self._place, timeout=self._timeout)) as connection:
                try:
                    connection.request(method, self._path + path, data, headers)
                    response = connection.getresponse()
                    refused = None if response.status < 300 else response.read()
                except (OSError, HTTPException) as error:
                    raise Unavailable(
                        f"{self.url} does not answer ({_reason(error)}); start a server with: lens-plugins serve"
                    ) from error
                if refused is None:
                    yield response
                    return
                again = response.headers.get("Retry-After", "")
                if response.status not in (429, 503) or not left:
                    raise _error(response.status, _told(refused), self.url)
            sleep(min(float(again) if again.isdecimal() else 1.0, 10.0))


_OPENAI = {
    "max_new_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "num_return_sequences": "n",
}
"""Options of ours that OpenAI's interface has a name for; the others keep theirs."""


def _parts(
    inputs: Source | Sequence[Source], modality: str | Sequence[str | None] | None
) -> list[dict[str, Any]]:  # fmt: skip
    sources: Any = inputs if isinstance(inputs, (list, tuple)) and not _is_sound(inputs) else [inputs]
    if not sources:
        raise InputError("A request has 0 inputs; it needs at least 1.")
    names = [modality] * len(sources) if modality is None or isinstance(modality, str) else list(modality)
    if len(names) != len(sources):
        raise ConfigError(
            f"A request has {len(names)} modalities for {len(sources)} inputs; give one for each, or one for all."
        )
    return [part_of(source, name) for source, name in zip(sources, names)]


def part_of(source: Source, modality: str | None = None) -> dict[str, Any]:
    """An input as a content part of OpenAI's interface: the whole content, with its name.

    Raises:
        InputError: a file that cannot be opened, or an object that is no input.
    """
    if isinstance(source, str) and source.startswith(_TEXT):
        return {"type": "text", "text": source.removeprefix(_TEXT).strip()}
    if isinstance(source, (str, Path)):
        named, path = parse_source(source) if isinstance(source, str) else (None, source)
        content, name, modality = read_bytes(path), path.name, modality or named
    else:
        content, name = _written(source)
    data = f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"
    part: dict[str, Any] = {"type": "file", "file": {"filename": name, "file_data": data}}
    return part if modality is None else {**part, "modality": modality}


def _is_sound(source: object) -> bool:
    """Whether this is an array with its rate, and not two inputs."""
    return isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], (int, float))


def _written(source: Any) -> tuple[bytes, str]:
    """Content and name of an object, as the file that a reader knows."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), ""
    import numpy as np
    from PIL import Image

    buffer = BytesIO()
    if isinstance(source, Image.Image):
        source.save(buffer, "PNG")
        return buffer.getvalue(), "picture.png"
    if hasattr(source, "__array__") and not hasattr(source, "vertices"):
        np.save(buffer, np.asarray(source))
        return buffer.getvalue(), "array.npy"
    from ..inputs.objects import write_object

    with TemporaryDirectory(prefix="lens-plugins-") as folder:
        file = write_object(source, Path(folder))
        if file is None:
            raise InputError(f"A {type(source).__name__} is no input; give a file, bytes, an array or a picture.")
        return file.read_bytes(), file.name


def _milliseconds(times: str) -> dict[str, float]:
    """Where the server's time went: "reading;dur=3.1, waiting;dur=0.2" by its names."""
    named = (part.strip().split(";dur=") for part in times.split(",") if ";dur=" in part)
    return {name: float(value) for name, value in named}


def _lines(response: HTTPResponse, url: str) -> Iterator[bytes]:
    try:
        yield from iter(response.readline, b"")
    except (OSError, HTTPException) as error:
        raise Unavailable(f"{url} broke off its answer ({_reason(error)}); ask again.") from error


def _told(body: bytes) -> Mapping[str, Any]:
    try:
        told = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return told if isinstance(told, dict) else {}


def _error(status: int, told: Mapping[str, Any], url: str) -> LensPluginsError:
    """The error that a host would have raised, with the server's sentence."""
    message = str(told.get("message") or f"{url} answers with status {status}; is it a server of lens-plugins?")
    kinds = {400: InputError, 401: ConfigError, 403: ConfigError, 404: ConfigError, 413: InputError, 422: Unsupported}
    return (Unavailable if status in (429, 503, 504) else kinds.get(status, InternalError))(message)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).strip(".")
