import numpy as np
import pytest
import torch
from mesh_files import CASES
from PIL import Image

from lens_plugins.errors import InputError
from lens_plugins.inputs import pictures
from lens_plugins.inputs.pictures import centre_crop, open_picture, pixels, shorter_side


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(480, 640, (224, 298)), (640, 480, (298, 224)), (100, 100, (224, 224)), (300, 301, (224, 224))],
)
def test_shorter_side_rounds_the_longer_one_down(height, width, expected):
    assert shorter_side(height, width, 224, "it") == expected


def test_a_strip_that_would_explode_is_refused():
    with pytest.raises(InputError, match=r"it is 500000 × 1: .* longer one would be 112000000"):
        shorter_side(1, 500_000, 224, "it")


@pytest.mark.parametrize(("width", "first"), [(8, 2), (7, 2), (9, 2), (11, 4)])
def test_centre_crop_splits_an_odd_rest_half_to_even(width, first):
    row = torch.arange(width).expand(1, 4, width)  # (7 − 4) / 2 = 1.5 → 2, (9 − 4) / 2 = 2.5 → 2, 3.5 → 4
    assert centre_crop(row, 4)[0, 0].tolist() == list(range(first, first + 4))


def test_declared_size_is_refused_before_decoding(tmp_path, huge_png, monkeypatch):
    (tmp_path / "a.png").write_bytes(huge_png(40_000, 40_000))
    with pytest.raises(InputError, match=r"1600000000 pixels.* 33554432"):
        open_picture(tmp_path / "a.png", "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as training scripts do
    with pytest.raises(InputError, match=r"40000 × 40000, 1600000000 pixels; give between 1 and 33554432"):
        open_picture(tmp_path / "a.png", "a.png")


def test_few_bytes_of_many_pixels_are_refused():
    with pytest.raises(InputError, match=r"declares 16383 × 5461 pixels in 34 bytes"):
        open_picture(CASES / "hm-webp-89Mpx-34B.webp", "it")


@pytest.mark.parametrize(("most", "side"), [(10_000, 100), (9_999, 50), (2_500, 50), (700, 25), (169, 13)])
def test_big_photographs_are_decoded_at_a_part_of_their_size(tmp_path, monkeypatch, most, side):
    shade = Image.linear_gradient("L").resize((100, 100)).convert("RGB")
    shade.save(tmp_path / "a.jpg", quality=95)
    monkeypatch.setattr(pictures, "MAX_PIXELS", most)
    found = open_picture(tmp_path / "a.jpg", "a.jpg")
    assert found.size == (side, side)
    middle = np.asarray(found)[side // 2, side // 2]
    assert middle == pytest.approx(np.asarray(shade)[50, 50].astype(float), abs=8)
    monkeypatch.setattr(pictures, "_MAX_PHOTO", 9_999)
    with pytest.raises(InputError, match="100 × 100, 10000 pixels; give between 1 and 9999"):
        open_picture(tmp_path / "a.jpg", "a.jpg")


def test_a_picture_in_memory_may_have_as_many_pixels_as_a_photograph(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 20)
    assert open_picture(Image.new("L", (5, 5)), "it").size == (5, 5)


def test_truncated_and_other_formats(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    noise.save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"a is not a whole picture \(.*truncated"):
        open_picture(tmp_path / "a.png", "a")
    noise.save(tmp_path / "b.png", format="PPM")
    with pytest.raises(InputError, match="b is not a picture; give one of PNG, JPEG"):
        open_picture(tmp_path / "b.png", "b")


def test_transparency_and_palettes_become_rgb():
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert pixels(clear, "it")[0, 0].tolist() == [10, 20, 30]
    assert pixels(clear.convert("RGB").convert("P"), "it").shape == (4, 4, 3)


def test_sixteen_bit_grey_is_pointed_to_depth(tmp_path):
    Image.fromarray(np.full((4, 4), 9000, np.uint16)).save(tmp_path / "a.png")
    said = r"mode I;16, not 8-bit; a depth map is read as depth:a\.png, a photograph is saved with 8 bits"
    with pytest.raises(InputError, match=said):
        pixels(tmp_path / "a.png", "a.png")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 5, 5)), r"shape \(2, 5, 5\)"),
        (np.zeros((1, 3, 5, 5)), r"shape \(1, 3, 5, 5\)"),
        (np.full((5, 5, 3), 1.5), "from 1.5 to 1.5; give uint8, or floats from 0 to 1"),
        (np.full((5, 5, 3), -1), "from -1 to -1"),
    ],
)
def test_arrays_that_are_no_pictures(array, said):
    with pytest.raises(InputError, match=said):
        pixels(array, "it")


def test_arrays_are_bounded_like_files(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 20)
    with pytest.raises(InputError, match="25 pixels; at most 20"):
        pixels(np.zeros((5, 5, 3)), "it")
