import pytest
import torch

from lens_plugins.errors import ConfigError, InputError
from lens_plugins.inputs.audio import AudioSettings
from lens_plugins.lens.embeddings import (
    DepthConfig,
    DepthEmbedding,
    EegConfig,
    EegEmbedding,
    PatchConfig,
    PatchEmbedding,
    PointConfig,
    PointEmbedding,
    SpectrogramConfig,
    SpectrogramEmbedding,
)
from lens_plugins.lens.embeddings.stem import ConvStem

POINT = PointConfig(24, 16, 8, 12, 8)


class TestPoints:
    def test_a_cloud_smaller_than_a_group(self):
        with pytest.raises(InputError, match=r"cloud of 7 points is too small.*8"):
            PointEmbedding(POINT)(torch.zeros(1, 7, 3))

    def test_a_cloud_smaller_than_the_number_of_groups(self):
        tokens, positions = PointEmbedding(POINT)(torch.randn(1, 9, 3))
        assert tokens.shape == positions.shape == (1, 16, 24)
        assert torch.equal(tokens[0, 9], tokens[0, 0])

    @pytest.mark.parametrize("shape", [(9, 3), (1, 9, 4), (1, 3, 9)])
    def test_another_shape(self, shape):
        with pytest.raises(InputError, match=r"\(B, P, 3\), not"):
            PointEmbedding(POINT)(torch.zeros(shape))

    def test_the_first_centre_is_the_first_point_unless_a_seed_says_otherwise(self):
        cloud = torch.randn(2, 100, 3)
        assert torch.equal(PointEmbedding(POINT).group(cloud)[0][:, 0], cloud[:, 0])
        seeded = [PointEmbedding(PointConfig(24, 16, 8, 12, 8, seed=5)).group(cloud)[0] for _ in range(2)]
        assert torch.equal(*seeded)
        assert not torch.equal(seeded[0][:, 0], cloud[:, 0])

    def test_the_order_of_points_matters_only_through_the_first(self):
        torch.manual_seed(0)
        embedding, cloud = PointEmbedding(POINT), torch.randn(1, 60, 3)
        mixed = torch.cat([cloud[:, :1], cloud[:, 1:].flip(1)], 1)
        for a, b in zip(embedding(cloud), embedding(mixed)):
            torch.testing.assert_close(a, b)

    def test_neighbours_are_relative_to_their_centre(self):
        cloud = torch.randn(1, 60, 3)
        centers, groups = PointEmbedding(POINT).group(cloud + 5)
        moved, same = PointEmbedding(POINT).group(cloud)
        torch.testing.assert_close(centers, moved + 5)
        torch.testing.assert_close(groups, same, atol=1e-5, rtol=0)
        assert (groups.abs().sum(-1) == 0).any(-1).all()  # a centre is its own nearest point

    def test_chunks_leave_no_seam(self, monkeypatch):
        embedding, cloud = PointEmbedding(POINT), torch.randn(2, 60, 3)
        whole = embedding(cloud)[0]
        monkeypatch.setattr("lens_plugins.lens.embeddings.point_cloud._ROWS_CPU", 8 * 5)
        torch.testing.assert_close(embedding(cloud)[0], whole)

    def test_small_pocket_dimensions(self):
        tokens, _ = PointEmbedding(PointConfig(128, 128, 32, 128))(torch.randn(1, 1024, 3))
        assert tokens.shape == (1, 128, 128)


class TestSpectrogram:
    @pytest.mark.parametrize(("frames", "fits"), [(503, False), (504, True), (513, True), (514, False)])
    def test_fifty_columns_accept_504_to_513_frames(self, frames, fits):
        embedding = SpectrogramEmbedding(SpectrogramConfig(8))
        if fits:
            assert embedding(torch.zeros(1, frames, 128))[0].shape == (1, 600, 8)
        else:
            with pytest.raises(InputError, match=f"{frames} frames.*600"):
                embedding(torch.zeros(1, frames, 128))

    def test_frames_beyond_the_last_column_change_nothing(self):
        embedding, fbank = SpectrogramEmbedding(SpectrogramConfig(8, 24)), torch.randn(1, 33, 128)
        assert torch.equal(embedding(fbank)[0], embedding(fbank[:, :24])[0])

    def test_tokens_run_along_time_first(self):
        embedding = SpectrogramEmbedding(SpectrogramConfig(1, 24))
        torch.nn.init.ones_(embedding.proj.weight)
        fbank = torch.zeros(1, 24, 128)
        fbank[0, 10:, 127 - 4 :] = 1  # the last 4 bins, of which the last row of patches ends at 124
        tokens = embedding(fbank)[0][0, :, 0].view(12, 2)  # frequency-major
        assert tokens[:-1].count_nonzero() == 0
        assert tokens[-1].tolist() == [4.0, 14.0]

    def test_mel_bins(self):
        with pytest.raises(InputError, match="reads 128 mel bins; this spectrogram has 64"):
            SpectrogramEmbedding(SpectrogramConfig(8))(torch.zeros(1, 512, 64))
        with pytest.raises(ConfigError, match=r"25 positions.*12 frequency rows"):
            SpectrogramConfig(8, 25)


class TestStem:
    """Convolutions before the patches."""

    def config(self, **values):
        return SpectrogramConfig(**{"width": 8, "positions": 12, "patch": 1, "stride": 1, "mel_bins": 16} | values)

    @pytest.mark.parametrize(("frames", "fits"), [(11, False), (12, True), (15, True), (16, False)])
    def test_every_block_halves_both_axes(self, frames, fits):
        embedding = SpectrogramEmbedding(self.config(stem=(4, 6)))  # 16 bins to 4 rows
        fbank = torch.randn(2, frames, 16)
        if fits:
            assert embedding(fbank)[0].shape == (2, 12, 8)
        else:
            with pytest.raises(InputError, match=f"{frames} frames.*12"):
                embedding(fbank)

    def test_rows_run_along_frequency_and_columns_along_time(self):
        stem = ConvStem((1,), 8)
        for conv in stem.convs:
            torch.nn.init.zeros_(conv.weight)
            conv.weight.data[0, 0, 1, 1] = 1  # passes its input on
        x = torch.full((1, 1, 8, 12), -20.0)
        x[..., 6:8, 0:3] = 0  # loud: high and early
        found = stem(x)[0, 0]
        assert found.shape == (4, 6)
        assert found.argmax() == 3 * 6
        assert found[:3].max() < found[3, 0]

    def test_power_is_averaged_and_has_a_soft_floor(self):
        stem = ConvStem((1,), 4)
        power = torch.arange(1.0, 1 + 4 * 8).view(1, 1, 4, 8)
        pooled = ConvStem.pooled(power)
        assert pooled[0, 0, 1, 1] == power[0, 0, 1:4, 1:5].mean()
        assert pooled[0, 0, 0, 0] == power[0, 0, :2, :3].mean()  # what is beyond an edge does not count
        torch.nn.init.zeros_(stem.convs[0].weight)
        for conv in stem.convs:
            torch.nn.init.zeros_(conv.weight)
            conv.weight.data[0, 0, 1, 1] = 1
        stem.offset.data[:] = torch.tensor([0.0, 3.0])
        expected = (pooled * stem.offset.exp()[:, None]).log1p()
        torch.testing.assert_close(stem(power.log()), expected)

    def test_half_precision_has_room(self):
        embedding = SpectrogramEmbedding(self.config(stem=(4, 6))).to(torch.bfloat16)
        assert embedding(torch.full((1, 12, 16), 20.0))[0].isfinite().all()

    def test_what_does_not_fit_is_refused(self):
        for values, message in (
            ({"stem": (4, 0)}, r"stem is \(4, 0\); it must be a list of channels"),
            ({"stem": 4}, "stem is 4; it must be a list of channels"),
            ({"stem": (4,), "mel_bins": None}, "mel_bins is None.*even number"),
            ({"stem": (4,), "mel_bins": 15}, "mel_bins is 15.*even number"),
            ({"stem": (4, 6, 8), "positions": 12, "patch": 3}, "mel_bins is 16, below a patch of 24"),
        ):
            with pytest.raises(ConfigError, match=message):
                self.config(**values)
        with pytest.raises(ConfigError, match="3 time columns need 12 to 15 frames, not 20"):
            self.config(stem=(4, 6)).check_input(AudioSettings(frames=20, mel_bins=16))

    def test_lenses_without_one_keep_their_tensors(self):
        assert set(SpectrogramEmbedding(SpectrogramConfig(8)).state_dict()) == {"proj.weight", "positions"}


class TestPatches:
    def test_depth_is_row_major_with_positions(self):
        embedding = DepthEmbedding(DepthConfig(1, 2, 4))
        torch.nn.init.ones_(embedding.proj.weight)
        tokens, positions = embedding(torch.arange(16.0).view(1, 1, 4, 4))
        assert tokens[0, :, 0].tolist() == [0 + 1 + 4 + 5, 2 + 3 + 6 + 7, 8 + 9 + 12 + 13, 10 + 11 + 14 + 15]
        assert positions.shape == (4, 1)

    def test_depth_of_another_size(self):
        with pytest.raises(InputError, match=r"\(B, 1, 4, 4\), not \(1, 1, 4, 6\)"):
            DepthEmbedding(DepthConfig(1, 2, 4))(torch.zeros(1, 1, 4, 6))

    def test_pictures_of_any_whole_number_of_patches(self):
        embedding = PatchEmbedding(PatchConfig(8, 14, 224))
        tokens, positions = embedding(torch.randn(1, 3, 28, 42))
        assert tokens.shape == (1, 6, 8)
        assert not positions.any()
        with pytest.raises(InputError, match=r"\(28, 30\) pixels are not whole patches of 14"):
            embedding(torch.zeros(1, 3, 28, 30))

    @pytest.mark.parametrize("config", [DepthConfig, PatchConfig])
    def test_a_size_that_is_not_whole_patches(self, config):
        with pytest.raises(ConfigError, match="225 is not one of 14"):
            config(8, 14, 225)


class TestEeg:
    def test_windows(self):
        embedding = EegEmbedding(EegConfig(1, 2, 10, 4, 3))
        torch.nn.init.ones_(embedding.proj.weight)
        torch.nn.init.zeros_(embedding.proj.bias)
        tokens, positions = embedding(torch.ones(1, 2, 10))
        assert tokens[0, :, 0].tolist() == [8.0, 8.0, 8.0]
        assert positions.shape == (3, 1)

    def test_other_channels(self):
        with pytest.raises(InputError, match=r"128 channels, 512 steps\), not \(1, 64, 512\)"):
            EegEmbedding(EegConfig(8))(torch.zeros(1, 64, 512))
