import pytest
import torch

from lens_plugins.inputs import AudioSettings, DepthSettings, EegSettings, TactileSettings
from lens_plugins.lens.config import LensConfig, ViTFingerprint
from lens_plugins.lens.embeddings import DepthConfig, EegConfig, PatchConfig, PointConfig, SpectrogramConfig
from lens_plugins.lens.perceiver import PerceiverConfig
from lens_plugins.lens.tower import TowerConfig
from lens_plugins.testing.lens import LensContract


def resampler(context_width: int, depth: int = 1, self_per_cross: int = 1) -> PerceiverConfig:
    return PerceiverConfig(32, 6, context_width, depth, self_per_cross, 1, 16, 2, 16)


class TestPointCloud(LensContract):
    @pytest.fixture
    def config(self):
        embedding = PointConfig(trans_dim=24, num_groups=10, group_size=4, encoder_dim=16, hidden=8)
        return LensConfig("point_cloud", 32, embedding, resampler(24, 2), vit=ViTFingerprint(32, 6, 1e-6))

    @pytest.fixture
    def batch(self):
        return torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(1))


class TestAudio(LensContract):
    @pytest.fixture
    def config(self):
        settings = AudioSettings(frames=40, mel_bins=32, clip_seconds=0.5)
        return LensConfig("audio", 32, SpectrogramConfig(16, 6, mel_bins=32), resampler(16, 1, 3), settings)

    @pytest.fixture
    def batch(self):
        return torch.randn(2, 40, 32, generator=torch.Generator().manual_seed(1))

    def test_clips_are_read_one_by_one(self, lens, batch):
        clips = torch.stack([batch, batch.flip(0), batch * 0.5], 1)  # (B, C, T, F)
        latents = lens(clips)
        assert latents.shape == (2, 3, 6, 32)
        torch.testing.assert_close(latents[:, 1], lens(batch.flip(0)), atol=1e-5, rtol=1e-5)


class TestAudioBehindAStem(LensContract):
    @pytest.fixture
    def config(self):
        settings = AudioSettings(frames=40, mel_bins=32, clip_seconds=0.5)
        embedding = SpectrogramConfig(16, 80, patch=1, stride=1, mel_bins=32, stem=(4, 6))
        return LensConfig("audio", 32, embedding, resampler(16), settings)

    @pytest.fixture
    def batch(self):
        return torch.randn(2, 40, 32, generator=torch.Generator().manual_seed(1))


class TestDepth(LensContract):
    @pytest.fixture
    def config(self):
        return LensConfig("depth", 32, DepthConfig(32, 14, 28), None, DepthSettings(size=28))

    @pytest.fixture
    def batch(self):
        return torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))


class TestEeg(LensContract):
    @pytest.fixture
    def config(self):
        settings = EegSettings(channels=5, steps=20)
        return LensConfig("eeg", 32, EegConfig(16, 5, 20, 4, 2), resampler(16), settings)

    @pytest.fixture
    def batch(self):
        return torch.randn(2, 5, 20, generator=torch.Generator().manual_seed(1))


class TestTactile(LensContract):
    @pytest.fixture
    def config(self):
        return LensConfig("tactile", 32, PatchConfig(32, 14, 28), None, TactileSettings(size=28, resize=32))

    @pytest.fixture
    def batch(self):
        return torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))


class TestEegWithTower(TestEeg):
    @pytest.fixture
    def config(self):
        settings = EegSettings(channels=5, steps=20)
        tower = TowerConfig(32, 2, 2, 64, 6, 12)
        return LensConfig("eeg", 32, EegConfig(16, 5, 20), resampler(16), settings, family="clip_l14", tower=tower)
