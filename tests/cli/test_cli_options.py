from typing import get_args

import pytest
import torch
import typer

from lens_plugins.cli.options import (
    GenerationOptions,
    HostOptions,
    InputOptions,
    Place,
    TextHostOptions,
    pairs,
    spelled_out,
    values_of,
)
from lens_plugins.errors import ConfigError
from lens_plugins.splice import PLACES


def test_places_are_those_of_the_splice():
    assert get_args(Place) == PLACES


def test_groups_become_options_of_the_command():
    seen = {}

    @spelled_out
    def command(file: str, host: HostOptions, generation: GenerationOptions, deep: bool = False) -> None:
        seen.update(file=file, host=host, generation=generation, deep=deep)

    app = typer.Typer()
    app.command()(command)
    words = ["x.ply", "--host", "h", "--lens", "audio=a", "--lens", "eeg=e", "--4bit", "--num-beams", "3", "--deep"]
    with pytest.raises(SystemExit) as stop:
        app(words)
    assert stop.value.code == 0
    assert seen == {
        "file": "x.ply",
        "host": HostOptions(host="h", lens=["audio=a", "eeg=e"], four_bit=True),
        "generation": GenerationOptions(num_beams=3),
        "deep": True,
    }


@pytest.mark.parametrize(
    ("options", "quantization"),
    [({}, None), ({"four_bit": True}, "4bit"), ({"eight_bit": True}, "8bit")],
)
def test_quantization(options, quantization):
    assert HostOptions(**options).quantization == quantization


def test_both_quantizations_are_refused():
    with pytest.raises(ConfigError, match="--4bit and --8bit exclude each other"):
        _ = HostOptions(four_bit=True, eight_bit=True).quantization


def test_what_load_host_is_told():
    import inspect

    from lens_plugins import load_host

    options = TextHostOptions(host="h", eight_bit=True, device="cuda", text_tower="t", text_head="f")
    told = {"dtype": None, "device_map": "cuda", "quantization": "8bit", "text_tower": "t", "text_head": "f"}
    assert options.loading() == told
    assert told.keys() <= inspect.signature(load_host).parameters.keys()


def test_nothing_given_leaves_generation_to_the_host():
    assert GenerationOptions().given() == {}


def test_generation_by_transformers_names():
    options = GenerationOptions(max_new_tokens=7, num_beams=2, repetition_penalty=1.2, generation=["min_length=3"])
    assert options.given() == {"max_new_tokens": 7, "num_beams": 2, "repetition_penalty": 1.2, "min_length": 3}


@pytest.mark.parametrize("options", [{"temperature": 0.7}, {"top_p": 0.5}])
def test_sampling_is_meant_where_its_options_are_given(options):
    assert GenerationOptions(**options).given() == {**options, "do_sample": True}


def test_a_seed_makes_draws_repeat():
    draws = []
    for seed in (5, 5, 6):
        GenerationOptions(seed=seed).given()
        draws.append(torch.rand(1).item())
    assert draws[0] == draws[1] != draws[2]


def test_settings_of_a_modality_by_their_names():
    options = InputOptions(clips=2, up="z", chosen=["depth.kind=depth_mm", "depth.unit_scale=1", "audio.channel=null"])
    assert options.settings("depth") == {"kind": "depth_mm", "unit_scale": 1}
    assert options.settings("audio") == {"clips": 2, "channel": None}
    assert options.settings("point_cloud") == {"up": "z"}
    assert options.settings("tactile") == {}
    assert InputOptions().settings("audio") == {}


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("depth.knd=depth_mm", r"--set depth\.knd=depth_mm: depth has no setting 'knd'; did you mean 'kind'\?"),
        ("depth.colour=red", r"depth has no setting 'colour'; It has: size, unit_scale, .*holes"),
        ("dpeth.kind=depth_mm", "no modality 'dpeth'; did you mean 'depth'"),
        ("kind=depth_mm", r"--set kind=depth_mm names no modality; give it as MODALITY\.kind=depth_mm"),
        ("depth.kind", "--set 'depth.kind' is not of the form NAME=VALUE"),
        ("audio.clips=3", r"--clips 2 and --set audio\.clips=3 exclude each other"),
    ],
)
def test_settings_that_are_none(word, sentence):
    with pytest.raises(ConfigError, match=sentence):
        InputOptions(clips=2, chosen=[word]).settings("audio")


def test_values_are_json_or_text():
    given = ["a=16", "b=0.5", "c=true", "d=null", "e=plain text", "f=x=y"]
    assert values_of(given, "--set") == {"a": 16, "b": 0.5, "c": True, "d": None, "e": "plain text", "f": "x=y"}
    assert values_of(None, "--set") == {}


@pytest.mark.parametrize("wrong", ["width", "=16", "width="])
def test_a_pair_has_a_name_and_a_value(wrong):
    with pytest.raises(ConfigError, match=f"--set '{wrong}' is not of the form NAME=VALUE"):
        pairs([wrong], "--set")


def test_a_name_is_given_once():
    with pytest.raises(ConfigError, match="--lens gives 'audio' twice: 'a' and 'b'"):
        pairs(["audio=a", "audio=b"], "--lens")
