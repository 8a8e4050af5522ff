import numpy as np
import pytest
from stub_host import StubHost


@pytest.fixture
def host():
    return StubHost()


@pytest.fixture
def rng():
    return np.random.default_rng(3)
