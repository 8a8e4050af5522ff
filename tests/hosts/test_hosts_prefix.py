"""What every host that generates checks and shares, each by itself."""

from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config

from lens_plugins.errors import CheckpointError, ConfigError, InputError
from lens_plugins.hosts.messages import Reply
from lens_plugins.hosts.prefix import (
    HERE,
    best_of,
    check_ids,
    check_one_beam,
    check_options,
    check_room,
    mean_chance,
    pad_rows,
    run_generate,
    sampled,
    with_penalty,
)
from lens_plugins.testing.small import small_input


def test_rows_are_padded_on_either_side_with_their_mask():
    rows = [torch.tensor([1, 2, 3]), torch.tensor([4])]
    batch, mask = pad_rows(rows, value=9)
    assert batch.tolist() == [[1, 2, 3], [9, 9, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    batch, mask = pad_rows([torch.ones(2, 3), torch.ones(1, 3)], side="right")
    assert (batch.shape, batch[1, 1].tolist(), mask.tolist()) == ((2, 2, 3), [0, 0, 0], [[1, 1], [1, 0]])


def test_room_is_named_with_both_numbers():
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
                    max_position_embeddings=16)
    )  # fmt: skip
    check_room(15, model, "Words", "the host", "Say less.")
    with pytest.raises(
        InputError, match=r"Words take 16 positions; the language model of the host has 16\. Say less\."
    ):
        check_room(16, model, "Words", "the host", "Say less.")
    endless = SimpleNamespace(config=T5Config())  # whose positions are relative
    check_room(10**6, endless, "Words", "the host", "Say less.")


def test_one_beam():
    check_one_beam({})
    check_one_beam({"num_beams": 1})
    with pytest.raises(ConfigError, match="runs 1 beam, got num_beams=2"):
        check_one_beam({"num_beams": 2})


@pytest.mark.parametrize("name", ["input_ids", "inputs_embeds", "streamer", "custom_generate", "trust_remote_code"])
def test_options_of_the_host_and_code_of_others_are_refused(name, instructblip):
    with pytest.raises(ConfigError, match=f"option {name} is not the caller's to give"):
        check_options({name: 1})
    with pytest.raises(ConfigError, match=f"option {name} is not the caller's to give"):
        instructblip.generate(small_input("image"), **{name: "owner/repository"})


@pytest.mark.parametrize("name", ["num_beams", "num_return_sequences"])
def test_counts_are_counts(name):
    check_options({name: 2})
    check_options({name: None})
    for count in (0, -1, 1.5, "2"):
        with pytest.raises(ConfigError, match=rf"{name} is {count!r}; it must be a whole number of at least 1"):
            check_options({name: count})


def test_what_generate_makes_of_its_options_is_one_sentence():
    def generate(**options):
        raise options["error"]

    for error in (ValueError("no"), TypeError("no"), AttributeError("no"), ZeroDivisionError("no"), KeyError("no")):
        with pytest.raises(ConfigError, match=r"transformers refuses these generation options: .*no"):
            run_generate(generate, error=error)
    with pytest.raises(MemoryError):  # no option's fault
        run_generate(generate, error=MemoryError())
    assert run_generate(lambda **options: options, a=1) == {"a": 1}


def test_guidance_needs_ids(instructblip):
    with pytest.raises(ConfigError, match="guidance_scale needs a prompt of ids alone"):
        instructblip.generate(small_input("image"), guidance_scale=2.0)


def test_sampling_brings_lavis_top_p():
    assert sampled({"do_sample": True}) == {"do_sample": True, "top_p": 0.9}
    assert sampled({"do_sample": True, "top_p": 0.4})["top_p"] == 0.4
    assert sampled({"num_beams": 3}) == {"num_beams": 3}


def test_a_penalty_joins_the_processors_that_are_there():
    assert with_penalty({"num_beams": 2}) == {"num_beams": 2}
    mine = object()
    made = with_penalty({"repetition_penalty": 1.3, "logits_processor": [mine]})
    assert made["repetition_penalty"] == 1.0
    first, second = made["logits_processor"]
    assert (first.penalty, second) == (1.3, mine)


def test_ids_beyond_the_embeddings_are_named_with_both_numbers():
    check_ids([], torch.nn.Embedding(3, 2), "the model")
    check_ids([0, 2], torch.nn.Embedding(3, 2), "the model")
    with pytest.raises(CheckpointError, match="does not go with the model: it makes id 3, the model has 3 embeddings"):
        check_ids([3, 0], torch.nn.Embedding(3, 2), "the model")


def test_the_best_carries_the_others():
    made = [Reply("a", score=-2.0), Reply("b", score=-1.0), Reply("c", score=-0.5), Reply("d", score=-0.7)]
    first, second = best_of(made, 2)
    assert (first, first.score, [*first.alternatives]) == ("b", -1.0, ["b", "a"])
    assert (second, [one.score for one in second.alternatives]) == ("c", [-0.5, -0.7])
    assert first.alternatives[0].alternatives == ()


def test_padding_does_not_count_in_a_score():
    chances = torch.tensor([[-1.0, -3.0, -8.0], [-2.0, -2.0, -2.0]])
    ids = torch.tensor([[5, 6, 0], [5, 6, 7]])
    assert mean_chance(chances, ids, 0).tolist() == [-2.0, -2.0]
    assert mean_chance(chances, ids, None).tolist() == [-4.0, -2.0]


def test_vectors_stand_where_the_ids_say(instructblip):
    """One place takes all, several take an equal part of them; with a mask that has padding."""
    generator = torch.Generator().manual_seed(0)
    prefix = torch.randn(2, 4, 64, generator=generator)
    text = instructblip.language_model.get_input_embeddings()
    embeds, mask = instructblip._embedded(prefix, torch.tensor([[0, 5, HERE, 7], [4, HERE, 6, 8]]), None)
    assert embeds.shape == (2, 7, 64)
    assert mask.all()
    assert torch.equal(embeds[0], torch.cat([text(torch.tensor([0, 5])), prefix[0], text(torch.tensor([7]))]))
    ids = torch.tensor([[0, HERE, 5, HERE], [4, HERE, HERE, 6]])
    embeds, mask = instructblip._embedded(prefix, ids, torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]]))
    assert mask.tolist() == [[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]
    assert torch.equal(embeds[0, 1:3], prefix[0, :2])
    assert torch.equal(embeds[0, 4:], prefix[0, 2:])
    assert torch.equal(embeds[1, 1:5], prefix[1])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[HERE, 1, HERE, HERE]], "4 vectors cannot be shared out to 3 places"),
        ([[1, 2], [3, 4]], "There are 1 prefixes for 2 prompts"),
    ],
)
def test_vectors_that_do_not_go_with_the_ids_are_refused(instructblip, ids, message):
    with pytest.raises(InputError, match=message):
        instructblip.logits(torch.zeros(1, 4, 64), torch.tensor(ids))


def test_prompts_of_other_lengths_are_refused(instructblip):
    with pytest.raises(InputError, match="Prompts of one batch take 5 to 6 positions"):
        instructblip.logits(torch.zeros(2, 4, 64), torch.tensor([[1, 2], [HERE, 3]]))
