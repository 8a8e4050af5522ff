"""The weights that ship: whole, unchanged, small, and still saying what they said."""

import json

import pytest
import torch
from safetensors.torch import load_file

import lens_plugins as lp
from lens_plugins.catalog import find_host, find_lens
from lens_plugins.pocket import WEIGHTS
from lens_plugins.pocket.build import digest_of
from lens_plugins.pocket.expected import answers
from lens_plugins.pocket.heldout import names_class, open_heldout

MEGABYTE = 1e6


@pytest.fixture(scope="module")
def host():
    loaded = lp.load_host("pocket-instructblip")
    loaded.plug(lp.load_lens("pocket-point-cloud"))
    return loaded


@pytest.mark.parametrize("parts", [("instructblip", "lens-point-cloud"), ("lens-*",), ("heldout",)], ids="+".join)
def test_what_ships_is_small(parts):
    files = [file for part in parts for folder in WEIGHTS.glob(part) for file in folder.rglob("*") if file.is_file()]
    assert 1 * MEGABYTE < sum(file.stat().st_size for file in files) <= 60 * MEGABYTE


def test_the_host_is_the_one_that_was_frozen():
    notes = json.loads((WEIGHTS / "instructblip" / "lens_plugins.json").read_text())
    state = load_file(WEIGHTS / "instructblip" / "model.safetensors")
    assert digest_of({name: tensor.float() for name, tensor in state.items()}) == notes["digest"]


def test_rows_of_the_catalogue_lead_to_what_ships():
    lenses = [find_lens(f"pocket-{name}") for name in ("point-cloud", "audio", "depth", "tactile", "eeg")]
    for row in (find_host("pocket-instructblip"), *lenses):
        assert (WEIGHTS.parents[1] / row.source / "model.safetensors").is_file()


def test_features_are_those_recorded_when_it_was_built(host):
    expected = load_file(WEIGHTS / "expected" / "expected.safetensors")
    found = answers(host)
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        torch.testing.assert_close(found[name], rows, atol=2e-4, rtol=0)


@pytest.mark.e2e
def test_held_out_objects_are_named_far_more_often_than_by_chance(host):
    objects = [one for one in open_heldout() if one.label in ("chair", "lamp", "sofa", "table", "person", "bed")]
    settings = host.lenses["point_cloud"].config.input
    clouds = [lp.Request([lp.read(one.cloud, "point_cloud", settings)]) for one in objects]
    replies = host.generate_batch(clouds, num_beams=1, max_new_tokens=12)
    right = sum(names_class(reply, one.label) for reply, one in zip(replies, objects))
    most = max(sum(one.label == other.label for other in objects) for one in objects)
    assert right > 1.5 * most, f"{right} of {len(objects)} named; always saying one class gives {most}"


def test_a_lens_moves_no_weight_of_the_host(host):
    from lens_plugins.splice import digest

    before = digest(host.model)
    host.generate(open_heldout()[0].pictures[0], max_new_tokens=2, num_beams=1)
    assert digest(host.model) == before
