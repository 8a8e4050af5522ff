"""Every modality keeps the promises of `InputContract`."""

import numpy as np
import pytest

from lens_plugins.inputs import (
    AudioSettings,
    DepthSettings,
    EegSettings,
    ImageSettings,
    PointCloudSettings,
    TactileSettings,
)
from lens_plugins.testing import InputContract

random = np.random.default_rng(0)
CASES = {
    "image": (random.random((40, 50, 3)), ImageSettings(size=32), (3, 32, 32)),
    "point_cloud": (random.normal(size=(300, 3)), PointCloudSettings(max_points=64, candidates=200), (64, 3)),
    "depth": (random.uniform(1, 70, (40, 50)), DepthSettings(size=32), (1, 32, 32)),
    "audio": (random.uniform(-1, 1, 20_000), AudioSettings(clip_seconds=1.0, frames=104), (3, 104, 128)),
    "tactile": (random.random((3, 40, 50)), TactileSettings(size=32, resize=36), (3, 32, 32)),
    "eeg": (random.normal(size=(4, 500)), EegSettings(channels=4), (4, 512)),
}


@pytest.mark.parametrize("modality", CASES)
class TestEveryModality(InputContract):
    @pytest.fixture
    def raw(self, modality):
        return CASES[modality][0].astype(np.float32)

    @pytest.fixture
    def settings(self, modality):
        return CASES[modality][1]

    @pytest.fixture
    def shape(self, modality):
        return CASES[modality][2]
