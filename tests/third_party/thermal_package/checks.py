"""The package's own tests: it inherits every promise. Run where it is installed."""

import numpy as np
import pytest
import torch
from lens_thermal import Drift, ThermalConfig, ThermalSettings
from lens_toy_host import SIZE, ToyHost, ToyModel

from lens_plugins import load_host, load_lens, read
from lens_plugins.catalog import find_modality, host_kinds, modality_of_suffix
from lens_plugins.errors import ConfigError
from lens_plugins.inputs.settings import ViTShape
from lens_plugins.lens.config import LensConfig
from lens_plugins.testing import HostContract, InputContract, LensContract
from lens_plugins.testing.small import small_input, small_lens
from lens_plugins.train.augment import augmentation_for


class TestThermalInputs(InputContract):
    @pytest.fixture
    def modality(self):
        return "thermal"

    @pytest.fixture
    def raw(self):
        return np.random.default_rng(0).uniform(10, 40, (5, 40, 50)).astype(np.float32)

    @pytest.fixture
    def settings(self):
        return ThermalSettings()

    @pytest.fixture
    def shape(self):
        return 2, 1, 32, 32


class TestThermalLens(LensContract):
    @pytest.fixture
    def config(self):
        return LensConfig.for_vit("thermal", ViTShape(32, 4, 28))

    @pytest.fixture
    def batch(self):
        return torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))


class TestToyHost(HostContract):
    knows_beams = False

    @pytest.fixture
    def host(self):
        return ToyHost.wrap(ToyModel())

    @pytest.fixture
    def lens(self):
        return small_lens("thermal")

    @pytest.fixture
    def heard(self):
        return small_input("thermal")

    @pytest.fixture
    def pixels(self):
        return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))

    @pytest.fixture
    def reference_features(self, host, pixels):
        with torch.no_grad():
            return host.model(pixels)


def test_the_rows_come_from_entry_points():
    assert find_modality("thermal").noun == "a thermogram"
    assert modality_of_suffix(".thm") == "thermal"
    assert host_kinds()["toy"].host == "lens_toy_host:ToyHost"


def test_what_the_classes_leave_out_is_usual():
    large = LensConfig.for_vit("thermal", ViTShape(1408, 256, 224))
    assert (large.embedding, large.resampler.depth) == (ThermalConfig(1408), 2)
    small = LensConfig.for_vit("thermal", ViTShape(256, 64, 112), {"clips": 1})
    assert (small.width, small.num_tokens, small.embedding.width, small.input.clips) == (256, 64, 128, 1)
    assert augmentation_for("thermal", ThermalSettings()) == Drift()
    with pytest.raises(ConfigError, match="did you mean 'clips'"):
        LensConfig.for_vit("thermal", ViTShape(256, 64, 112), {"clps": 1})


def test_a_saved_host_is_loaded_by_its_kind(tmp_path):
    ToyModel(seed=3).save(tmp_path)
    host = load_host(tmp_path)
    small_lens("thermal").save_pretrained(tmp_path / "lens")
    host.plug(load_lens(tmp_path / "lens"))
    with open(tmp_path / "cup.thm", "wb") as file:
        file.write(b"THM 3 20 30\n" + np.full((3, 20, 30), 36.6, "<f4").tobytes())
    assert read(tmp_path / "cup.thm").tensor.shape == (2, 1, 32, 32)
    assert isinstance(host.generate(str(tmp_path / "cup.thm"), max_new_tokens=2), str)
