"""One thread that owns the models: requests wait in a bounded queue and are answered in batches."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition, Thread
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InternalError, Unsupported
from ..hosts.passes import Memory
from ..splice.frozen import digest
from .answers import Asked, answer_all
from .refusals import Busy, Draining, NotFound
from .tickets import Ticket, Timing
from .uploads import Upload, read_upload

if TYPE_CHECKING:
    import os

    from torch import Tensor
    from typing_extensions import Self

    from ..hosts.base import Host
    from ..hosts.messages import Reply, Request, Seen, Text
    from ..hosts.seed_llama.messages import SeedReply
    from ..inputs import ModalityInput
    from ..lens.lens import Lens

__all__ = ["Engine", "EngineSettings", "Slot", "Ticket", "Timing"]

log = logging.getLogger(__name__)
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class EngineSettings:
    """How requests wait and run.

    Args:
        max_queue: requests that wait or run; one more is refused (`Busy`, 429).
        batch_size: requests that are answered together.
        gather: seconds for which a batch waits for requests that are being read.
        deadline: seconds after which a request is given up (`Late`, 504).
        readers: threads that read uploads.
    """

    max_queue: int = 64
    batch_size: int = 16
    gather: float = 0.01
    deadline: float = 120.0
    readers: int = 4


class Slot:
    """A place among the requests that are taken at once, and the deadline of the one that has it.

    Args:
        seconds: until the request is given up.
        give_back: called once.
    """

    def __init__(self, seconds: float, give_back: Callable[[], None]) -> None:
        self.accepted = monotonic()
        self.seconds = seconds
        self._give_back: Callable[[], None] | None = give_back

    @property
    def deadline(self) -> float:
        """Of `time.monotonic`."""
        return self.accepted + self.seconds

    def release(self) -> None:
        """Give the place back; twice does no harm."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass
class _Job:
    """Work for the model thread. Neighbours in the queue of one `kind` and model run together."""

    kind: str
    model: str
    work: Any  # `Asked`, inputs to embed, or a function of the host
    ticket: Ticket[Any]


@dataclass
class _Model:
    """A host and what was last looked at with it."""

    host: Host
    memory: Memory = field(default_factory=Memory)


class Engine:
    """Hosts that share one model thread.

    What is plugged, asked and embedded goes through one queue, so a host is never changed while it answers.

    Args:
        hosts: by the name that requests use (`model` of OpenAI's API); the first is the default.
        settings: limits.
        observe: called after each batch with its kind and the timings of its requests.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        settings: EngineSettings | None = None,
        observe: Callable[[str, Sequence[Timing]], None] | None = None,
    ) -> None:
        self.hosts = dict(hosts)
        self.settings = settings or EngineSettings()
        self.observe = observe
        self.draining = False
        self._models = {name: _Model(host) for name, host in self.hosts.items()}
        self._queue: deque[_Job] = deque()
        self._changed = Condition()
        self._taken = 0
        self._current: Ticket[Any] | None = None  # of the call that runs
        self._closed = False
        self._thread = Thread(target=self._work, name="lens-plugins-model", daemon=True)
        self._readers = ThreadPoolExecutor(self.settings.readers, "lens-plugins-serve-read")

    # Life

    def start(self) -> Self:
        """Start the model thread; `with Engine(...) as engine` does it too."""
        self._thread.start()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close(drain=kind is None)

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self._thread.is_alive() and not self.draining and not self._closed

    @property
    def waiting(self) -> int:
        """Requests in the queue, those that run not counted."""
        return len(self._queue)

    @property
    def taken(self) -> int:
        """Requests that are accepted and not answered yet."""
        return self._taken

    def drain(self) -> None:
        """Take no new request from now on; those accepted go on."""
        self.draining = True

    def close(self, *, drain: bool = True) -> None:
        """Refuse new requests, finish those accepted (or give them up), end the threads."""
        self.drain()
        with self._changed:
            self._closed = True
            if not drain:
                for job in self._queue:
                    job.ticket.cancel()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._readers.shutdown(cancel_futures=not drain)

    def host(self, model: str | None = None) -> Host:
        """The host of a name; None: the first.

        Raises:
            NotFound: there is none.
        """
        return self._models[self._name(model)].host

    def _name(self, model: str | None) -> str:
        name = next(iter(self.hosts)) if model is None else model
        if name not in self.hosts:
            raise NotFound(f"There is no model {name!r} here; there is {', '.join(self.hosts)}.", "model")
        return name

    # Taking requests

    def admit(self, deadline: float | None = None) -> Slot:
        """A place for one request, before its inputs are read.

        Args:
            deadline: seconds from now; None, or more than that of the settings: as the settings say.

        Raises:
            Busy: `max_queue` requests wait or run.
            Draining: the server is being stopped.
        """
        if self.draining or self._closed:
            raise Draining("The server is being stopped; ask again soon, or another one.")
        with self._changed:
            if self._taken >= self.settings.max_queue:
                raise Busy(
                    f"{self._taken} requests wait or run, and {self.settings.max_queue} are taken at once; try again "
                    "in a second."
                )
            self._taken += 1
        seconds = self.settings.deadline if deadline is None else min(deadline, self.settings.deadline)
        return Slot(seconds, self._give_back)

    def _give_back(self) -> None:
        with self._changed:
            self._taken -= 1

    def read(
        self,
        upload: Upload,
        model: str | None = None,
        *,
        clips: int | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Future[ModalityInput]:
        """Read an upload in a reader thread, as the host's lens wants it.

        Args:
            upload: what a client sent.
            model: whose lens reads it.
            clips, settings: as in `Host.read`.

        Raises:
            NotFound: there is no such model.
        """
        host = self.host(model)

        def read(given: Upload) -> ModalityInput:
            return read_upload(given, lambda path, name: host.read(path, name, clips=clips, settings=settings))

        return self.submit_read(read, upload)

    def submit_read(self, read: Callable[[S], T], part: S) -> Future[T]:
        """Call `read` in a reader thread."""
        return self._readers.submit(read, part)

    def answer(
        self,
        request: Request | str,
        model: str | None = None,
        *,
        history: Sequence[tuple[Request | str, str]] = (),
        count: int = 1,
        stream: bool = False,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        deadline: float | None = None,
        slot: Slot | None = None,
    ) -> Ticket[list[Reply]]:
        """`count` replies to one request.

        Args:
            request: its inputs are what `read` gave, its generation goes to the host; a text alone where the host
                remembers a conversation.
            model: who answers.
            history: earlier turns with the replies to them, for a host that remembers.
            count: replies; without sampling the likeliest of as many beams.
            stream: whether pieces are handed on as they are made, which takes one beam.
            max_tokens: of each reply; None: as the host has it.
            temperature: to sample at; 0: never sample; None: as the host does.
            top_p: to sample from; None: as the host does.
            seed: of sampling; one that is given makes the answer the same whatever else runs.
            stop: texts at which a reply ends.
            deadline: seconds; see `admit`.
            slot: that was admitted before; None: one is taken now.

        Raises:
            Busy, Draining: see `admit`.
            NotFound: there is no such model.
            ConfigError: options that exclude each other.
        """
        host = self.host(model)
        asked = Asked.of(
            host, request, history=history, count=count, stream=stream, max_tokens=max_tokens, temperature=temperature,
            top_p=top_p, seed=seed, stop=stop,
        )  # fmt: skip
        return self._submit("answer", model, asked, deadline, slot)

    def embed(
        self,
        inputs: Sequence[ModalityInput | Text],
        model: str | None = None,
        *,
        space: str | None = None,
        deadline: float | None = None,
        slot: Slot | None = None,
    ) -> Ticket[Tensor]:
        """Vectors (B, E), as `Host.embed`."""
        return self._submit(f"embed {space}", model, list(inputs), deadline, slot)

    def classify(
        self,
        inputs: Sequence[ModalityInput | Text],
        labels: Sequence[str],
        model: str | None = None,
        *,
        template: str | Sequence[str] | None = None,
        deadline: float | None = None,
        slot: Slot | None = None,
    ) -> Ticket[list[Any]]:
        """As `Host.classify` of a list."""
        given = list(inputs)
        return self.call(lambda host: host.classify(given, labels, template=template), model, deadline, slot)

    def imagine(
        self,
        inputs: Sequence[ModalityInput] | Seen | None,
        prompt: str | None = None,
        model: str | None = None,
        *,
        count: int = 1,
        seed: int = 0,
        fuse: str | None = None,
        deadline: float | None = None,
        slot: Slot | None = None,
        **drawing: Any,
    ) -> Ticket[list[SeedReply]]:
        """Pictures of inputs, as `SeedLlamaHost.imagine`; of a prompt alone where there are no inputs.

        Args:
            drawing: steps, guidance, size, noise_level, candidates.

        Raises:
            Unsupported: the host only writes.
        """
        host, given = self.host(model), inputs
        if not hasattr(host, "imagine"):
            raise Unsupported(f"{host.name} writes text and cannot make a picture; a SEED-LLaMA host can.")

        def draw(host: Any) -> list[SeedReply]:
            options: dict[str, Any] = dict(drawing)
            replies: list[SeedReply] = []
            if not given:
                options["max_new_tokens"] = host.vocabulary.queries + 1
            for number in range(count):
                if self._current is not None and self._current.dropped():  # between pictures, not within one
                    break
                if given:
                    replies += host.imagine(given, prompt, count=1, seed=seed + number, fuse=fuse, **options)
                else:
                    text = host.style.render(prompt or "")
                    replies += host.reply([text], force_image=True, seed=seed + number, **options)[0]
            return replies

        return self.call(draw, model, deadline, slot)

    def call(
        self,
        function: Callable[[Host], T],
        model: str | None = None,
        deadline: float | None = None,
        slot: Slot | None = None,
    ) -> Ticket[T]:
        """Anything else, on the model thread and alone: ``engine.call(lambda host: host.look(...))``."""
        return self._submit("call", model, function, deadline, slot)

    def digests(self, model: str | None = None, slot: Slot | None = None) -> Ticket[dict[str, str]]:
        """The frozen check: sha256 of the host's ViT and of all of the host, reckoned now."""
        return self.call(_digests, model, slot=slot)

    def plug(
        self, lens: Lens | str | os.PathLike[str], model: str | None = None, slot: Slot | None = None
    ) -> Ticket[dict[str, Any]]:
        """Plug a lens while serving; the answer has the host's digests before and after."""
        name = self._name(model)
        return self.call(lambda host: self._replug(name, host, lambda: host.plug(lens)), name, slot=slot)

    def unplug(self, modality: str, model: str | None = None, slot: Slot | None = None) -> Ticket[dict[str, Any]]:
        """Unplug a lens while serving; see `plug`."""
        name = self._name(model)
        return self.call(lambda host: self._replug(name, host, lambda: host.unplug(modality)), name, slot=slot)

    def _replug(self, name: str, host: Host, change: Callable[[], None]) -> dict[str, Any]:
        before = _digests(host)
        change()
        self._models[name].memory = Memory()  # features of another lens
        return {"before": before, "after": _digests(host), "lenses": sorted(host.lenses)}

    def _submit(
        self, kind: str, model: str | None, work: Any, deadline: float | None, slot: Slot | None
    ) -> Ticket[Any]:
        name = self._name(model)
        place = slot or self.admit(deadline)
        ticket: Ticket[Any] = Ticket(place.accepted, place.seconds)
        if slot is None:
            ticket.when_done(place.release)
        with self._changed:
            if self._closed and not self._thread.is_alive():
                ticket.fail(Draining("The server has stopped."))
            else:
                self._queue.append(_Job(kind, name, work, ticket))
                self._changed.notify_all()
        return ticket

    # The model thread

    def _work(self) -> None:
        while batch := self._gather():
            began = monotonic()
            for job in batch:
                job.ticket.timing.waiting = began - job.ticket.queued
            try:
                self._run([job for job in batch if not _drop(job)])
            except Exception as error:
                log.exception("A batch of %d requests failed.", len(batch))
                for job in batch:
                    job.ticket.fail(error)
            for job in batch:
                job.ticket.fail(InternalError("The request was left without an answer."))  # where it has none
            self._observe(batch)

    def _gather(self) -> list[_Job]:
        """The next batch: the first request and those like it; empty at the end."""
        with self._changed:
            while not self._queue:
                if self._closed:
                    return []
                self._changed.wait()
            first = self._queue[0]
            until = first.ticket.queued + self.settings.gather
            # waited for are only those that were admitted and are still being read
            while first.kind != "call" and len(self._queue) < min(self.settings.batch_size, self._taken):
                if (left := until - monotonic()) <= 0 or self._closed:
                    break
                self._changed.wait(left)
            most = 1 if first.kind == "call" else self.settings.batch_size
            batch: list[_Job] = []
            left_over: list[_Job] = []
            while self._queue and len(batch) < most:
                job = self._queue.popleft()
                # a call may change the host, so nothing that came after it runs before it
                if job.kind == "call" and job is not first:
                    left_over.append(job)
                    break
                alike = (job.kind, job.model) == (first.kind, first.model)
                (batch if alike else left_over).append(job)
            self._queue.extendleft(reversed(left_over))
            return batch

    def _run(self, batch: list[_Job]) -> None:
        if not batch:
            return
        model = self._models[batch[0].model]
        for job in batch:
            job.ticket.timing.batch, job.ticket.began = len(batch), monotonic()
        kind, _, space = batch[0].kind.partition(" ")
        if kind == "answer":
            answer_all(model.host, [(job.work, job.ticket) for job in batch], model.memory)
        elif kind == "embed":
            _embed(model.host, batch, None if space == "None" else space)
        else:
            self._current = batch[0].ticket
            _one(batch[0].ticket, lambda: batch[0].work(model.host))
            self._current = None

    def _observe(self, batch: list[_Job]) -> None:
        if self.observe is not None:
            self.observe(batch[0].kind.split()[0], [job.ticket.timing for job in batch])


def _drop(job: _Job) -> bool:
    if not job.ticket.dropped():
        return False
    job.ticket.drop()
    return True


def _one(ticket: Ticket[T], work: Callable[[], T]) -> None:
    try:
        ticket.give(work())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this client's
        ticket.fail(error)


def _embed(host: Host, batch: Sequence[_Job], space: str | None) -> None:
    """Vectors of all inputs together; where that fails, of each request by itself."""
    try:
        vectors = host.embed([one for job in batch for one in job.work], space)
    except Exception as error:  # noqa: BLE001 - told to the one, or found out below
        if len(batch) == 1:
            batch[0].ticket.fail(error)
        else:
            for job in batch:
                _embed(host, [job], space)
        return
    start = 0
    for job in batch:
        job.ticket.give(vectors[start : start + len(job.work)].clone())
        start += len(job.work)


def _digests(host: Host) -> dict[str, str]:
    return {"vit": digest(host.vit.module), "host": digest(host.model)}
