import io

import numpy as np
import pytest

from lens_plugins.catalog import LensRow
from lens_plugins.cli import session as module
from lens_plugins.cli.options import HostOptions, InputOptions
from lens_plugins.cli.session import Session, file_names, lens_sources
from lens_plugins.errors import CheckpointError, ConfigError, InputError, Unsupported
from lens_plugins.hosts.base import LoadOptions


@pytest.fixture
def options(small):
    return HostOptions(host=str(small / "host"), lens=[f"point_cloud={small / 'point_cloud'}"])


@pytest.fixture
def shipped(monkeypatch):
    """A catalogue in which one pocket lens ships, and every host named "pocket-..." does."""
    monkeypatch.setattr(
        module, "LENSES", (LensRow("pocket-sound", "audio", "pocket", "pocket/weights/lens-sound", "", "Apache-2.0"),)
    )
    monkeypatch.setattr(module, "_ships", lambda host: host.startswith("pocket-"))


def test_a_shipped_host_finds_its_shipped_lenses(shipped):
    assert lens_sources(HostOptions(host="pocket-x")) == {"audio": "pocket-sound"}
    assert lens_sources(HostOptions(host="pocket-x", lens=["audio=mine", "eeg=e"])) == {"audio": "mine", "eeg": "e"}
    assert lens_sources(HostOptions(host="owner/x")) == {}


def test_a_lens_names_a_known_modality():
    with pytest.raises(ConfigError, match="no modality 'point_clud'; did you mean 'point_cloud'"):
        lens_sources(HostOptions(lens=["point_clud=x.pt"]))


def test_a_broken_file_is_found_before_the_host_is_loaded(small, tmp_path):
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY, almost")
    options = HostOptions(host="/nowhere", lens=[f"point_cloud={small / 'point_cloud'}"])
    with pytest.raises(InputError, match=r"broken\.npy"):
        Session(options).read(str(tmp_path / "broken.npy"))


@pytest.mark.parametrize("name", ["missing.jpg", "missing.npy", "depth:missing.png"])
def test_an_absent_file_is_found_before_anything_is_loaded(name):
    with pytest.raises(InputError, match=r"no file missing\."):
        Session(HostOptions(host="/nowhere")).read(name)


def test_a_modality_without_a_lens_is_refused_before_the_host_is_loaded(small):
    with pytest.raises(Unsupported, match=r"/nowhere has no lens for a depth map; lenses: eeg. .*--lens depth=PATH"):
        Session(HostOptions(host="/nowhere", lens=["eeg=e.pt"])).read(f"depth:{small / 'room.png'}")


def test_an_unknown_ending_is_refused(tmp_path):
    (tmp_path / "notes.docx").write_text("x")
    with pytest.raises(InputError, match=r"unknown ending '\.docx'"):
        Session(HostOptions()).read(str(tmp_path / "notes.docx"))


def test_lenses_are_plugged_as_inputs_need_them(options, small):
    session = Session(options)
    assert session.read(str(small / "beach.jpg")).tensor.shape == (3, 28, 28)  # as the host sees pictures
    assert session.host.lenses == {}
    assert session.read(str(small / "piano.npy")).tensor.shape == (60, 3)
    assert list(session.host.lenses) == ["point_cloud"]


def test_inputs_are_called_as_the_user_called_them(small):
    lens = f"depth={small / 'depth'}"
    name = f"depth:{small / 'room.png'}"
    assert Session(HostOptions(lens=[lens])).read(name).source == name


def test_clips_are_those_asked_for(small, tmp_path):
    import soundfile

    from lens_plugins.testing.small import small_lens

    small_lens("audio").save_pretrained(tmp_path / "audio")
    soundfile.write(tmp_path / "hum.wav", np.sin(np.arange(32000) / 9), 16000)
    options = HostOptions(lens=[f"audio={tmp_path / 'audio'}"])
    shapes = [
        tuple(Session(options, InputOptions(clips=clips)).read(str(tmp_path / "hum.wav")).tensor.shape)
        for clips in (None, 1, 2)
    ]
    assert shapes == [(3, 24, 128), (24, 128), (2, 24, 128)]


def test_clouds_are_turned_up_where_asked_for(small, options):
    import torch

    cloud = np.load(small / "piano.npy")
    np.save(small / "lying.npy", np.stack([cloud[:, 0], -cloud[:, 2], cloud[:, 1]], 1))
    standing = Session(options).read(str(small / "piano.npy")).tensor
    turned = Session(options, InputOptions(up="z")).read(str(small / "lying.npy")).tensor
    torch.testing.assert_close(turned, standing)


def test_settings_reach_the_reader(small, tmp_path):
    from PIL import Image

    Image.fromarray(np.full((40, 40), 4000, np.uint16)).save(tmp_path / "room.png")
    options = HostOptions(host=str(small / "host"), lens=[f"depth={small / 'depth'}"])

    def read(*chosen):
        return Session(options, InputOptions(chosen=list(chosen))).read(f"depth:{tmp_path / 'room.png'}").tensor.mean()

    assert read("depth.kind=depth_mm") == read()
    assert read("depth.kind=depth_m") != read()
    with pytest.raises(ConfigError, match="kind is 'inches'; it must be one of"):
        read("depth.kind=inches")
    with pytest.raises(ConfigError, match="the lens reads 28 pixels, the input settings make 56"):
        read("depth.size=56")


def test_settings_for_nothing_are_told_once(small, tmp_path, capsys):
    from PIL import Image

    Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).save(tmp_path / "room.png")
    options = HostOptions(host=str(small / "host"), lens=[f"depth={small / 'depth'}"])
    session = Session(options, InputOptions(chosen=["depth.kind=depth_mm"]))
    session.read_all([str(tmp_path / "room.png")])
    session.read_each([str(tmp_path / "room.png")])
    told = capsys.readouterr().err
    assert told.count("note: --set depth... changes nothing: none of the files is a depth map, unless depth:") == 1
    Image.fromarray(np.full((40, 40), 4000, np.uint16)).save(tmp_path / "depth.png")
    Session(options, InputOptions(chosen=["depth.kind=depth_mm"])).read_all([f"depth:{tmp_path / 'depth.png'}"])
    assert "note" not in capsys.readouterr().err


def test_settings_of_pictures_are_the_hosts(small, options):
    chosen = InputOptions(chosen=["image.resize=shorter"])
    session = Session(options, chosen)
    assert session.host.image_settings.resize == "shorter"
    assert session.host.image_settings.size == 28


def test_a_misspelt_setting_is_found_before_anything_is_read():
    with pytest.raises(ConfigError, match="did you mean 'bandpass'"):
        Session(HostOptions(host="/nowhere"), InputOptions(chosen=["eeg.bandpas=true"]))


def test_each_is_read_and_the_rest_complained_about(options, small, capsys):
    inputs, code = Session(options).read_each([str(small / "piano.npy"), "missing.ply", str(small / "chair.npy")])
    assert [each.source for each in inputs] == [str(small / "piano.npy"), str(small / "chair.npy")]
    assert code == 2
    assert capsys.readouterr().err == "error: There is no file missing.ply; check its name and folder.\n"


def test_a_host_that_cannot_be_loaded_is_no_fault_of_each_file(small):
    with pytest.raises(CheckpointError, match=r"\./gone"):
        Session(HostOptions(host="./gone")).read_each([str(small / "beach.jpg")] * 2)


def test_what_can_be_read_is_pictures_and_what_has_a_lens(options, shipped):
    assert Session(options).modalities == ["image", "point_cloud"]
    assert Session(HostOptions(host="pocket-x")).modalities == ["audio", "image"]


@pytest.mark.parametrize("device", [None, "auto", "cpu", "cuda", "cuda:1"])
def test_devices_that_are_there(device, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert LoadOptions(device_map=HostOptions(device=device).loading()["device_map"]).device_map == device


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("cuda", "sees 0 devices of the type cuda"),
        ("cuda:3", "The device cuda:3 is not there"),
        ("banana", "no device"),
    ],
)
def test_devices_that_are_not_there(device, sentence, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(ConfigError, match=sentence):
        _ = Session(HostOptions(device=device)).host


def test_names_come_from_stdin_where_a_dash_stands(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("b.ply\n\n c d.ply \n"))
    assert file_names(["a.ply", "-", "e.ply"]) == ["a.ply", "b.ply", "c d.ply", "e.ply"]


def test_an_empty_stdin_is_no_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(InputError, match="stdin names 0 files; at least 1"):
        file_names(["-"])
