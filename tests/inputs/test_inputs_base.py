import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lens_plugins as lp
from lens_plugins.catalog import modalities
from lens_plugins.errors import ConfigError, InputError
from lens_plugins.inputs import AudioSettings, ImageSettings, ModalityInput, parse_source, read


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("chair.ply", (None, Path("chair.ply"))),
        ("depth:room.png", ("depth", Path("room.png"))),
        ("point_cloud:/a b/c.npy", ("point_cloud", Path("/a b/c.npy"))),
        ("./depth:room.png", (None, Path("depth:room.png"))),
        ("C:\\chair.ply", (None, Path("C:\\chair.ply"))),
        ("scan 12:30.ply", (None, Path("scan 12:30.ply"))),
        ("tactile:12:30.png", ("tactile", Path("12:30.png"))),
        ("depth:~/room.png", ("depth", Path.home() / "room.png")),
    ],
)
def test_prefixes(given, expected):
    assert parse_source(given) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "'' names no file"),
        ("depth:", "'depth:' names no file"),
        ("depht:a.png", "'depht' of depht:a.png is no modality; did you mean 'depth'"),
        ("https://example.org/a.ply", "https://example.org/a.ply is a web address"),
    ],
)
def test_prefixes_refused(given, said):
    with pytest.raises(InputError, match=said):
        parse_source(given)


def test_a_file_of_that_very_name_beats_an_unknown_prefix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("scan:1.ply").touch()
    assert parse_source("scan:1.ply") == (None, Path("scan:1.ply"))


def test_prefix_and_modality_override_the_suffix(tmp_path):
    with (tmp_path / "a.NPY").open("wb") as file:  # given a name, numpy.save would append .npy
        np.save(file, np.random.default_rng(0).random((40, 3)))
    assert read(tmp_path / "a.NPY").modality == "point_cloud"
    assert read(f"depth:{tmp_path / 'a.NPY'}").modality == "depth"
    assert read(str(tmp_path / "a.NPY"), modality="depth").modality == "depth"
    with pytest.raises(InputError, match="named 'depth' by its prefix and 'eeg' by the call"):
        read(f"depth:{tmp_path / 'a.NPY'}", modality="eeg")


def test_suffixes_that_say_too_little_or_the_wrong_thing(tmp_path):
    for name in ("a.pt", "a.txt", "a", "a.png"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.pt may be image or point_cloud or .*; say which, as in image:a\.pt"):
        read(tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.txt has the unknown ending '\.txt'; known endings: \.png .*\.set"):
        read(tmp_path / "a.txt")
    with pytest.raises(InputError, match="unknown ending ''"):
        read(tmp_path / "a")
    with pytest.raises(InputError, match=r"cannot be read as an audio clip: its ending is '\.png'; it would be \.wav"):
        read(f"audio:{tmp_path / 'a.png'}")


def test_arrays_need_a_modality_and_pil_pictures_do_not():
    with pytest.raises(InputError, match=r"shape \(4, 3\) does not say what it is; give modality="):
        read(np.zeros((4, 3)))
    with pytest.raises(ConfigError, match="no modality 'cloud'"):
        read(np.zeros((4, 3)), "cloud")
    assert read(Image.new("RGB", (4, 4))).modality == "image"
    with pytest.raises(InputError, match="A dict is no input"):
        read({"image": 1})


@pytest.mark.parametrize("modality", ["point_cloud", "audio", "eeg"])
def test_a_pil_picture_is_no_cloud_and_no_sound(modality):
    with pytest.raises(InputError, match=r"holds Image; give an array|is a picture; an? .* is an array"):
        read(Image.new("RGB", (4, 4)), modality)


def test_settings_of_another_modality_are_refused():
    with pytest.raises(ConfigError, match="image is read with ImageSettings, not with AudioSettings"):
        read(np.zeros((4, 4, 3)), "image", AudioSettings())
    assert read(np.zeros((4, 4, 3)), "image", ImageSettings(size=8)).tensor.shape == (3, 8, 8)


def test_an_input_is_frozen_and_compares_by_identity():
    one, other = (ModalityInput("eeg", torch.zeros(2), None) for _ in range(2))
    assert one != other
    with pytest.raises(AttributeError):
        one.modality = "image"


def test_every_modality_of_the_catalogue_has_its_reader_and_settings():
    for row in modalities().values():
        assert lp.catalog.resolve(row.settings)() is not None
        assert callable(lp.catalog.resolve(row.reader))


def test_reading_a_picture_loads_neither_trimesh_nor_mne_nor_soundfile(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    code = (
        "import sys, lens_plugins as lp; assert 'torch' not in sys.modules; lp.read(sys.argv[1]); "
        "sys.exit(bool({'trimesh', 'mne', 'soundfile', 'soxr', 'scipy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=True, env={**os.environ})
