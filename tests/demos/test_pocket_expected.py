"""The host and the point cloud lens still say what they said when the recipe wrote them."""

import json

import pytest
import torch
from pocket.expected import answers
from safetensors.torch import load_file

import lens_plugins as lp
from lens_plugins.pocket.shipped import WEIGHTS

pytestmark = pytest.mark.usefixtures("pocket")


@pytest.fixture(scope="module")
def host():
    loaded = lp.load_host("pocket-instructblip")
    loaded.plug(lp.load_lens("pocket-point-cloud"))
    return loaded


def test_features_are_those_recorded_when_it_was_built(host):
    expected = load_file(WEIGHTS / "expected" / "expected.safetensors")
    found = answers(host)
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        torch.testing.assert_close(found[name], rows, atol=2e-4, rtol=0)


def test_the_seed_host_is_the_one_that_was_frozen():
    pytest.importorskip("diffusers", reason="the seed extra is absent")
    from pocket.seed.build import parts_digest

    model = lp.load_host("pocket-seed-llama")
    found = parts_digest(model.model.tokenizer, model.model.language_model, model.detokenizer.pipeline)
    assert found == json.loads((WEIGHTS / "seed-llama" / "lens_plugins.json").read_text())["digest"]
