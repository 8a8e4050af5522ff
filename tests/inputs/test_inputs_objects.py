"""What users of other libraries hand over is read as the file that it could have been."""

import io
import os
import wave

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from lens_plugins.errors import InputError
from lens_plugins.inputs import AudioSettings, ModalityInput, PointCloudSettings, read
from lens_plugins.inputs.base import check_settings, is_several, read_as, several

SOUND = np.random.default_rng(0).normal(size=88_200).astype(np.float32) / 9
SETTINGS = AudioSettings(frames=24, clip_seconds=1.0)


@pytest.fixture
def recording(tmp_path):
    """The same sound as a file of 44.1 kHz."""
    soundfile.write(tmp_path / "sound.wav", SOUND, 44_100, subtype="FLOAT")
    return tmp_path / "sound.wav"


@pytest.fixture
def mesh():
    trimesh = pytest.importorskip("trimesh")
    return trimesh.creation.box(extents=(1, 2, 3))


class Samples:
    """Sound as torchcodec decodes it."""

    data, sample_rate = torch.from_numpy(SOUND)[None], 44_100


class Decoder:
    def get_all_samples(self):
        return Samples()


@pytest.mark.parametrize(
    "given",
    [
        (SOUND, 44_100),
        (torch.from_numpy(SOUND), 44_100.0),
        (torch.from_numpy(SOUND)[None], 44_100),  # torchaudio: (channels, samples)
        (SOUND[:, None].astype(np.float64), np.int64(44_100)),
        {"array": SOUND, "sampling_rate": 44_100, "path": None},
        {"raw": SOUND.tolist(), "sampling_rate": 44_100},
        Samples(),
        Decoder(),
    ],
)
def test_sound_with_its_rate_is_the_file(given, recording):
    expected = read(recording, settings=SETTINGS)
    found = read(given, settings=SETTINGS)
    assert (found.modality, found.source) == ("audio", None)
    torch.testing.assert_close(found.tensor, expected.tensor, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [np.int16, np.int32])
def test_pcm_with_its_rate_is_the_file(kind, tmp_path):
    samples = (SOUND * np.iinfo(kind).max / 2).astype(kind)
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype={np.int16: "PCM_16", np.int32: "PCM_32"}[kind])
    assert torch.equal(read((samples, 44_100)).tensor, read(tmp_path / "a.wav").tensor)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((SOUND, 0), "has the sample rate 0; it must be a whole number of Hz"),
        ((SOUND, float("nan")), "has the sample rate nan"),
        ((SOUND, 16_000.5), r"has the sample rate 16000\.5"),
        ((SOUND, 100), "recording.wav has a sample rate of 100 Hz"),
        ((SOUND[:0], 16_000), "0 values"),
        ((SOUND.astype(np.uint8), 16_000), "holds uint8; a waveform is floats"),
        ((SOUND[:81_000].reshape(30, 30, 90), 16_000), r"has shape \(30, 30, 90\); a waveform is"),
        ((np.full(9_000, np.nan), 16_000), "9000 of 9000 values NaN"),
        ({"array": SOUND}, 'an "array" without its "sampling_rate"'),
        ({"image": 1}, "A dict is no input"),
        ({"bytes": None, "path": None}, "A dict is no input"),
        (b"", "0 in number"),
        (b"what is this", r"12 bytes do not say what file they are of; give \{"),
        (io.StringIO("text"), "open as text; open it with open"),
        (3, "A int is no input; give a path, an array"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(given, said):
    with pytest.raises(InputError, match=said) as caught:
        read(given)
    assert "lens-plugins-" not in str(caught.value), "a folder that nobody has heard of"


def test_an_array_with_a_rate_is_no_cloud():
    with pytest.raises(InputError, match=r"sample rate goes with sound; a point cloud is given as the array alone"):
        read((SOUND, 16_000), "point_cloud")


def test_an_array_of_sound_without_a_rate_is_refused_where_the_settings_are_a_lenss():
    with pytest.raises(InputError, match=r"shape \(88200,\) does not say its sample rate; give \(array, 16000\)"):
        read_as(SOUND, "audio", lambda name: SETTINGS)
    with pytest.warns(UserWarning, match="does not say its sample rate; 16000 Hz is assumed"):
        read(SOUND, "audio")
    assert read(SOUND, "audio", SETTINGS).settings == SETTINGS  # whose rate the caller has stated


def test_bytes_and_files_are_read_by_name_or_by_how_they_begin(tmp_path):
    picture, named = io.BytesIO(), tmp_path / "cloud.xyz"
    Image.new("RGB", (5, 7), "red").save(picture, "PNG")
    expected = read(Image.new("RGB", (5, 7), "red"))
    content = picture.getvalue()
    for given in (content, memoryview(content), picture, {"bytes": content, "path": None}):
        assert torch.equal(read(given).tensor, expected.tensor)
    assert read({"bytes": content, "path": "a.png"}, "tactile").modality == "tactile"
    named.write_text("".join(f"{n} {n * n} 1\n" for n in range(20)))
    cloud = read(named)
    with named.open("rb") as file:
        assert torch.equal(read(file).tensor, cloud.tensor)
        assert torch.equal(read(file).tensor, cloud.tensor), "an open file is read from its start"
    assert torch.equal(read({"bytes": named.read_bytes(), "path": "where/ever.xyz"}).tensor, cloud.tensor)
    assert read({"path": str(named)}).source == str(named)


def test_sound_is_told_by_its_first_bytes(recording):
    expected = read(recording)
    assert torch.equal(read(recording.read_bytes()).tensor, expected.tensor)
    assert torch.equal(read({"bytes": recording.read_bytes(), "path": "x.wav"}).tensor, expected.tensor)


def test_a_damaged_file_in_memory_is_called_by_its_name():
    with pytest.raises(InputError, match=r"^chair\.glb is glTF 0; version 2\.0 is read"):
        read({"bytes": b"glTF" + bytes(40), "path": "/some/where/chair.glb"})


def test_a_name_that_is_no_name_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "PNG")
    for name in ("../../x.png", "/etc/passwd", "a\0b.png", "x" * 5_000 + ".png", "~", ""):
        assert read({"bytes": content.getvalue(), "path": name}, "image").tensor.shape == (3, 224, 224)
    assert os.listdir(tmp_path) == []


def test_a_mesh_of_trimesh_is_the_file(mesh, tmp_path):
    mesh.export(tmp_path / "box.ply")
    assert torch.equal(read(mesh).tensor, read(tmp_path / "box.ply").tensor)
    scene = mesh.scene()
    scene.export(tmp_path / "box.glb")
    assert torch.equal(read(scene).tensor, read(tmp_path / "box.glb").tensor)


def test_a_cloud_of_trimesh_keeps_its_points(mesh):
    trimesh = pytest.importorskip("trimesh")
    points = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    assert torch.equal(read(trimesh.PointCloud(points)).tensor, read(points, "point_cloud").tensor)


def test_a_recording_of_mne_is_the_file(tmp_path):
    mne = pytest.importorskip("mne")
    data = np.random.default_rng(0).normal(size=(4, 70_000)) * 1e-5
    raw = mne.io.RawArray(data, mne.create_info(4, 1000.0, "eeg"), verbose="ERROR")
    raw.save(tmp_path / "x_raw.fif", verbose="ERROR")
    from lens_plugins.inputs import EegSettings

    settings = EegSettings(channels=4, zscore=True)
    found, expected = read(raw, settings=settings), read(tmp_path / "x_raw.fif", settings=settings)
    assert found.modality == "eeg"
    torch.testing.assert_close(found.tensor, expected.tensor, rtol=1e-4, atol=1e-4)


def test_an_input_knows_its_settings_and_is_shown_short(recording):
    found = read(recording, settings=SETTINGS)
    assert found.settings == SETTINGS
    assert repr(found) == f"ModalityInput('audio', tensor of shape (3, 24, 128), source='{recording}')"


def test_settings_are_compared_but_for_those_of_one_input():
    own = PointCloudSettings(max_points=1024)
    given = ModalityInput("point_cloud", torch.zeros(4, 3), "chair.ply", PointCloudSettings(up="z"))
    with pytest.raises(
        InputError,
        match=r"^chair\.ply was read with max_points=8192; the lens reads with max_points=1024\. Give the file",
    ):
        check_settings(given, own, "the lens")
    check_settings(ModalityInput("point_cloud", given.tensor, None, PointCloudSettings(1024, up="z")), own, "the lens")
    check_settings(ModalityInput("point_cloud", given.tensor), own, "the lens")
    audio = ModalityInput("audio", torch.zeros(24, 128), None, AudioSettings(clips=1))
    check_settings(audio, AudioSettings(clips=3), "the lens")


def test_one_input_and_several():
    pair = (SOUND, 16_000)
    assert not is_several(pair)
    assert several(pair) == [pair]
    assert several(["a.ply", "b.ply"]) == several(("a.ply", "b.ply")) == ["a.ply", "b.ply"]
    assert several("a.ply") == ["a.ply"]
    assert is_several([SOUND, 16_000])


def test_files_of_sound_that_python_writes_are_told_too(tmp_path):
    with wave.open(str(tmp_path / "w.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((SOUND[:40_000] * 20_000).astype(np.int16).tobytes())
    with (tmp_path / "w.wav").open("rb") as file:
        assert read(file).modality == "audio"


def test_a_rate_beside_what_is_no_sound_is_told_so():
    with pytest.raises(InputError, match=r"an EEG recording is given as the array alone, not with a rate"):
        read((np.zeros((4, 100)), 1000), "eeg")
