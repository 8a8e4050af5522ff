"""What batching and reuse save on a host: ``python -m lens_plugins.bench.host``.

Mixed requests (pictures and point clouds) one by one and in one batch; one input under many questions, encoded each
time and encoded once. Both ways of each pair run in turn, so that other work on the machine disturbs them alike, and
both must give the same answers.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..hosts.base import Host
from ..hosts.loading import load_host
from ..hosts.messages import Reply, Request
from ..inputs import ModalityInput
from ..lens.lens import Lens
from ..lens.loading import load_lens
from .lens import hardware

__all__ = ["Pair", "mixed_requests", "run", "same_input_requests"]

QUESTIONS = ("What is it?", "What is it used for?", "Describe this object in details.", "A short image caption.")


@dataclass(frozen=True)
class Pair:
    """Median wall-clock seconds of two ways to the same answers."""

    name: str
    apart_s: float
    together_s: float
    same: bool  # whether all answers were equal

    @property
    def ratio(self) -> float:
        return self.apart_s / self.together_s


def mixed_requests(host: Host, count: int, points: int = 2048) -> list[Request]:
    """Random pictures, every second one a random cloud where a lens for clouds is plugged."""
    side = host.vit.image_size
    generator = torch.Generator().manual_seed(0)
    requests = []
    for number in range(count):
        cloud = number % 2 and "point_cloud" in host.lenses
        modality, shape = ("point_cloud", (points, 3)) if cloud else ("image", (3, side, side))
        given = ModalityInput(modality, torch.randn(shape, generator=generator), None)
        requests.append(Request(given, QUESTIONS[number % len(QUESTIONS)]))
    return requests


def same_input_requests(host: Host, count: int) -> list[Request]:
    """One picture under `count` questions."""
    picture = mixed_requests(host, 1)[0].inputs
    return [Request(picture, QUESTIONS[number % len(QUESTIONS)]) for number in range(count)]


def run(
    host: Host | str = "pocket-instructblip",
    lens: Lens | str | None = "pocket-point-cloud",
    *,
    requests: int = 8,
    repeats: int = 5,
    new_tokens: int = 8,
    threads: int = 2,
) -> str:
    """Measure and lay out as a table.

    Args:
        host: a host or its id.
        lens: one for point clouds, or its id; None: pictures alone.
        requests: in a batch.
        repeats: counted calls of each; the medians are shown.
        new_tokens: of every answer.
        threads: that torch may use; set back afterwards.
    """
    host = load_host(host) if isinstance(host, str) else host
    if lens is not None:
        host.plug(load_lens(lens) if isinstance(lens, str) else lens)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        pairs = [
            _compare("mixed requests", host, mixed_requests(host, requests), repeats, new_tokens),
            _compare("one input, many questions", host, same_input_requests(host, requests), repeats, new_tokens),
            _reuse(host, same_input_requests(host, requests), repeats),
        ]
    finally:
        torch.set_num_threads(before)
    title = (
        f"{host.name}: {requests} requests, {new_tokens} new tokens, 1 beam, {threads} threads, medians of {repeats}; "
        f"{hardware()}"
    )
    head = f"{'':28}{'one by one':>12}{'together':>12}{'ratio':>8}{'same answers':>14}"
    return "\n".join([title, head, *map(_line, pairs)])


def _compare(name: str, host: Host, requests: list[Request], repeats: int, new_tokens: int) -> Pair:
    """Answers one by one beside answers in one batch."""
    options: dict[str, Any] = {"num_beams": 1, "max_new_tokens": new_tokens, "min_new_tokens": new_tokens}

    def apart() -> list[Reply]:
        return [host.generate(request.inputs, request.prompt, **options) for request in requests]

    return _in_turn(name, apart, lambda: host.generate_batch(requests, len(requests), **options), repeats)


def _reuse(host: Host, requests: list[Request], repeats: int) -> Pair:
    """The ViT's part alone: the features of one input for every question, and once for all."""

    inputs = [request.sources[0] for request in requests]

    def apart() -> list[bytes]:
        return [_bytes(host.embed(one, "vision")) for one in inputs]

    def together() -> list[bytes]:
        return [_bytes(row[None]) for row in host.embed(inputs, "vision")]

    return _in_turn("its features alone", apart, together, repeats)


def _bytes(row: torch.Tensor) -> bytes:
    return row.mul(1e4).round().numpy().tobytes()


def _in_turn(name: str, apart: Callable[[], list], together: Callable[[], list], repeats: int) -> Pair:
    same = apart() == together()
    apart_s, together_s = zip(*((_time(apart), _time(together)) for _ in range(repeats)))
    return Pair(name, statistics.median(apart_s), statistics.median(together_s), same)


def _time(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _line(pair: Pair) -> str:
    times = f"{pair.apart_s * 1e3:>9.1f} ms{pair.together_s * 1e3:>9.1f} ms{pair.ratio:>7.2f}x"
    return f"{pair.name:28}{times}{'yes' if pair.same else 'no':>14}"


if __name__ == "__main__":
    sys.stdout.write(run() + "\n")
