"""Hosts × modalities × places of fusion. No cell is skipped: what a host cannot do is expected as an error."""

from __future__ import annotations

from itertools import product

import pytest

from lens_plugins import Request, load_host
from lens_plugins.catalog import modalities
from lens_plugins.errors import ConfigError, Unsupported
from lens_plugins.hosts.base import Host
from lens_plugins.splice import PLACES, digest
from lens_plugins.testing.small import HOSTS, small_input, small_lens, write_host

LENSES = [name for name, row in modalities().items() if row.embedding]
UNITS = {"vit": 1, "qformer": 1, "llm": 2}
OPTIONS = {"max_new_tokens": 3, "num_beams": 1}


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Host:
    host = load_host(write_host(tmp_path_factory.mktemp("matrix"), request.param))
    for modality in LENSES:
        host.plug(small_lens(modality))
    return host


@pytest.mark.parametrize(("modality", "place"), list(product(modalities(), PLACES)))
def test_one_input_alone_is_the_same_at_every_place(host, modality, place):
    given = small_input(modality, clips=1)
    assert host.generate(given, fuse=place, **OPTIONS) == host.generate(given, fuse="vit", **OPTIONS)


@pytest.mark.parametrize(("modality", "place"), list(product(modalities(), PLACES)))
def test_with_a_picture(host, modality, place):
    inputs = [small_input("image", seed=9), small_input(modality, clips=1)]
    seen = host.look(inputs, fuse=place)
    assert len(seen.features) == UNITS[place]
    alone = host.generate(inputs, fuse=place, **OPTIONS)
    requests = [Request(small_input("image")), Request(inputs, fuse=place), Request(inputs[::-1], fuse=place)]
    assert host.generate_batch(requests, **OPTIONS)[1] == alone


@pytest.mark.parametrize("place", PLACES)
def test_recordings_of_several_clips(host, place):
    seen = host.look([small_input("image"), small_input("audio", clips=3)], fuse=place)
    assert len(seen.features) == {"vit": 3, "qformer": 3, "llm": 4}[place]
    assert isinstance(host.generate(seen, **OPTIONS), str)


@pytest.mark.parametrize("place", PLACES)
def test_all_modalities_at_once(host, place):
    inputs = [small_input(modality, clips=1) for modality in modalities()]
    seen = host.look(inputs, fuse=place)
    tokens = 4 * len(inputs)
    expected = {"vit": [1 + tokens], "qformer": [len(inputs) + tokens], "llm": [5] * len(inputs)}
    assert [len(unit) for unit in seen.features] == expected[place]
    assert isinstance(host.generate(seen, **OPTIONS), str)


@pytest.mark.parametrize("modality", modalities())
def test_without_its_lens_a_modality_is_refused_and_pictures_are_not(host, modality):
    given = small_input(modality)
    bare = load_host(host.model)
    bare.tokenizer, bare.qformer_tokenizer = host.tokenizer, getattr(host, "qformer_tokenizer", None)
    if modality == "image":
        assert bare.generate(given, **OPTIONS) == host.generate(given, **OPTIONS)
    else:
        with pytest.raises(Unsupported, match=rf"has no lens for {modalities()[modality].noun}; lenses plugged: none"):
            bare.generate(given, **OPTIONS)


@pytest.mark.parametrize(("modality", "place"), list(product(modalities(), ("token", ""))))
def test_a_place_that_is_none_is_refused(host, modality, place):
    with pytest.raises(ConfigError, match=rf"no place '{place}' to fuse inputs.*vit, qformer, llm"):
        host.generate(small_input(modality), fuse=place)


def test_nothing_moved_in_all_of_this(host):
    before = digest(host.model)
    host.generate([small_input(modality, clips=1) for modality in modalities()], **OPTIONS)
    assert digest(host.model) == before
