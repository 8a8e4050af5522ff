"""Many clients at once, clients that misbehave, and the end of a server: with small hosts, as a process of its own."""

import asyncio
import json
import os
import random
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from serving import Process, asking, part, running, until

from lens_plugins.serve import EngineSettings, ServeSettings


def mixed(seed):
    """A request of any kind: a path, a body, and whether it streams."""
    rng = random.Random(seed)
    kind, number = rng.choice(["image", "point_cloud", "audio", "depth", "tactile"]), rng.randrange(12)
    ask = {"model": "small", "messages": asking(kind, "what is this", number), "max_tokens": rng.choice([3, 8])}
    return rng.choice(
        [
            ("/v1/chat/completions", ask),
            ("/v1/chat/completions", {**ask, "stream": True}),
            ("/v1/chat/completions", {**ask, "temperature": 0.7, "seed": rng.randrange(50)}),
            ("/v1/chat/completions", {**ask, "temperature": 0.7, "seed": rng.randrange(50), "stream": True}),
            ("/v1/chat/completions", {**ask, "stop": ["story"], "num_beams": 1}),
            ("/v1/embeddings", {"model": "small", "input": ["a photo", part(kind, number)]}),
            ("/v1/classify", {"model": "small", "input": part(kind, number), "labels": ["photo", "piano"]}),
            ("/v1/chat/completions", {"model": "seed", "messages": asking("image", "what", number), "max_tokens": 6,
                                      "seed": rng.randrange(9)}),
        ]
    )  # fmt: skip


def said(path, answer):
    """What matters of an answer: texts and numbers, without ids and times."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
        assert events[-1] == "[DONE]", answer.text
        chunks = [json.loads(event) for event in events[:-1]]
        assert not any("error" in chunk for chunk in chunks), answer.text
        return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    body = answer.json()
    if path.endswith("completions"):
        return body["choices"][0]["message"]["content"]
    if path.endswith("embeddings"):
        return [round(value, 4) for one in body["data"] for value in one["embedding"]]
    return [(one["label"], round(one["score"], 4)) for one in body["data"][0]["labels"]]


def same(one, other):
    if isinstance(one, list) and one and isinstance(one[0], float):
        return max(abs(a - b) for a, b in zip(one, other)) < 1e-3
    if isinstance(one, list):
        return [a for a, _ in one] == [b for b, _ in other] and max(
            abs(a - b) for (_, a), (_, b) in zip(one, other)
        ) < 1e-3
    return one == other


def ask(url, number):
    path, body = mixed(number)
    with httpx.Client(base_url=url, timeout=300) as http:
        for _ in range(600):
            answer = http.post(path, json=body)
            if answer.status_code != 429:
                break
            time.sleep(0.1)
    assert answer.status_code == 200, answer.text
    return said(path, answer)


def many(url, clients, each):
    """Every client asks one request after another; answers by number of the request."""

    def client(number):
        return {n: ask(url, n) for n in range(number * each, (number + 1) * each)}

    with ThreadPoolExecutor(clients) as pool:
        found = {}
        for answers in pool.map(client, range(clients)):
            found |= answers
    return found


def check_many(clients, each):
    with Process() as server:
        together = many(server.url, clients, each)
        assert len(together) == clients * each
        other = [number for number, answer in together.items() if not same(answer, ask(server.url, number))]
        assert other == []


def test_many_clients_get_what_each_gets_alone():
    check_many(12, 5)


@pytest.mark.slow
def test_64_clients_times_20():
    check_many(64, 20)


@pytest.mark.slow
def test_soak_of_5000_requests_keeps_its_memory():
    with Process() as server:
        many(server.url, 16, 60)  # everything that is kept is filled by now
        before = server.resident()
        many(server.url, 16, 313)
        after = server.resident()
        print(f"resident {before / 2**20:.0f} MiB, after 5008 requests {after / 2**20:.0f} MiB")
        assert abs(after - before) < 0.05 * before


def test_sigterm_loses_nothing_that_was_accepted():
    with Process() as server, ThreadPoolExecutor(16) as pool:
        ask(server.url, 0)
        body = {"model": "small", "messages": asking("audio"), "max_tokens": 60, "num_beams": 1, "min_new_tokens": 60}
        streamed = {**body, "stream": True}

        def one(number):
            with httpx.Client(base_url=server.url, timeout=120) as http:
                return http.post("/v1/chat/completions", json=streamed if number % 2 else body)

        asked = [pool.submit(one, number) for number in range(16)]
        until(lambda: _taken(server.url) >= 12)
        server.send(signal.SIGTERM)
        # a connection that is there and a new one are told that the server ends, for as long as it answers others
        late = httpx.post(f"{server.url}/v1/chat/completions", json=body)
        assert (late.status_code, late.json()["error"]["code"]) == (503, "shutting_down")
        assert late.headers["retry-after"]
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        answers = [future.result() for future in asked]
        assert [answer.status_code for answer in answers] == [200] * 16, [answer.text for answer in answers]
        assert all("length" in answer.text for answer in answers)
        assert all(answer.text.endswith("[DONE]\n\n") for answer in answers[1::2])
        assert server.wait() == 0


def _taken(url):
    text = httpx.get(f"{url}/metrics").text
    return float(next(line for line in text.splitlines() if line.startswith("lens_plugins_taken_requests ")).split()[1])


def test_killed_in_the_middle_of_load_and_started_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with Process() as server:
        port = server.url.rpartition(":")[2]
        stop = threading.Event()

        def load(number):
            with httpx.Client(base_url=server.url, timeout=30) as http:
                while not stop.is_set():
                    try:
                        http.post(*(lambda path, body: (path,))(*mixed(number)), json=mixed(number)[1])
                    except httpx.HTTPError:
                        return

        with ThreadPoolExecutor(8) as pool:
            for number in range(8):
                pool.submit(load, number)
            until(lambda: _taken(server.url) >= 4)
            server.send(signal.SIGKILL)
            server.wait()
            stop.set()
    left = [path for path in tmp_path.rglob("lens-plugins-*/*") if path.is_file()]
    assert left == []  # links to nowhere at most
    with Process(port) as again:
        assert again.url.endswith(port)
        assert ask(again.url, 1)


def test_a_client_that_goes_away_stops_the_generation(hosts):
    body = {"messages": asking("audio"), "max_tokens": 240, "min_new_tokens": 240, "num_beams": 1}
    for stream in (True, False):
        with running(hosts, settings=ServeSettings()) as server:
            steps = _count_steps(hosts["small"])
            with steps as made:
                raw = socket.create_connection(("127.0.0.1", server.port))
                content = json.dumps({**body, "stream": stream}).encode()
                raw.sendall(
                    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                    + f"Content-Length: {len(content)}\r\n\r\n".encode()
                    + content
                )
                until(lambda made=made: len(made) > 3)
                raw.close()
                until(lambda: server.engine.taken == 0)
                count = len(made)
                assert 3 < count < 200
                time.sleep(0.2)
                assert len(made) == count  # not one token more
            assert server.client().models.list()


class _count_steps:
    """Counts forward passes of a host's language model, each of them slowed down."""

    def __init__(self, host):
        self._kind = type(host.language_model)

    def __enter__(self):
        made, real = [], self._kind.forward
        self._real = real

        def forward(model, *arguments, **named):
            made.append(1)
            time.sleep(0.01)
            return real(model, *arguments, **named)

        self._kind.forward = forward
        return made

    def __exit__(self, *_):
        self._kind.forward = self._real


def test_half_sent_bodies_and_slow_clients(hosts):
    settings = ServeSettings(body_seconds=1.0, max_body=10_000)
    with running(hosts, EngineSettings(max_queue=4), settings) as server:

        def connect(text):
            raw = socket.create_connection(("127.0.0.1", server.port))
            raw.sendall(text)
            raw.settimeout(20)
            return raw

        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        slow = [connect(b"GET /v1/models HT") for _ in range(50)]  # never a whole head
        half = [connect(head + b"Content-Length: 5000\r\n\r\n{") for _ in range(4)]
        gone = [connect(head + b"Content-Length: 5000\r\n\r\n{") for _ in range(20)]
        chunked = connect(head + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{")
        for raw in gone:
            raw.close()
        assert httpx.get(f"{server.url}/v1/models").status_code == 200
        answers = [raw.recv(4000) for raw in half]
        for answer in answers:
            # 400 once the time is over, or 429 where four others held the places
            assert b" 400 " in answer or b" 429 " in answer
        until(lambda: server.engine.taken == 0)
        assert server.http().post("/v1/chat/completions", json={"messages": asking("depth")[:0]}).status_code == 400
        for raw in (*slow, *half, chunked):
            raw.close()


def test_a_head_that_never_ends_is_not_waited_for(hosts, monkeypatch):
    from lens_plugins.serve import running as module

    monkeypatch.setattr(module, "_HEAD_SECONDS", 0.5)
    with running(hosts, settings=ServeSettings()) as server:
        raw = socket.create_connection(("127.0.0.1", server.port))
        raw.settimeout(10)
        began = time.monotonic()
        raw.sendall(b"GET /v1/mod")
        time.sleep(0.3)
        raw.sendall(b"els HTTP/1.1\r\nX: ")
        assert raw.recv(100) == b""  # closed, although a little came now and then
        assert time.monotonic() - began < 5
        again = socket.create_connection(("127.0.0.1", server.port))
        again.settimeout(10)
        again.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while b"ok" not in answer:
            answer += again.recv(1000)
        again.sendall(b"GET /heal")
        assert again.recv(100) == b""


def test_a_stream_that_nobody_reads_holds_up_nobody(hosts):
    with running(hosts, settings=ServeSettings()) as server:
        content = json.dumps({"messages": asking("audio"), "max_tokens": 240, "stream": True}).encode()
        raws = []
        for _ in range(8):
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            raw.connect(("127.0.0.1", server.port))
            raw.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                + f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
            )
            raws.append(raw)
        answer = server.http().post("/v1/chat/completions", json={"messages": asking("image"), "max_tokens": 3})
        assert answer.status_code == 200
        for raw in raws:
            raw.close()


def _fuzzed(rng, seeds):
    """A body that is nearly one: bytes flipped, cut, doubled, or values of other kinds."""
    path, body = rng.choice(seeds)
    how = rng.randrange(4)
    if how == 0:
        for _ in range(rng.randrange(1, 4)):
            _mangle(rng, body := json.loads(json.dumps(body)))
        return path, json.dumps(body).encode()
    raw = bytearray(json.dumps(body).encode())
    if how == 1:
        for _ in range(rng.randrange(1, 30)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
    elif how == 2:
        del raw[rng.randrange(len(raw)) :]
    else:
        place = rng.randrange(len(raw))
        raw[place:place] = raw[rng.randrange(len(raw)) :][: rng.randrange(200)]
    return path, bytes(raw)


_ODD = (
    None,
    True,
    -1,
    0,
    1e308,
    2**70,
    "",
    "x",
    [],
    {},
    [[]],
    "\ud800",
    "\0",
    "data:,",
    "data:;base64,AAAA",
    {"url": 3},
    ["a"],
)


def _mangle(rng, value):
    """Replace one value somewhere inside."""
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(value[key], (dict, list)) and value[key] and rng.random() < 0.8:
            value = value[key]
            continue
        value[key] = rng.choice(_ODD)
        return


def check_fuzzed(hosts, count):
    rng = random.Random(3)
    seeds = [mixed(number) for number in range(30)]
    seeds += [("/v1/images/generations", {"model": "seed", "prompt": "a", "steps": 1, "input": [part("image")]})]
    with running(hosts, EngineSettings(max_queue=64), ServeSettings(max_tokens=8)) as server:
        statuses = {}

        async def send(http, gate, path, body):
            async with gate:
                answer = await http.post(path, content=body, headers={"Content-Type": "application/json"})
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            assert answer.status_code != 500, (body, answer.text)
            assert "Traceback" not in answer.text
            if answer.status_code != 200:
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

        async def every():
            gate = asyncio.Semaphore(16)
            async with httpx.AsyncClient(base_url=server.url, timeout=120) as http:
                await asyncio.gather(*(send(http, gate, *_fuzzed(rng, seeds)) for _ in range(count)))

        asyncio.run(every())
        print(statuses)
        assert server.engine.taken == 0
        assert sum(statuses.values()) == count
        answer = server.client().chat.completions.create(model="small", messages=asking("image"), max_tokens=3)
        assert answer.choices


def test_500_fuzzed_bodies(hosts):
    check_fuzzed(hosts, 500)


@pytest.mark.slow
def test_10000_fuzzed_bodies(hosts):
    check_fuzzed(hosts, 10_000)


def test_all_bodies_together_are_bounded(hosts):
    settings = ServeSettings(max_body=100_000, max_held=150_000, body_seconds=3)
    with running(hosts, settings=settings) as server:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        head += b"Content-Length: 90000\r\n\r\n"
        raws = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        for raw in raws:
            raw.sendall(head + b"x" * 80_000)
        raws[2].settimeout(10)
        answers = []
        for raw in raws:
            raw.settimeout(10)
            answers.append(raw.recv(1000))
        assert sum(b" 429 " in answer for answer in answers) >= 1
        until(lambda: server.engine.taken == 0)
        assert server.client().models.list()


def test_openai_client_tries_again_when_it_is_told_to(hosts):
    with running(hosts, EngineSettings(max_queue=1), ServeSettings()) as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=8)
        with ThreadPoolExecutor(3) as pool:
            made = list(
                pool.map(
                    lambda n: client.chat.completions.create(
                        model="small", messages=asking("image", seed=n), max_tokens=3
                    ),
                    range(3),
                )
            )
        assert all(answer.choices for answer in made)


def test_no_upload_is_on_the_disk_while_it_is_read(hosts, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []
    real = os.open

    def spy(path, flags, *more, **named):
        if isinstance(path, (str, Path)) and str(path).startswith(str(tmp_path)) and flags & (os.O_WRONLY | os.O_RDWR):
            seen.append(path)
        return real(path, flags, *more, **named)

    monkeypatch.setattr(os, "open", spy)
    with running(hosts, settings=ServeSettings()) as server:
        for number in range(8):
            path, body = mixed(number)
            assert server.http().post(path, json=body).status_code == 200
        big = {"image": ("a.png", b"\x89PNG" + b"x" * 3_000_000)}
        server.http().post("/v1/images/edits", files=big, data={"prompt": "x"})
    assert seen == []
    assert not [one for one in tmp_path.rglob("*") if one.is_file()]
