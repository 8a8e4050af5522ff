"""The small hosts keep every promise of a host."""

import pytest
import torch

from lens_plugins.testing import HostContract
from lens_plugins.testing.small import small_input, small_lens


class TestTransformersHosts(HostContract):
    @pytest.fixture
    def lens(self):
        return small_lens("point_cloud")

    @pytest.fixture
    def heard(self):
        return small_input("point_cloud")

    @pytest.fixture
    def reference_features(self, host, pixels):
        with torch.no_grad():
            return host.model.vision_model(pixels).last_hidden_state
