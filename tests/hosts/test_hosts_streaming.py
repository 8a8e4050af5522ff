"""Pieces of text as they are made, and what happens when either side stops."""

import threading
import time

import pytest
import torch

from lens_plugins.errors import ConfigError
from lens_plugins.hosts.streaming import cut_at, stopping_at, stream_text
from lens_plugins.testing.small import small_input, small_lens


def test_the_pieces_are_the_answer_of_one_beam(host):
    host.plug(small_lens("audio"))
    given = [small_input("audio"), small_input("image")]
    pieces = list(host.stream(given, "what is this", max_new_tokens=12, min_new_tokens=12))
    assert len(pieces) > 1
    assert all(pieces)
    assert "".join(pieces).strip() == host.generate(
        given, "what is this", num_beams=1, max_new_tokens=12, min_new_tokens=12
    )


def test_several_beams_are_refused(instructblip):
    with pytest.raises(ConfigError, match="runs 1 beam, got num_beams=5"):
        list(instructblip.stream(small_input("image"), num_beams=5))


def test_an_error_in_the_thread_is_raised_at_the_caller(instructblip):
    with pytest.raises(ConfigError, match="transformers refuses"):
        list(instructblip.stream(small_input("image"), max_new_token=3))


def test_a_caller_that_stops_early_stops_the_thread(instructblip):
    before = threading.active_count()
    stream = instructblip.stream(small_input("image"), max_new_tokens=200, min_new_tokens=200)
    next(stream)
    start = time.monotonic()
    stream.close()
    assert threading.active_count() == before
    assert time.monotonic() - start < 30


def test_the_work_is_asked_to_stop_at_its_next_token(instructblip):
    asked = []

    def run(streamer, stopping_criteria):
        streamer.put(torch.tensor([0]))
        streamer.put(torch.tensor([4]))
        streamer.put(torch.tensor([9]))
        for _ in range(200):
            asked.append(bool(stopping_criteria(torch.zeros(1, 1, dtype=torch.long), None).all()))
            if asked[-1]:
                return
            time.sleep(0.01)

    stream = stream_text(run, instructblip.tokenizer)
    assert next(stream).strip() == "a"
    stream.close()
    assert asked[-1]


def test_blanks_in_front_are_left_out(instructblip):
    class Spaced:
        def decode(self, ids, **_):
            return "".join(f"  w{int(one)}" for one in ids)

    def run(streamer, stopping_criteria):
        for one in (0, 4, 9):
            streamer.put(torch.tensor([one]))
        streamer.end()

    pieces = list(stream_text(run, Spaced()))
    assert "".join(pieces) == "w4  w9"
    assert not pieces[0].startswith(" ")


def test_a_callers_own_criteria_are_heard_too(instructblip):
    """One token is enough for them."""
    pieces = instructblip.stream(
        small_input("image"), max_new_tokens=50, min_new_tokens=50, stopping_criteria=[lambda ids, scores: True]
    )
    assert len("".join(pieces).split()) <= 1


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a b ", "c"], "a b c"),
        (["a b##", "# c"], "a b"),
        (["a", "#", "#", "#", "d"], "a"),
        (["a##", "b#", "c"], "a##b#c"),
        (["###"], ""),
        (["a ##"], "a ##"),
        ([], ""),
        (["one###two###"], "one"),
    ],
)
def test_a_text_ends_where_the_sign_stands(pieces, expected):
    closed = []

    def made():
        try:
            yield from pieces
        finally:
            closed.append(True)

    cut = list(cut_at(made(), "###"))
    assert "".join(cut) == expected
    assert all(cut)
    assert closed == [True]


def test_rows_end_one_by_one():
    class Letters:
        def decode(self, ids):
            return "".join(map(chr, ids))

    def stops(*rows):
        ids = torch.tensor([list(map(ord, row)) for row in rows])
        return stopping_at("##", Letters())(ids, None).tolist()

    assert stops("ab#", "a##", "##a") == [False, True, True]
    assert stops("#abc", "##bc") == [False, False]  # too long ago: it ended then
