"""The weights that ship: whole, unchanged, small, and still saying what they said."""

import json

import pytest
import torch
from safetensors.torch import load_file

import lens_plugins as lp
from lens_plugins.bench.heldout import open_objects
from lens_plugins.pocket.shipped import WEIGHTS
from lens_plugins.splice import digest

MEGABYTE = 1e6


@pytest.fixture(scope="module")
def host():
    loaded = lp.load_host("pocket-instructblip")
    loaded.plug(lp.load_lens("pocket-point-cloud"))
    return loaded


@pytest.mark.parametrize("part", ["instructblip", "lens-*", "heldout", "seed-llama"])
def test_what_ships_is_small(part):
    files = [file for folder in WEIGHTS.glob(part) for file in folder.rglob("*") if file.is_file()]
    assert 1 * MEGABYTE < sum(file.stat().st_size for file in files) <= 80 * MEGABYTE


def test_the_host_is_the_one_that_was_frozen():
    notes = json.loads((WEIGHTS / "instructblip" / "lens_plugins.json").read_text())
    state = load_file(WEIGHTS / "instructblip" / "model.safetensors")
    holder = torch.nn.Module()
    for name, tensor in state.items():
        holder.register_buffer(name.replace(".", "/"), tensor.float())
    assert digest(holder) == notes["digest"]


@pytest.mark.e2e
def test_held_out_objects_are_named_far_more_often_than_by_chance(host):
    objects = [one for one in open_objects() if one.label in ("chair", "lamp", "sofa", "table", "person", "bed")]
    settings = host.lenses["point_cloud"].config.input
    clouds = [lp.Request([lp.read(one.cloud, "point_cloud", settings)]) for one in objects]
    replies = host.generate_batch(clouds, num_beams=1, max_new_tokens=12)
    right = sum(one.case(None).named_in(reply) for reply, one in zip(replies, objects))
    most = max(sum(one.label == other.label for other in objects) for one in objects)
    assert right > 1.5 * most, f"{right} of {len(objects)} named; always saying one class gives {most}"


def test_a_lens_moves_no_weight_of_the_host(host):
    before = digest(host.model)
    host.generate(open_objects()[0].pictures[0], max_new_tokens=2, num_beams=1)
    assert digest(host.model) == before
