import pytest
import torch
from torch import nn

from lens_plugins.train.muon import Muon


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9")
def test_muon_in_float32_steps_as_torchs_own():
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(48, 32))
    theirs = nn.Parameter(ours.detach().clone())
    both = Muon([ours], 1e-2, 0.05), torch.optim.Muon([theirs], 1e-2, 0.05, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        ours.grad = torch.randn(48, 32)
        theirs.grad = ours.grad.clone()
        for optimizer in both:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)  # theirs is rounded to bfloat16
