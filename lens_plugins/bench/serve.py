"""What a server costs beside the host alone, and how long clients wait: ``lens-plugins bench serve``.

The same questions about the same files go to `generate_batch` in this process, then to a server in a process of its
own, through its HTTP interface. Then many clients ask at once for captions, answers, streams and vectors, and every
answer is compared with that of the host alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import InternalError, LensPluginsError
from ..hosts.base import Host
from ..hosts.loading import load_host
from ..hosts.messages import Request
from ..lens.loading import load_lens
from ..serve.client import Client, Unavailable
from .lens import hardware

__all__ = ["run"]

_SHORT: dict[str, Any] = {"max_new_tokens": 8, "num_beams": 1}
_PROMPTS = (None, "What is it?", "What is it used for?")
_KINDS = ("caption", "stream", "ask", "embed")
_DISTINCT = 8  # files of each modality in the mixture
_LONE = 30


@dataclass(frozen=True)
class _Asked:
    """One request of the mixture."""

    kind: str
    file: str
    prompt: str | None


def run(
    host: str = "pocket-instructblip",
    lens: str = "pocket-point-cloud",
    *,
    clients: int = 64,
    each: int = 20,
    batch_size: int = 16,
    threads: int = 1,
    note: Callable[[str], Any] = lambda _: None,
) -> str:
    """Measure; returns Markdown.

    Args:
        host: which host answers.
        lens: which point cloud lens.
        clients: that ask at once.
        each: requests of each client, one after the other.
        batch_size: requests that are answered together, with the server and without.
        threads: that torch may use, here and in the server; set back afterwards.
        note: is told what goes on.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with TemporaryDirectory(prefix="lens-plugins-") as folder:
            loaded = load_host(host)
            loaded.plug(load_lens(lens))
            files = _clouds(Path(folder), clients * each)
            mixture = _mixture(Path(folder), clients * each)
            with _server(host, lens, batch_size, threads, clients) as client:
                tables = [
                    _throughput(loaded, client, files, clients, batch_size, note),
                    _lone(client, files[:_LONE], note),
                    _crowd(loaded, client, mixture, clients, note),
                ]
    finally:
        torch.set_num_threads(before)
    head = f"{clients} clients, batches of {batch_size}, {threads} threads for torch; {hardware()}"
    return "\n\n".join([head, *tables])


def _clouds(folder: Path, count: int) -> list[str]:
    rng = np.random.default_rng(0)
    files = [str(folder / f"{number}.npy") for number in range(count)]
    for file in files:
        np.save(file, rng.standard_normal((1024, 3)).astype(np.float32))
    return [f"point_cloud:{file}" for file in files]


def _mixture(folder: Path, count: int) -> list[_Asked]:
    rng = np.random.default_rng(1)
    files = []
    for number in range(_DISTINCT):
        cloud, picture = folder / f"mixed-{number}.npy", folder / f"mixed-{number}.png"
        np.save(cloud, rng.standard_normal((1024, 3)).astype(np.float32))
        Image.fromarray(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(picture)
        files += [f"point_cloud:{cloud}", str(picture)]
    order = rng.integers(0, len(files), count)
    return [
        _Asked(_KINDS[number % len(_KINDS)], files[which], _PROMPTS[number % len(_PROMPTS)])
        for number, which in enumerate(order.tolist())
    ]


@contextmanager
def _server(host: str, lens: str, batch_size: int, threads: int, clients: int) -> Iterator[Client]:
    """A server in a process of its own, with as many threads for torch as here."""
    command = [
        *(sys.executable, "-m", "lens_plugins", "serve", "--no-page", "--port", "0"),
        *("--host", host, "--lens", f"point_cloud={lens}"),
        *("--batch-size", str(batch_size), "--max-queue", str(4 * clients)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield _connected(process)
    finally:
        process.terminate()
        process.wait(60)


def _connected(process: subprocess.Popen[str]) -> Client:
    """A client, once the server has said where it is and answers.

    Raises:
        InternalError: it ends before.
    """
    lines: list[str] = []
    for line in process.stderr or ():
        lines.append(line)
        address = next((word for word in line.split() if word.startswith("http://")), None)
        if address is None:
            continue
        client = Client(address.rstrip(";").removesuffix("/v1"))
        while process.poll() is None:
            try:
                client.model_for("chat")
            except Unavailable:  # it says its address before it listens
                time.sleep(0.1)
            else:
                return client
    raise InternalError(f"The server did not start: {' '.join(lines)[-500:]}")


def _throughput(
    host: Host, client: Client, files: Sequence[str], clients: int, batch_size: int, note: Callable[[str], Any]
) -> str:
    requests = [Request(file, _PROMPTS[number % len(_PROMPTS)]) for number, file in enumerate(files)]
    _answer(client, requests[:batch_size], clients)  # the first passes are slow, and not counted
    host.generate_batch(requests[:batch_size], batch_size, **_SHORT)
    alone, served, differ, parts = [], [], 0, 4
    for part in [requests[start::parts] for start in range(parts)]:
        note(f"{len(part)} requests by generate_batch, then by {clients} clients")
        began = time.perf_counter()
        expected = host.generate_batch(part, batch_size, **_SHORT)
        alone.append((time.perf_counter() - began) / len(part))
        began = time.perf_counter()
        found = _answer(client, part, clients)
        served.append((time.perf_counter() - began) / len(part))
        differ += sum(one != other for one, other in zip(expected, found))
    share = median(one / other for one, other in zip(alone, served))
    return "\n".join(
        [
            f"The same {len(requests)} requests, in {parts} parts in turn; answers that differ: {differ}",
            "",
            "| who answers | requests a second | of generate_batch |",
            "| --- | --- | --- |",
            f"| generate_batch, files read in its thread | {1 / median(alone):.2f} | 1 |",
            f"| the server, {clients} clients | {1 / median(served):.2f} | {share:.2f} |",
        ]
    )


def _answer(client: Client, requests: Sequence[Request], clients: int) -> list[str]:
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(lambda one: client.generate(one.sources, one.prompt, **_SHORT).text, requests))


def _lone(client: Client, files: Sequence[str], note: Callable[[str], Any]) -> str:
    """Where the time of a request goes that nobody waits beside."""
    note(f"{len(files)} requests one after the other")
    whole, parts = [], []
    for file in files:
        began = time.perf_counter()
        answer = client.generate(file, **_SHORT)
        whole.append(1000 * (time.perf_counter() - began))
        parts.append(answer.told["milliseconds"])
    computing = [part["computing"] for part in parts]
    reading = [part["reading"] for part in parts]
    rest = [all_ - model - read for all_, model, read in zip(whole, computing, reading)]
    return "\n".join(
        [
            "| of a request alone, median | ms |",
            "| --- | --- |",
            f"| whole, at the client | {median(whole):.1f} |",
            f"| the model | {median(computing):.1f} |",
            f"| reading the file | {median(reading):.1f} |",
            f"| HTTP, JSON, base64, queue, both sides | {median(rest):.1f} |",
        ]
    )


def _crowd(host: Host, client: Client, mixture: Sequence[_Asked], clients: int, note: Callable[[str], Any]) -> str:
    """Everyone at once: how long they wait, and whether each gets the answer that it would get alone."""
    note(f"{len(mixture)} mixed requests by {clients} clients")
    expected = {one: _alone(host, one) for one in dict.fromkeys(mixture)}
    lost, differ = 0, 0
    seconds: list[float] = []

    def ask(one: _Asked) -> tuple[float, Any]:
        began = time.perf_counter()
        try:
            found: Any = _served(client, one)
        except LensPluginsError as error:
            found = error
        return time.perf_counter() - began, found

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(ask, mixture))
    rate = len(mixture) / (time.perf_counter() - began)
    for one, (waited, found) in zip(mixture, answers):
        seconds.append(waited)
        lost += isinstance(found, LensPluginsError)
        differ += not isinstance(found, LensPluginsError) and not _same(found, expected[one])
    at = partial(np.percentile, np.array(seconds))
    return "\n".join(
        [
            f"| {len(mixture)} mixed requests ({', '.join(_KINDS)}) of {clients} clients | |",
            "| --- | --- |",
            f"| lost | {lost} |",
            f"| answers that differ from those alone | {differ} |",
            f"| requests a second | {rate:.2f} |",
            f"| seconds at the client, 50th, 95th, 99th percentile | {at(50):.2f}, {at(95):.2f}, {at(99):.2f} |",
        ]
    )


def _alone(host: Host, one: _Asked) -> Any:
    if one.kind == "embed":
        return host.embed(one.file)[0].numpy()
    return host.generate(one.file, one.prompt, **_SHORT).text


def _served(client: Client, one: _Asked) -> Any:
    if one.kind == "embed":
        return client.embed(one.file)[0]
    if one.kind == "stream":
        return "".join(client.stream(one.file, one.prompt, max_new_tokens=_SHORT["max_new_tokens"]))
    return client.generate(one.file, one.prompt, **_SHORT).text


def _same(found: Any, expected: Any) -> bool:
    """Texts letter by letter; vectors up to the rounding of another batch."""
    if isinstance(expected, np.ndarray):
        return bool(np.allclose(found, expected, atol=1e-5))
    return bool(found.strip() == expected.strip())
