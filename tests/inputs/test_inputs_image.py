import numpy as np
import pytest
import torch
from PIL import Image

import lens_plugins as lp
from lens_plugins.errors import ConfigError
from lens_plugins.inputs import ImageSettings, read

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


def photo(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def by_hand(resized: Image.Image) -> torch.Tensor:
    return (torch.tensor(np.asarray(resized)).permute(2, 0, 1) / 255 - MEAN) / STD


def test_default_is_instructblips_squash_to_224_bicubic():
    picture = photo(300, 500)
    expected = by_hand(picture.resize((224, 224), Image.Resampling.BICUBIC))
    assert torch.allclose(read(picture).tensor, expected, atol=1e-6)


def test_white_and_black_are_the_hand_computed_numbers():
    white = read(np.full((8, 8, 3), 255, np.uint8), "image").tensor
    assert white[:, 0, 0].tolist() == pytest.approx([1.9303361, 2.0748837, 2.1458962], abs=1e-5)
    black = read(np.zeros((8, 8, 3), np.uint8), "image").tensor
    assert black[:, 5, 5].tolist() == pytest.approx([-1.7922625, -1.7520971, -1.4802198], abs=1e-5)


def test_bilinear_is_an_option_and_differs():
    picture = photo(90, 70)
    found = read(picture, settings=ImageSettings(interpolation="bilinear")).tensor
    assert torch.allclose(found, by_hand(picture.resize((224, 224), Image.Resampling.BILINEAR)), atol=1e-6)
    assert (found - read(picture).tensor).abs().max() > 0.01


@pytest.mark.parametrize(("height", "width", "box"), [(100, 151, (57, 0, 281, 224)), (151, 100, (0, 57, 224, 281))])
def test_shorter_keeps_the_ratio_and_crops_the_centre(height, width, box):
    picture = photo(height, width)  # longer side: int(224 · 151 / 100) = 338, offset (338 − 224) / 2 = 57
    size = (338, 224) if width > height else (224, 338)
    expected = by_hand(picture.resize(size, Image.Resampling.BICUBIC).crop(box))
    assert torch.allclose(read(picture, settings=ImageSettings(resize="shorter")).tensor, expected, atol=1e-6)


def test_arrays_in_either_axis_order_floats_and_grey_are_the_same_picture():
    pixels = np.asarray(photo(40, 60))
    expected = read(pixels, "image").tensor
    for same in (np.moveaxis(pixels, -1, 0), torch.tensor(pixels), pixels / 255, np.dstack([pixels, pixels[..., :1]])):
        assert torch.equal(read(same, "image").tensor, expected)
    grey = pixels[..., 0]
    assert torch.equal(read(grey, "image").tensor, read(np.dstack([grey] * 3), "image").tensor)


def test_a_turned_photo_is_read_upright(tmp_path):
    upright = photo(40, 60)
    exif = Image.Exif()
    exif[274] = 6  # shown after a quarter turn clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert torch.equal(lp.read(tmp_path / "turned.png").tensor, read(upright).tensor)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jfif", ".webp", ".bmp", ".gif", ".tiff"])
def test_every_format_opens(tmp_path, suffix):
    photo(30, 30).save(tmp_path / f"a{suffix}")
    found = lp.read(str(tmp_path / f"a{suffix}"))
    assert (found.modality, tuple(found.tensor.shape)) == ("image", (3, 224, 224))


@pytest.mark.parity
def test_the_sample_photo_equals_pillow(samples):
    with Image.open(samples / "beach1.jpg") as picture:
        expected = by_hand(picture.resize((224, 224), Image.Resampling.BICUBIC))
    assert torch.allclose(lp.read(samples / "beach1.jpg").tensor, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("size", 0, "size is 0; it must be 1 to 4096"),
        ("resize", "stretch", "resize is 'stretch'"),
        ("interpolation", "nearest", "interpolation is 'nearest'"),
        ("std", (1.0, 0.0, 1.0), "above 0"),
        ("mean", (0.5,), "3 numbers"),
    ],
)
def test_settings_refuse(field, value, said):
    with pytest.raises(ConfigError, match=said):
        ImageSettings(**{field: value})
