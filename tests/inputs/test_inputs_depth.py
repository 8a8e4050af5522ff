import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from lens_plugins.errors import ConfigError, InputError
from lens_plugins.inputs import DepthSettings, read

FORMATS = Path(__file__).parents[1] / "data/formats"


def normal(disparity: float) -> float:
    return (disparity / 75 - 0.0418) / 0.0295


def value(source, settings=None) -> float:
    tensor = read(source, "depth", settings).tensor
    assert tuple(tensor.shape) == (1, 224, 224)
    assert tensor.std() < 1e-4
    return tensor[0, 100, 100].item()


@pytest.mark.parametrize(
    ("disparity", "expected"),
    [(7.5, 1.9728814), (0.0, -1.4124294), (-3.0, -1.4124294), (75.0, 32.481356), (400.0, 32.481356)],
)
def test_disparity_is_clamped_divided_and_normalised(disparity, expected):
    # (7.5 / 75 − 0.0418) / 0.0295; below 0.01 counts as 0.01, above 75 as 75
    assert value(np.full((60, 80), disparity, np.float32)) == pytest.approx(expected, abs=1e-4)


def millimetres(tmp_path, depth: int, width: int = 640) -> str:
    path = tmp_path / "room.png"
    Image.fromarray(np.full((480, width), depth, np.uint16)).save(path)
    return str(path)


def test_sixteen_bit_png_is_millimetres_with_factor_8(tmp_path):
    # 2 m: 0.075 · 518.86 / (8 · 2) = 2.43216
    assert value(millimetres(tmp_path, 2000)) == pytest.approx(normal(2.43215625), abs=1e-4)


def test_factor_1_other_baseline_and_focal_length(tmp_path):
    settings = DepthSettings(unit_scale=1.0, baseline_m=0.095, focal_px=600.0)
    assert value(millimetres(tmp_path, 2000), settings) == pytest.approx(normal(0.095 * 600 / 2), abs=1e-4)


def test_default_focal_length_goes_with_the_width(tmp_path):
    assert value(millimetres(tmp_path, 2000, width=320)) == pytest.approx(normal(2.43215625 / 2), abs=1e-4)


def test_scaled_depth_is_clipped_to_50(tmp_path):
    # 8 · 9 m = 72 → 50: 0.075 · 500 / 50 = 0.75; a hole, 0 → 0.01: 3750 → 75
    settings = DepthSettings(focal_px=500.0)
    assert value(millimetres(tmp_path, 9000), settings) == pytest.approx(normal(0.75), abs=1e-4)
    assert value(millimetres(tmp_path, 0), settings) == pytest.approx(normal(75), abs=1e-4)


def test_holes_are_near_as_in_the_original_or_far(tmp_path):
    assert value(millimetres(tmp_path, 0), DepthSettings(focal_px=500.0, holes="far")) == pytest.approx(normal(0.01))
    same = DepthSettings(holes="far")
    assert value(millimetres(tmp_path, 2000), same) == value(millimetres(tmp_path, 2000))


def test_metres_by_kind_equal_millimetres(tmp_path):
    metres = np.full((480, 640), 2.0, np.float32)
    same = value(metres, DepthSettings(kind="depth_m"))
    assert same == pytest.approx(value(millimetres(tmp_path, 2000)), abs=1e-5)
    assert value(metres * 1000, DepthSettings(kind="depth_mm")) == pytest.approx(same, abs=1e-5)


def test_shorter_side_to_224_without_antialias_then_centre_crop():
    disparity = np.random.default_rng(0).uniform(1, 70, (480, 640)).astype(np.float32)
    unit = torch.tensor(disparity)[None, None] / 75
    resized = functional.interpolate(unit, (224, 298), mode="bicubic", align_corners=False)[0]  # int(224 · 640 / 480)
    expected = (resized[:, :, 37:261] - 0.0418) / 0.0295
    assert torch.allclose(read(disparity, "depth").tensor, expected, atol=1e-4)


def test_float_tiff_is_metres_and_one_channel_arrays_are_maps(tmp_path):
    metres = np.full((48, 64), 2.0, np.float32)
    Image.fromarray(metres).save(tmp_path / "room.tiff")
    expected = read(metres, "depth", DepthSettings(kind="depth_m")).tensor
    assert torch.equal(read(tmp_path / "room.tiff", "depth").tensor, expected)
    disparity = read(metres, "depth").tensor
    assert torch.equal(read(metres[None], "depth").tensor, disparity)
    assert torch.equal(read(metres[..., None], "depth").tensor, disparity)


def test_npz_by_name(tmp_path):
    metres = np.full((48, 64), 2.0, np.float32)
    np.savez(tmp_path / "a.npz", depth=metres, colour=np.zeros((48, 64, 3)))
    assert torch.equal(read(tmp_path / "a.npz", "depth").tensor, read(metres, "depth").tensor)


def test_eight_bit_pictures_need_a_kind(tmp_path):
    Image.fromarray(np.full((48, 64), 7, np.uint8)).save(tmp_path / "grey.png")
    np.save(tmp_path / "grey.npy", np.full((48, 64), 7, np.uint8))
    for name in ("grey.png", "grey.npy"):
        with pytest.raises(InputError, match="8-bit pixels, which are no depths in millimetres; give a 16-bit PNG"):
            read(tmp_path / name, "depth")
    assert value(tmp_path / "grey.png", DepthSettings(kind="disparity")) == pytest.approx(normal(7), abs=1e-4)


class TestUnits:
    """What values are stored as says their unit; where it is a guess, or cannot be right, there is a warning."""

    @pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint32, np.int64])
    @pytest.mark.parametrize("kind", [".npy", ".npz", ".pt", "array", "tensor"])
    def test_integers_are_millimetres(self, tmp_path, dtype, kind):
        depth = np.random.default_rng(0).integers(800, 6000, (48, 64))
        Image.fromarray(depth.astype(np.uint16)).save(tmp_path / "a.png")
        values = depth.astype(dtype)
        given = tmp_path / f"a{kind}" if kind.startswith(".") else values
        if kind == ".npy":
            np.save(given, values)
        elif kind == ".npz":
            np.savez(given, depth=values)
        elif kind in (".pt", "tensor"):
            tensor = torch.from_numpy(values.astype(np.int64) if dtype == np.uint32 else values)
            given = tensor if kind == "tensor" else given
            torch.save(tensor, tmp_path / "a.pt")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            expected = read(tmp_path / "a.png", "depth").tensor
            assert torch.allclose(read(given, "depth").tensor, expected, atol=1e-5)

    def test_files_in_millimetres_and_metres_equal_the_exr(self):
        expected = read(FORMATS / "exr_reference_Z.exr").tensor
        assert torch.allclose(read(FORMATS / "depth_mm_uint16.npy", "depth").tensor, expected, atol=1e-3)
        metres = read(FORMATS / "depth_metres.npy", "depth", DepthSettings(kind="depth_m"))
        assert torch.allclose(metres.tensor, expected, atol=1e-5)

    def test_floats_of_a_file_are_disparity_with_a_warning(self):
        with pytest.warns(UserWarning, match=r"does not name its unit; floats are read as disp.*depth\.kind=depth_m"):
            found = read(FORMATS / "depth_metres.npy", "depth")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            said = read(FORMATS / "depth_metres.npy", "depth", DepthSettings(kind="disparity"))
            assert torch.equal(said.tensor, found.tensor)
            read(np.load(FORMATS / "depth_metres.npy"), "depth")  # an array is what a lens reads: disparity

    @pytest.mark.parametrize(
        ("values", "settings"),
        [
            ((1000, 6000), DepthSettings()),  # millimetres as disparity: all at its upper end
            ((1000, 6000), DepthSettings(kind="depth_m")),  # as metres: all beyond 50 m
            ((1, 6), DepthSettings(kind="depth_mm")),  # metres as millimetres: all nearer than 1 cm
            ((-6, -1), DepthSettings(kind="depth_m")),  # depth along a negative axis
        ],
    )
    def test_a_wrong_unit_saturates_and_is_warned_about(self, values, settings):
        depth = np.random.default_rng(0).uniform(*values, (48, 64)).astype(np.float32)
        with pytest.warns(UserWarning, match=r"saturates: 100% of its values, .* to .*, lie beyond what a lens tells"):
            read(depth, "depth", settings)

    @pytest.mark.parametrize("settings", [DepthSettings(kind="depth_m"), DepthSettings(kind="depth_m", holes="far")])
    def test_some_depths_below_0_are_warned_about(self, settings):
        metres = np.random.default_rng(0).uniform(0.5, 6, (48, 64)).astype(np.float32)
        metres[:5] = -1
        with pytest.warns(UserWarning, match=r"has 320 depths below 0, down to -1"):
            read(metres, "depth", settings)

    def test_the_right_unit_and_holes_are_not_warned_about(self):
        metres = np.random.default_rng(0).uniform(0.5, 6, (48, 64)).astype(np.float32)
        metres[:40] = 0  # most of it was not measured
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for holes in ("near", "far"):
                read(metres, "depth", DepthSettings(kind="depth_m", holes=holes))
                read(metres * 1000, "depth", DepthSettings(kind="depth_mm", holes=holes))
            read(np.zeros((48, 64), np.uint16), "depth")

    def test_zeros_of_eight_bits_are_holes_too(self, tmp_path):
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "grey.png")
        settings = DepthSettings(kind="depth_mm", holes="far")
        assert value(tmp_path / "grey.png", settings) == pytest.approx(normal(0.01), abs=1e-4)


def test_absent_openexr_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "OpenEXR", None)
    (tmp_path / "a.exr").write_bytes(b"v/1\x01")
    with pytest.raises(Exception, match=r"Reading \.exr files needs the package 'OpenEXR'"):
        read(tmp_path / "a.exr")


@pytest.mark.parametrize(
    ("field", "bad", "said"),
    [
        ("kind", "metres", "kind is 'metres'"),
        ("holes", "away", "holes is 'away'; it must be one of near, far"),
        ("unit_scale", 0.0, "unit_scale is 0.0"),
        ("focal_px", -1.0, "focal_px is -1.0"),
        ("size", 0, "size is 0"),
    ],
)
def test_settings_refuse(field, bad, said):
    with pytest.raises(ConfigError, match=said):
        DepthSettings(**{field: bad})
