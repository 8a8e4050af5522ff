"""The order of inputs counts where SPEC says it does, before the language model, and nowhere else."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lens_plugins import load_host
from lens_plugins.testing.small import HOSTS, small_input, small_lens, write_host

MODALITIES = ("image", "point_cloud", "depth", "audio", "tactile", "eeg")


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    name = next(name for name in HOSTS if name.startswith("instructblip"))
    loaded = load_host(write_host(tmp_path_factory.mktemp("order") / name, name))
    for modality in MODALITIES[1:]:
        loaded.plug(small_lens(modality, clips=1))
    return loaded


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mixture=st.lists(st.tuples(st.sampled_from(MODALITIES), st.integers(0, 3)), min_size=2, max_size=4, unique=True),
    data=st.data(),
)
def test_order_counts_only_before_the_language_model(host, mixture, data):
    order = data.draw(st.permutations(range(len(mixture))))
    inputs = [small_input(modality, clips=1, seed=seed) for modality, seed in mixture]
    for place in ("vit", "qformer", "llm"):
        seen = (host.look(some, fuse=place) for some in (inputs, [inputs[i] for i in order]))
        one, other = (host.prefixes([s], ["a"])[0] for s in seen)  # (u·Q, H)
        if place == "llm":  # one block of queries for each input, in their order
            one = torch.cat([one.chunk(len(inputs))[i] for i in order])
        torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-4)
