"""Sampling with random numbers of one's own, against transformers' sampling after `torch.manual_seed`."""

import threading

import pytest
import torch

from lens_plugins.hosts.seed_llama.sampling import generate_seeded
from lens_plugins.testing.small_seed import small_seed_llama

IDS = torch.tensor([[1, 5, 6, 7]])
HOW = {"do_sample": True, "max_new_tokens": 12, "pad_token_id": 0}


@pytest.fixture(scope="module")
def model():
    return small_seed_llama().language_model


def reference(model, seed, **options):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return model.generate(input_ids=IDS, attention_mask=torch.ones_like(IDS), **options)


def seeded(model, seed, ids=IDS, **options):
    return generate_seeded(model, seed, input_ids=ids, attention_mask=torch.ones_like(ids), **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"top_p": 0.5}, {"temperature": 0.7, "top_k": 5}, {"min_p": 0.1, "typical_p": 0.9}, {"num_beams": 3}],
    ids=str,
)
def test_the_numbers_are_those_of_transformers_own_sampling(model, options):
    for seed in (0, 7):
        assert torch.equal(seeded(model, seed, **HOW, **options), reference(model, seed, **HOW, **options))


def test_without_sampling_nothing_is_drawn(model):
    plain = {**HOW, "do_sample": False}
    assert torch.equal(seeded(model, 0, **plain), seeded(model, 1, **plain))


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=str)
def test_the_common_numbers_are_left_alone(model, options):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    seeded(model, 3, **HOW, **options)
    assert torch.equal(torch.rand(3), expected)


def test_a_row_does_not_depend_on_the_rows_beside_it(model):
    other = torch.tensor([[1, 9, 9, 2]])
    both = seeded(model, 5, torch.cat([IDS, other]), **HOW)
    assert torch.equal(both[:1], seeded(model, 5, **HOW))
    assert torch.equal(both[1:], seeded(model, 5, other, **HOW))


def test_several_replies_to_one_prompt_have_seeds_that_follow(model):
    several = seeded(model, 5, num_return_sequences=3, **HOW)
    assert torch.equal(several, torch.cat([seeded(model, 5 + k, **HOW) for k in range(3)]))


def test_eight_threads_draw_as_one_by_one_while_others_draw_too(model):
    expected = {seed: seeded(model, seed, **HOW) for seed in range(8)}
    made, done = {}, threading.Event()

    def disturb():
        while not done.is_set():
            torch.rand(10)

    def work(seed):
        made[seed] = [seeded(model, seed, **HOW) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    disturbing.join()
    for seed, several in made.items():
        assert all(torch.equal(one, expected[seed]) for one in several)
    assert sorted(made) == list(range(8))


def test_a_streamer_sees_every_token(model):
    class Streamer:
        def __init__(self):
            self.seen = []

        def put(self, value):
            self.seen += value.flatten().tolist()

        def end(self):
            self.seen.append(None)

    streamer = Streamer()
    made = seeded(model, 2, streamer=streamer, **HOW)
    assert streamer.seen == [*made[0].tolist(), None]
