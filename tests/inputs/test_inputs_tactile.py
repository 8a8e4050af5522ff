import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from lens_plugins.errors import ConfigError
from lens_plugins.inputs import TactileSettings, read

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


def frame(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_resized_on_the_tensor_without_antialias_then_cropped():
    pixels = frame(480, 640)  # shorter side 256: 341 wide, crop from (341 − 224) / 2 = 58.5 → 58 and 16
    unit = torch.tensor(pixels).permute(2, 0, 1)[None] / 255
    resized = functional.interpolate(unit, (256, 341), mode="bicubic", align_corners=False)[0]
    expected = (resized[:, 16:240, 58:282] - MEAN) / STD
    found = read(Image.fromarray(pixels), "tactile").tensor
    assert torch.allclose(found, expected, atol=1e-6)
    smooth = functional.interpolate(unit, (256, 341), mode="bicubic", align_corners=False, antialias=True)[0]
    assert (found - (smooth[:, 16:240, 58:282] - MEAN) / STD).abs().max() > 0.1


def test_one_colour_is_the_hand_computed_number():
    found = read(np.full((300, 300, 3), 51, np.uint8), "tactile").tensor  # 51 / 255 = 0.2
    assert found[:, 0, 0].tolist() == pytest.approx([-1.0477411, -0.9867013, -0.7550020], abs=1e-5)


def test_a_picture_file_is_tactile_only_by_its_prefix(tmp_path):
    Image.fromarray(frame(30, 40)).save(tmp_path / "touch.png")
    assert read(str(tmp_path / "touch.png")).modality == "image"
    assert read(f"tactile:{tmp_path / 'touch.png'}").modality == "tactile"


def test_float_frames_are_not_rounded_to_eight_bits():
    found = read(np.full((20, 20, 3), 0.3001, np.float32), "tactile").tensor
    assert found[0, 0, 0].item() == pytest.approx((0.3001 - 0.48145466) / 0.26862954, abs=1e-5)


def test_settings_refuse_a_crop_bigger_than_the_frame():
    with pytest.raises(ConfigError, match="size is 300 and resize 256"):
        TactileSettings(size=300)
