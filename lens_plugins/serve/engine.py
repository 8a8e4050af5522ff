"""One thread that owns the models: requests wait in a bounded queue and are answered in batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .uploads import Upload

if TYPE_CHECKING:
    from torch import Tensor

    from ..hosts.base import Host
    from ..hosts.messages import Reply, Request, Text
    from ..hosts.seed_llama.messages import SeedReply
    from ..inputs import ModalityInput

__all__ = ["Engine", "EngineSettings", "Ticket"]

T = TypeVar("T")


@dataclass(frozen=True)
class EngineSettings:
    """How requests wait and run.

    Args:
        max_queue: requests that wait or run; one more is refused (`Busy`, 429).
        batch_size: requests that are answered together.
        gather: seconds for which a batch waits for more requests.
        deadline: seconds after which a request is given up (`Late`, 504).
        readers: threads that read uploads.
    """

    max_queue: int = 64
    batch_size: int = 16
    gather: float = 0.01
    deadline: float = 120.0
    readers: int = 4


class Ticket(Generic[T]):
    """One accepted request: wait for its result, take its pieces as they come, or give it up."""

    def result(self, timeout: float | None = None) -> T:
        """The result; raises what went wrong. For threads (gradio's are such)."""
        raise AssertionError("being written")

    async def wait(self) -> T:
        """The same for coroutines."""
        raise AssertionError("being written")

    def pieces(self) -> Iterator[tuple[int, str]]:
        """(choice, text) as the answer is made, for threads; ends with the answer, raises what went wrong."""
        raise AssertionError("being written")

    async def apieces(self) -> AsyncIterator[tuple[int, str]]:
        """The same for coroutines."""
        raise AssertionError("being written")
        yield 0, ""

    def cancel(self) -> None:
        """The client went away: the row stops at its next token."""
        raise AssertionError("being written")


class Engine:
    """Hosts that share one model thread.

    Args:
        hosts: by the name that requests use (`model` of OpenAI's API); the first is the default.
        settings: limits.
    """

    def __init__(self, hosts: Mapping[str, Host], settings: EngineSettings | None = None) -> None:
        self.hosts = dict(hosts)
        self.settings = settings or EngineSettings()

    def start(self) -> Engine:
        """Start the threads; `with Engine(...) as engine` does it too."""
        raise AssertionError("being written")

    def close(self, *, drain: bool = True) -> None:
        """Refuse new requests, finish (or give up) those accepted, end the threads."""
        raise AssertionError("being written")

    def host(self, model: str | None = None) -> Host:
        """The host of a name; None: the first. Raises `UnknownModel` (404)."""
        raise AssertionError("being written")

    def read(self, upload: Upload, model: str | None = None, *, clips: int | None = None) -> Future[ModalityInput]:
        """Read an upload in a reader thread, as the host's lens wants it."""
        raise AssertionError("being written")

    def answer(
        self,
        request: Request,
        model: str | None = None,
        *,
        count: int = 1,
        stream: bool = False,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        deadline: float | None = None,
    ) -> Ticket[list[Reply]]:
        """`count` replies to one request; its inputs are what `read` gave. `request.generation` goes to the host."""
        raise AssertionError("being written")

    def embed(
        self, inputs: Sequence[ModalityInput | Text], model: str | None = None, *, space: str | None = None
    ) -> Ticket[Tensor]:
        """Vectors (B, E), as `Host.embed`."""
        raise AssertionError("being written")

    def classify(
        self,
        inputs: Sequence[ModalityInput | Text],
        labels: Sequence[str],
        model: str | None = None,
        *,
        template: str | Sequence[str] | None = None,
    ) -> Ticket[list[Any]]:
        """As `Host.classify`."""
        raise AssertionError("being written")

    def imagine(
        self,
        inputs: Sequence[ModalityInput],
        prompt: str | None = None,
        model: str | None = None,
        *,
        count: int = 1,
        seed: int = 0,
        fuse: str | None = None,
        **drawing: Any,
    ) -> Ticket[list[SeedReply]]:
        """As `SeedLlamaHost.imagine`: `drawing` is steps, guidance, size, noise_level, candidates."""
        raise AssertionError("being written")

    def call(self, function: Callable[[Host], T], model: str | None = None) -> Ticket[T]:
        """Anything else, on the model thread and alone: `engine.call(lambda host: host.look(...))`."""
        raise AssertionError("being written")

    def digests(self, model: str | None = None) -> Ticket[dict[str, str]]:
        """The frozen check: sha256 of the host's ViT and of the host, computed now."""
        raise AssertionError("being written")
