"""A real server with small hosts for the tests: in a thread, or as a process that may be killed."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai

import lens_plugins as lp
from lens_plugins.hosts.base import Host
from lens_plugins.serve import Engine, EngineSettings, ServeSettings, build_app
from lens_plugins.serve.running import Server, listen, serve
from lens_plugins.testing.small import small_lens, write_host, write_text_tower
from lens_plugins.testing.small_seed import write_seed_host

MODALITIES = ("point_cloud", "audio", "depth", "tactile", "eeg")
KEY, ADMIN = "a-key", "an-admin-key"


def small_hosts(folder: Path) -> dict[str, Host]:
    """A host that answers and compares with texts, and one that draws and remembers."""
    tower = write_text_tower(folder / "tower")
    source = write_host(folder / "small", "instructblip-llama")
    small = lp.load_host(source, text_tower=tower, text_head=tower / "text_head.safetensors")
    seed = lp.load_host(write_seed_host(folder / "seed"))
    for modality in MODALITIES:
        small.plug(small_lens(modality))
    return {"small": small, "seed": seed}


class Running:
    """A server that runs in this process."""

    def __init__(self, port: int, engine: Engine, settings: ServeSettings) -> None:
        self.port, self.engine, self.settings = port, engine, settings
        self.url = f"http://127.0.0.1:{port}"

    def client(self, key: str = KEY, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)

    def http(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60, **options)


@contextmanager
def running(
    hosts: dict[str, Host], engine: EngineSettings | None = None, settings: ServeSettings | None = None
) -> Iterator[Running]:
    """A server on a free port, until the block ends."""
    made = Engine(hosts, engine)
    settings = settings or ServeSettings(api_key=KEY, admin_key=ADMIN)
    sock = listen("127.0.0.1", 0)
    server = Server(build_app(made, settings), made)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    with made:
        thread.start()
        until(lambda: server.started)
        yield Running(sock.getsockname()[1], made, settings)
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


def until(true: Any, seconds: float = 30.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


# Inputs as clients send them


def data_uri(content: bytes, mime: str = "application/octet-stream") -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def cloud(seed: int = 0, points: int = 200) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(seed).normal(size=(points, 3)).astype(np.float32))
    return buffer.getvalue()


def sound(seed: int = 0, seconds: float = 1.0) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    samples = np.random.default_rng(seed).normal(0, 0.1, int(16000 * seconds)).astype(np.float32)
    soundfile.write(buffer, samples, 16000, format="WAV")
    return buffer.getvalue()


def picture(seed: int = 0, size: int = 40) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def part(kind: str, seed: int = 0) -> dict[str, Any]:
    """A content part of a modality."""
    if kind == "audio":
        return {"type": "input_audio", "input_audio": {"data": base64.b64encode(sound(seed)).decode(), "format": "wav"}}
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": data_uri(picture(seed), "image/png")}}
    if kind == "tactile":
        return {"type": "tactile_url", "tactile_url": {"url": data_uri(picture(seed), "image/png")}}
    if kind == "depth":
        buffer = io.BytesIO()
        np.save(buffer, np.random.default_rng(seed).uniform(0.5, 20, (40, 40)).astype(np.float32))
        return {"type": "depth_url", "depth_url": {"url": data_uri(buffer.getvalue())}}
    return {"type": "point_cloud_url", "point_cloud_url": {"url": data_uri(cloud(seed))}}


def asking(kind: str, text: str | None = "what is this", seed: int = 0) -> list[dict[str, Any]]:
    """Messages with one input and one question."""
    words = [] if text is None else [{"type": "text", "text": text}]
    return [{"role": "user", "content": [*words, part(kind, seed)]}]


# The same server as a process


class Process:
    """`python serving.py` with small hosts; killed at the end of the block whatever happens."""

    def __init__(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *options],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("http"), f"the server said {line!r}"
        self.url = line.strip()
        self.pid = self._process.pid

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        return self._process.wait(seconds)

    def resident(self) -> int:
        """Bytes in memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, **options)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def main(port: str = "0", max_queue: str = "256") -> None:
    with tempfile.TemporaryDirectory() as folder:
        hosts = small_hosts(Path(folder))
        sock = listen("127.0.0.1", int(port))
        engine = Engine(hosts, EngineSettings(max_queue=int(max_queue)))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        serve(build_app(engine, ServeSettings()), engine, sock, lambda: sock.listen(2048) or print(url, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
