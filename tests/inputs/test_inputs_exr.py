"""Which channel of an OpenEXR file is depth, and what is refused before it is decoded."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import lens_plugins as lp
from lens_plugins.errors import InputError
from lens_plugins.inputs import DepthSettings, read
from lens_plugins.inputs.exr import depth_channel, read_exr

openexr = pytest.importorskip("OpenEXR", reason="the optional package OpenEXR is not installed")

FORMATS = Path(__file__).parents[1] / "data/formats"
DEPTH = np.linspace(1, 6, 48 * 64, dtype=np.float32).reshape(48, 64)
OTHER = np.cos(DEPTH)


def write(path: Path, *names: str, depth: str | None = None, values: np.ndarray = DEPTH) -> Path:
    """A file with these channels, `depth` one of them."""
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File(header, {name: values if name == depth else OTHER for name in names}).write(str(path))
    return path


def write_parts(path: Path, **parts: dict[str, np.ndarray]) -> Path:
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    openexr.File([openexr.Part(dict(header), channels, name) for name, channels in parts.items()]).write(str(path))
    return path


def test_metres_in_the_channel_z(tmp_path):
    found = lp.read(write(tmp_path / "a.exr", "Z", "A", depth="Z"))
    assert found.modality == "depth"
    assert torch.equal(found.tensor, read(DEPTH, "depth", DepthSettings(kind="depth_m")).tensor)


@pytest.mark.parametrize("name", ["arnold_N_P_Z", "depth_V_and_normal", "multipart_depth_then_normal"])
def test_real_files_hold_the_depth_of_the_reference(name):
    expected = read_exr(FORMATS / "exr_reference_Z.exr")
    assert (expected.min(), expected.max()) == (1, pytest.approx(5.9166665))
    assert np.array_equal(read_exr(FORMATS / f"exr_{name}.exr"), expected)


@pytest.mark.parametrize(
    ("name", "listed"), [("normals_only", r"Normal\.X, Normal\.Y, Normal\.Z"), ("colour_only", "B, G, R")]
)
def test_files_without_depth_are_refused_by_their_channels(name, listed):
    with pytest.raises(InputError, match=rf"has the channels {listed}; a depth channel is called Z or Depth"):
        read_exr(FORMATS / f"exr_{name}.exr")


@pytest.mark.parametrize(
    ("depth", "others"),
    [
        ("Z", "R G B A N.X N.Y N.Z"),
        ("Depth", "R G B Normal.X Normal.Y Normal.Z"),
        ("depth", "R G B"),
        ("depth.Z", "R G B position.X position.Y position.Z"),
        ("Depth.V", "Y"),
        ("ViewLayer.Depth.Z", "ViewLayer.Combined.R ViewLayer.Combined.G ViewLayer.Combined.B ViewLayer.Mist.Z"),
        ("ViewLayer.Depth.V", "ViewLayer.Normal.X ViewLayer.Normal.Y ViewLayer.Normal.Z"),
        ("VRayZDepth.Y", "R G B"),
        ("beauty.Z", "beauty.R beauty.G beauty.B N.X N.Y N.Z"),
        ("Z", "depth.Z"),  # the one of no layer first
        ("ViewLayer.Depth.Z", "ViewLayer.Denoising_Depth.Z"),  # the layer of that very name before another
        ("ViewLayer.Denoising_Depth.Z", "R G B other.Z"),
        ("distance", ""),
        ("Y", "A"),
        ("R", ""),
        ("V", "A"),
    ],
)
def test_depth_is_found_by_name_in_any_order(tmp_path, depth, others):
    for names in ((depth, *others.split()), (*others.split(), depth)):
        assert np.array_equal(read_exr(write(tmp_path / "a.exr", *names, depth=depth)), DEPTH), names


@pytest.mark.parametrize(
    "names",
    [
        "X Y Z", "N.X N.Y N.Z", "R G B N.X N.Y N.Z", "mist.Z R G B", "R G B A", "Y RY BY", "R G", "G B", "Mist.Z uv.Z",
        "U V", "velocity.X velocity.Z R", "depth.X depth.Y depth.Z", "A.R A.G A.B",
    ],
)  # fmt: skip
def test_a_guess_is_refused(tmp_path, names):
    with pytest.raises(InputError, match=r"has the channels .*; a depth channel is called Z or Depth"):
        read_exr(write(tmp_path / "a.exr", *names.split(), depth=names.split()[0]))


def test_grey_in_three_channels_is_one(tmp_path):
    names = {"R": DEPTH, "G": DEPTH, "B": DEPTH}
    assert np.array_equal(read_exr(write_parts(tmp_path / "a.exr", grey=names)), DEPTH)
    names["A"] = OTHER
    assert np.array_equal(read_exr(write_parts(tmp_path / "a.exr", grey=names)), DEPTH)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_parts_are_layers_too(tmp_path, order):
    parts = {
        "rgb": {"R": OTHER, "G": OTHER, "B": OTHER},
        "ViewLayer.Depth": {"V": DEPTH},
        "normal": {"X": OTHER, "Y": OTHER, "Z": OTHER},
    }
    chosen = {list(parts)[number]: parts[list(parts)[number]] for number in order}
    assert np.array_equal(read_exr(write_parts(tmp_path / "a.exr", **chosen)), DEPTH)


def test_parts_without_depth_are_refused_by_name(tmp_path):
    path = write_parts(tmp_path / "a.exr", rgb={"R": OTHER}, normal={"X": OTHER, "Y": OTHER, "Z": OTHER})
    with pytest.raises(InputError, match="has the channels rgb/R, normal/X, normal/Y, normal/Z"):
        read_exr(path)


def test_names_alone():
    assert depth_channel(["left", "right"], [(0, "Z"), (1, "Z")]) == (0, "Z")
    assert depth_channel(["", "DEPTH"], [(0, "R"), (1, "R")]) == (1, "R")
    assert depth_channel([""], []) is None


def test_a_hundred_thousand_channels_are_looked_at_once():
    channels = [(0, f"layer{number}.X") for number in range(100_000)]
    assert depth_channel([""], [*channels, (0, "Z")]) == (0, "Z")


def test_a_message_does_not_list_every_channel(tmp_path):
    with pytest.raises(InputError, match=r"C00, .*, C15 and 14 more; a depth channel"):
        read_exr(write(tmp_path / "a.exr", *(f"C{number:02}" for number in range(30))))


def test_deep_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    values = np.empty((8, 8), object)
    for row in values:
        row[:] = [np.zeros(50, np.float32) for _ in row]
    header = {"compression": openexr.ZIPS_COMPRESSION, "type": openexr.deepscanline}
    openexr.File(header, {"Z": values}).write(str(tmp_path / "a.exr"))
    decoded = []
    whole = openexr.File

    def watched(*arguments, **options):
        decoded.append(options.get("header_only", False))
        return whole(*arguments, **options)

    monkeypatch.setattr(openexr, "File", watched)
    with pytest.raises(InputError, match=r"a\.exr is a deep image, with several depths in a pixel; flatten it"):
        read_exr(tmp_path / "a.exr")
    assert decoded == [True]


@pytest.mark.parametrize(("far", "said"), [(39_999, "declares 1600000000 values; at most"), (-9, "declares 0 values")])
def test_declared_size_is_refused_before_decoding(tmp_path, far, said):
    path = write(tmp_path / "a.exr", "Z")
    content = bytearray(path.read_bytes())
    corner = content.index(b"dataWindow\0box2i\0") + len(b"dataWindow\0box2i\0") + 4 + 8
    content[corner : corner + 8] = far.to_bytes(4, "little", signed=True) * 2
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.exr (is not a whole|declares)") as caught:
        read_exr(path)
    assert said in str(caught.value) or far < 0  # a header that is no header is OpenEXR's to refuse


class TestDamaged:
    """OpenEXR prints on the process's own output; a result on standard output must stay alone there."""

    def broken(self, path: Path, how: str) -> Path:
        content = bytearray(write(path, "Z", depth="Z", values=np.tile(DEPTH, (4, 4))).read_bytes())
        middle = len(content) // 2
        if how == "cut":
            content = content[:middle]
        else:
            content[middle : middle + 100] = bytes(100)
        path.write_bytes(content)
        return path

    @pytest.mark.parametrize("how", ["cut", "zeros"])
    def test_is_refused_and_nothing_is_printed(self, tmp_path, capfd, how):
        path = self.broken(tmp_path / "a.exr", how)
        with pytest.raises(InputError, match=r"a\.exr is truncated or damaged \(.+\); save it again"):
            read_exr(path)
        assert capfd.readouterr() == ("", "")

    def test_what_others_print_meanwhile_is_kept(self, tmp_path, capfd, monkeypatch):
        path, whole = self.broken(tmp_path / "a.exr", "zeros"), openexr.File

        def talking(*arguments, **options):
            print("a result")
            os.write(2, b"progress\n")
            return whole(*arguments, **options)

        monkeypatch.setattr(openexr, "File", talking)
        with pytest.raises(InputError, match="damaged"):
            read_exr(path)
        assert capfd.readouterr() == ("a result\n" * 2, "progress\n" * 2)

    def test_a_damaged_part_beside_a_whole_one_is_refused_too(self, tmp_path):
        noise = np.random.default_rng(0).random((64, 64), np.float32)
        path = write_parts(tmp_path / "a.exr", depth={"Z": noise}, normal={"X": noise, "Y": noise, "Z": noise})
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 3 // 4])
        with pytest.raises(InputError, match="truncated or damaged"):
            read_exr(path)


def test_a_depth_layer_of_three_equal_colours(tmp_path):
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    channels = {**{f"depth.{name}": DEPTH for name in "RGB"}, **dict.fromkeys("RGBA", OTHER), "depth.A": OTHER}
    openexr.File(header, channels).write(str(tmp_path / "a.exr"))
    assert np.array_equal(read_exr(tmp_path / "a.exr"), DEPTH)


def test_a_crop_stands_where_it_was_in_its_frame(tmp_path):
    window = (np.array([5, 2], np.int32), np.array([5 + DEPTH.shape[1] - 1, 2 + DEPTH.shape[0] - 1], np.int32))
    frame = (np.array([0, 0], np.int32), np.array([39, 29], np.int32))
    header = {
        "compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage, "dataWindow": window,
        "displayWindow": frame,
    }  # fmt: skip
    openexr.File(header, {"Z": DEPTH}).write(str(tmp_path / "a.exr"))
    found = read_exr(tmp_path / "a.exr")
    height, width = min(DEPTH.shape[0], 28), min(DEPTH.shape[1], 35)
    assert found.shape == (30, 40)
    assert np.array_equal(found[2 : 2 + height, 5 : 5 + width], DEPTH[:height, :width])
    assert found[:2].max() == found[:, :5].max() == 0
