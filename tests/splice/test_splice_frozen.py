"""Digests must see every change and nothing else."""

import pytest
import torch
from accelerate import cpu_offload
from torch import nn

from lens_plugins.errors import InternalError
from lens_plugins.splice.frozen import digest, digests, freeze, unchanged


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def holding(**tensors: torch.Tensor) -> nn.Module:
    module = nn.Module()
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor)
    return module


def test_digest_is_stable_across_copies():
    assert digest(small()) == digest(small())


@pytest.mark.parametrize("name", ["0.weight", "3.bias", "1.running_var", "1.num_batches_tracked"])
def test_digest_sees_one_changed_value_in_parameters_and_buffers(name):
    model = small()
    before = digest(model)
    with torch.no_grad():
        model.state_dict()[name].view(-1)[0] += 1
    assert digest(model) != before


def test_digest_sees_shape_dtype_and_name():
    plain = holding(a=torch.zeros(2, 3))
    assert digest(plain) != digest(holding(a=torch.zeros(3, 2)))
    assert digest(plain) != digest(holding(b=torch.zeros(2, 3)))
    assert digest(plain) != digest(holding(a=torch.zeros(2, 3, dtype=torch.int32)))


def test_digest_reads_bfloat16_and_scalars_and_empty_tensors():
    model = holding(low=torch.ones(2, dtype=torch.bfloat16), one=torch.tensor(1.0), none=torch.zeros(0))
    before = digests(model)
    model.low[1], model.one[...] = 2, 2
    assert {name for name, value in digests(model).items() if value != before[name]} == {"low", "one"}


def test_digest_of_an_offloaded_module_is_that_of_the_loaded_one():
    model = small()
    before = digest(model)
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert model[0].weight.is_meta
    assert digest(model) == before
    assert model[0].weight.is_meta


def test_digest_refuses_weights_without_values():
    with pytest.raises(InternalError, match=r"weight is on the meta device"):
        digest(nn.Linear(2, 2, device="meta"))


def test_freeze_stops_gradients_and_training_mode():
    model = freeze(small().train())
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())


def test_unchanged_passes_over_reading_and_names_what_moved():
    model = small().eval()
    with unchanged(model):
        model(torch.zeros(2, 3))
    with pytest.raises(InternalError, match=r"1 of 9 frozen tensors changed, the first is 3\.bias"), unchanged(model):
        model[3].bias.data += 1
    assert len(digests(model)) == 9
