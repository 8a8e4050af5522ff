import torch
from accelerate import cpu_offload
from accelerate.hooks import SequentialHook
from torch import nn

from lens_plugins.splice.offload import aligned


class Owner(nn.Module):
    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.ones(2))
        self.inner = nn.Linear(2, 2)


def test_a_whole_models_own_parameter_is_brought_in_and_sent_back():
    owner = Owner()
    cpu_offload(owner, execution_device=torch.device("cpu"))
    assert isinstance(owner._hf_hook, SequentialHook)
    with aligned(owner):
        assert owner.queries.tolist() == [1, 1]
        assert owner.inner.weight.is_meta
    assert owner.queries.is_meta


def test_what_is_not_offloaded_is_left_alone():
    owner = Owner()
    before = owner.queries
    with aligned(owner):
        assert owner.queries is before
