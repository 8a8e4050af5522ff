import pytest
from lens_files import small_config

from lens_plugins.errors import ConfigError
from lens_plugins.inputs import AudioSettings, DepthSettings, EegSettings
from lens_plugins.lens.config import LensConfig, ViTFingerprint, presets
from lens_plugins.lens.embeddings import DepthConfig, EegConfig, PointConfig, SpectrogramConfig


@pytest.mark.parametrize("modality", ["point_cloud", "audio", "depth", "eeg", "tactile"])
@pytest.mark.parametrize("family", ["eva_g14", "clip_l14"])
def test_plain_values_there_and_back(modality, family):
    config = small_config(modality, family)
    raw = config.to_dict()
    assert raw["format"] == 1
    assert LensConfig.from_dict(raw) == config


def test_the_input_is_the_modalitys_own_unless_given():
    assert type(LensConfig("point_cloud", 384, PointConfig()).input).__name__ == "PointCloudSettings"


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: LensConfig("point_cloud", 100, PointConfig()), "width 100, its last half writes 384"),
        (
            lambda: LensConfig("depth", 384, PointConfig()),
            "a lens for depth is built from a DepthConfig, not from a Point",
        ),
        (lambda: LensConfig("image", 384, PointConfig()), "no lens for a picture"),
        (lambda: LensConfig("pointcloud", 384, PointConfig()), "did you mean 'point_cloud'"),
        (
            lambda: LensConfig("point_cloud", 384, PointConfig(), vit=ViTFingerprint(384, 256)),
            "512 latents of width 384 do not fit a ViT with 256 positions of width 384",
        ),
        (
            lambda: LensConfig("point_cloud", 1408, PointConfig(128), presets()["eva_g14_objaverse"][1]),
            "reads tokens of width 384, the embedding makes 128",
        ),
        (
            lambda: LensConfig("depth", 8, DepthConfig(8, 14, 28), None, DepthSettings()),
            "reads 28 pixels, the input settings make 224",
        ),
        (
            lambda: LensConfig("audio", 8, SpectrogramConfig(8), None, AudioSettings(frames=100)),
            "50 time columns need 504 to 513 frames, not 100",
        ),
        (
            lambda: LensConfig("audio", 8, SpectrogramConfig(8), None, AudioSettings(mel_bins=64)),
            "reads 128 mel bins, the input settings make 64",
        ),
        (
            lambda: LensConfig("eeg", 8, EegConfig(8, 64), None, EegSettings()),
            "reads 64 channels, the input settings make 128",
        ),
    ],
)
def test_parts_that_do_not_fit_together(build, sentence):
    with pytest.raises(ConfigError) as caught:
        build()
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"widht": 3}, "did you mean 'width'"),
        ({"format": None}, "whole `format` number"),
        ({"modality": None}, "names its modality"),
        ({"embedding": 3}, "'embedding' of a lens configuration holds named values"),
        ({"embedding": {"trans_dims": 3}}, "did you mean 'trans_dim'"),
    ],
)
def test_values_that_are_not_a_lens(change, sentence):
    with pytest.raises(ConfigError) as caught:
        LensConfig.from_dict(small_config("point_cloud").to_dict() | change)
    assert sentence in str(caught.value)


def test_a_list_from_the_command_line_is_a_tuple():
    config = LensConfig(
        "audio", 8, SpectrogramConfig(8, 96, patch=1, stride=1, stem=(4, 4, 4, 4)), None, AudioSettings(frames=198)
    )
    given = config.override({"stem": [2, 2, 2, 2]})
    assert given.embedding.stem == (2, 2, 2, 2)
    assert LensConfig.from_dict(given.to_dict()) == given
