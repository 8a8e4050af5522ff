"""The model thread: who runs together, who stops when, and what one request does to another."""

import asyncio
import threading
import time

import pytest
import torch
from serving import until

import lens_plugins as lp
from lens_plugins.errors import InputError
from lens_plugins.hosts.messages import Text
from lens_plugins.serve import Engine, EngineSettings, Upload
from lens_plugins.serve.refusals import Busy, Draining, Gone, Late, NotFound
from lens_plugins.testing.small import small_input

KINDS = ("point_cloud", "audio", "depth", "tactile", "eeg")


@pytest.fixture
def host(hosts):
    return hosts["small"]


@pytest.fixture
def engine(hosts):
    with Engine(hosts) as made:
        yield made


class Held:
    """A model thread that waits, so that requests pile up behind it."""

    def __init__(self, engine):
        self._go = threading.Event()
        self._ticket = engine.call(lambda host: self._go.wait(20))
        until(lambda: engine.waiting == 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._go.set()
        self._ticket.result()


def asked(kind, prompt="what is this", seed=0, **generation):
    return lp.Request(small_input(kind, seed=seed), prompt, generation=generation)


def steps_of(host, monkeypatch):
    """Counts the forward passes of the language model, and rows in each."""
    rows = []
    real = type(host.language_model).forward

    def forward(self, *arguments, **named):
        given = named.get("inputs_embeds") if named.get("inputs_embeds") is not None else named.get("input_ids")
        rows.append(len(given))
        return real(self, *arguments, **named)

    monkeypatch.setattr(type(host.language_model), "forward", forward)
    return rows


def passes_of(host, monkeypatch):
    """Counts sequences in each pass through the ViT."""
    counts = []
    real = type(host.vit).encode

    def encode(self, latents):
        tensor = latents if isinstance(latents, torch.Tensor) else latents[0]
        counts.append(len(tensor))
        return real(self, latents)

    monkeypatch.setattr(type(host.vit), "encode", encode)
    return counts


def test_mixed_modalities_and_options_share_one_pass(engine, host, monkeypatch):
    expected = [str(host.generate(small_input(kind), "what is this", num_beams=1, max_new_tokens=9)) for kind in KINDS]
    passes, steps = passes_of(host, monkeypatch), steps_of(host, monkeypatch)
    with Held(engine):
        tickets = [
            engine.answer(asked(kind), max_tokens=9, stream=n % 2 == 0, temperature=0) for n, kind in enumerate(KINDS)
        ]
        tickets = [*tickets, engine.answer(asked("audio", seed=4), max_tokens=3, temperature=0.5, seed=1, stream=True)]
    streamed = [ticket for n, ticket in enumerate(tickets[:-1]) if n % 2 == 0]
    assert [ticket.result()[0] for ticket in streamed] == expected[::2]
    assert [("".join(text for _, text in ticket.pieces())) for ticket in streamed] == expected[::2]
    tickets[-1].result()
    clips = 3 + 3  # of the two recordings
    assert sum(passes) == 4 + clips
    assert len(passes) == 1
    assert {ticket.timing.batch for ticket in tickets} == {6}
    # rows of one beam in a stream ran together whatever their lengths and temperatures
    assert max(steps) >= 4


def test_rows_end_by_themselves(engine, host, monkeypatch):
    whole = str(host.generate(small_input("audio"), "what is this", num_beams=1, max_new_tokens=30)).split()
    steps = steps_of(host, monkeypatch)
    with Held(engine):
        tickets = [engine.answer(asked("audio"), max_tokens=limit, stream=True) for limit in (1, 2, 5)]
        stopped = engine.answer(asked("audio"), max_tokens=5, stream=True, stop=[whole[1]])
    assert [ticket.timing.new_tokens for ticket in tickets if ticket.result()] == [1, 2, 5]
    assert stopped.result()[0] == whole[0]
    assert stopped.timing.finish == ("stop",)
    assert len(steps) == 5  # the longest of them


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
def test_sampled_rows_are_as_alone(engine, host, temperature):
    options = {"do_sample": True, "num_beams": 1, "temperature": temperature, "max_new_tokens": 10}
    expected = []
    for seed, kind in enumerate(KINDS):
        torch.manual_seed(seed)
        expected.append(str(host.generate(small_input(kind), "what is this", **options)))
    with Held(engine):
        tickets = [
            engine.answer(asked(kind), max_tokens=10, temperature=temperature, seed=seed)
            for seed, kind in enumerate(KINDS)
        ]
    assert [ticket.result()[0] for ticket in tickets] == expected
    assert tickets[0].timing.batch == 5


def test_beams_are_as_alone(engine, host):
    expected = [str(host.generate(small_input(kind), "what is this", max_new_tokens=8)) for kind in KINDS]
    with Held(engine):
        tickets = [engine.answer(asked(kind), max_tokens=8) for kind in KINDS]
    assert [ticket.result()[0] for ticket in tickets] == expected


def test_one_bad_request_fails_alone(engine, host):
    expected = str(host.generate(small_input("audio"), "what is this", max_new_tokens=8))
    with Held(engine):
        good = engine.answer(asked("audio"), max_tokens=8)
        long = engine.answer(asked("audio", "what is this " * 200), max_tokens=8)
        other = engine.answer(lp.Request(torch.zeros(3), "what", modality="audio"), max_tokens=8)
        again = engine.answer(asked("audio"), max_tokens=8)
    with pytest.raises(InputError, match="610 positions"):
        long.result()
    with pytest.raises(InputError):
        other.result()
    assert good.result() == again.result() == [expected]


def test_a_batch_that_fails_is_answered_one_by_one(engine, host, monkeypatch):
    expected = [str(host.generate(small_input(kind), "what is this", num_beams=1, max_new_tokens=8)) for kind in KINDS]
    real = type(host).answer

    def answer(self, seen, prompts, **options):
        if len(seen) > 1:
            raise RuntimeError("out of memory")
        return real(self, seen, prompts, **options)

    monkeypatch.setattr(type(host), "answer", answer)
    with Held(engine):
        tickets = [engine.answer(asked(kind), max_tokens=8, stream=True) for kind in KINDS]
    assert [ticket.result()[0] for ticket in tickets] == expected
    assert [("".join(text for _, text in ticket.pieces())) for ticket in tickets] == expected


def test_a_client_that_goes_away_stops_its_row(engine, host, monkeypatch):
    steps = steps_of(host, monkeypatch)
    ticket = engine.answer(asked("audio", min_new_tokens=200), max_tokens=200, stream=True)
    pieces = ticket.pieces()
    next(pieces)
    ticket.cancel()
    with pytest.raises(Gone):
        ticket.result()
    until(lambda: engine.taken == 0)
    made = len(steps)
    assert made < 100
    time.sleep(0.2)
    assert len(steps) == made


def test_its_neighbours_go_on(engine, host):
    expected = str(host.generate(small_input("depth"), "what is this", num_beams=1, max_new_tokens=40))
    with Held(engine):
        gone = engine.answer(asked("audio"), max_tokens=40, stream=True)
        stays = engine.answer(asked("depth"), max_tokens=40, stream=True)
    next(stays.pieces())
    gone.cancel()
    assert stays.result() == [expected]


def test_what_waits_is_dropped(engine, host, monkeypatch):
    steps = steps_of(host, monkeypatch)
    with Held(engine):
        ticket = engine.answer(asked("audio"))
        ticket.cancel()
    with pytest.raises(Gone):
        ticket.result()
    assert steps == []


def test_deadline(engine, host):
    ticket = engine.answer(asked("audio", min_new_tokens=240), max_tokens=240, stream=True, deadline=0.05)
    with pytest.raises(Late, match=r"after 0\.05 seconds"):
        ticket.result()
    until(lambda: engine.taken == 0)
    beams = engine.answer(asked("audio", min_new_tokens=240, num_beams=5), max_tokens=240, deadline=0.05)
    with pytest.raises(Late):
        beams.result()
    until(lambda: engine.taken == 0, 2)


def test_queue_is_bounded(hosts):
    with Engine(hosts, EngineSettings(max_queue=3)) as engine:
        with Held(engine):
            tickets = [engine.answer(asked("audio"), max_tokens=2) for _ in range(2)]
            with pytest.raises(Busy, match="3 requests wait or run, and 3"):
                engine.answer(asked("audio"))
        assert all(ticket.result() for ticket in tickets)
        until(lambda: engine.taken == 0)
        with engine.admit(), engine.admit(), engine.admit(), pytest.raises(Busy):
            engine.admit()
        assert engine.taken == 0


def test_draining_loses_nothing(hosts):
    engine = Engine(hosts).start()
    with Held(engine):
        tickets = [engine.answer(asked(kind), max_tokens=4) for kind in KINDS]
        slot = engine.admit()
        engine.drain()
        with pytest.raises(Draining):
            engine.answer(asked("audio"))
        late = engine.answer(asked("audio"), max_tokens=4, slot=slot)  # it was admitted before
    engine.close()
    assert all(ticket.result() for ticket in [*tickets, late])
    assert not engine.ready


def test_embeds_are_batched_and_as_alone(engine, host, monkeypatch):
    inputs = [[small_input(kind), Text("a photo")] for kind in KINDS]
    expected = [host.embed(one) for one in inputs]
    passes = passes_of(host, monkeypatch)
    with Held(engine):
        tickets = [engine.embed(one) for one in inputs]
        bad = engine.embed([torch.zeros(1)])
    for ticket, vectors in zip(tickets, expected):
        assert torch.allclose(ticket.result(), vectors, atol=1e-5)
    with pytest.raises(InputError):
        bad.result()
    assert passes


def test_calls_run_in_order(engine):
    order = []
    with Held(engine):
        engine.answer(asked("audio"), max_tokens=2).when_done(lambda: order.append("answer"))
        engine.call(lambda host: order.append("call"))
        last = engine.answer(asked("audio"), max_tokens=2)
        last.when_done(lambda: order.append("later"))
    last.result()
    assert order == ["answer", "call", "later"]


def test_plugging_forgets_what_was_looked_at(engine, host):
    lens = host.lenses["tactile"]
    before = engine.answer(asked("tactile"), max_tokens=8).result()
    engine.unplug("tactile").result()
    with pytest.raises(lp.errors.Unsupported, match="no lens for"):
        engine.answer(asked("tactile")).result()
    from lens_plugins.testing.small import small_lens

    told = engine.plug(small_lens("tactile", seed=5)).result()
    assert told["before"] == told["after"]
    other = engine.answer(asked("tactile"), max_tokens=8).result()
    engine.plug(lens).result()
    assert engine.answer(asked("tactile"), max_tokens=8).result() == before
    assert other != before


def test_coroutines(engine, host):
    async def both():
        ticket = engine.answer(asked("audio"), max_tokens=8, stream=True)
        pieces = [text async for _, text in ticket.apieces()]
        return "".join(pieces), (await ticket.wait())[0]

    streamed, whole = asyncio.run(both())
    assert streamed == whole


def test_other_names(engine):
    with pytest.raises(NotFound, match="small, seed"):
        engine.answer(asked("audio"), "nobody")
    assert engine.host().name == "small"


def test_a_failure_in_the_thread_is_told_and_the_thread_lives(engine):
    with pytest.raises(ZeroDivisionError):
        engine.call(lambda host: 1 / 0).result()
    assert engine.call(lambda host: 3).result() == 3


def test_digests(engine, host):
    from lens_plugins.splice import digest

    assert engine.digests().result() == {"vit": digest(host.vit.module), "host": digest(host.model)}


def test_reading(engine):
    from serving import cloud

    read = engine.read(Upload(cloud(), "a.npy")).result(10)
    assert (read.modality, read.source) == ("point_cloud", "a.npy")
