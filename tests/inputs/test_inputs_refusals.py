"""The table of bad inputs: each is one `LensPluginsError`, one line that names the file and says what is wrong."""

import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import lens_plugins as lp
from lens_plugins.files import opening
from lens_plugins.inputs import EegSettings

NAN = np.full((40, 3), np.nan, np.float32)


def save(path: Path, array: np.ndarray) -> None:
    np.save(path, array)


def wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> None:
    soundfile.write(path, samples, rate)


def half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def noise_picture(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)


def truncated_png(path: Path) -> None:
    noise_picture(path)
    half(path)


def truncated_flac(path: Path) -> None:
    wav(path, np.random.default_rng(0).uniform(-1, 1, 80_000))
    half(path)


def nan_wav(path: Path) -> None:
    soundfile.write(path, np.full(80_000, np.nan, np.float32), 16_000, subtype="FLOAT")


def lying_flac(path: Path) -> None:
    wav(path, np.zeros(16_000))
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # STREAMINFO: the upper four of 36 bits that count the samples
    path.write_bytes(content)


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mesh.obj", "v 0 0 0\n")


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"points": [1, 2, 3]}))


def pickled_npy(path: Path) -> None:
    np.save(path, np.array([{"points": 1}], dtype=object), allow_pickle=True)


def pickled_pt(path: Path) -> None:
    torch.save(Path("x"), path)


def text(content: str):
    return lambda path: path.write_text(content)


def raw(content: bytes):
    return lambda path: path.write_bytes(content)


def array(values):
    return lambda path: save(path, values)


def lossy_depth(path: Path) -> None:
    Image.new("RGB", (8, 8)).save(path)


PLY = "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\nend_header\n{}"
PCD = "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS {}\nDATA {}\n"
LINE = "0 0 0\n1 1 1\n"
AWAY = """{"buffers": [{"uri": "../x.bin", "byteLength": 4}], "bufferViews": [{"buffer": 0, "byteLength": 4}],
"accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
"meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}]}"""
BIG_STL = bytes(80) + struct.pack("<I", 4_000_000_000) + bytes(50)

# file (with its prefix), how it is made, what the message says
BAD = [
    ("empty.ply", raw(b""), "0 bytes"),
    ("empty.jpg", raw(b""), "0 bytes"),
    ("empty.wav", raw(b""), "0 bytes"),
    ("empty.edf", raw(b""), "0 bytes"),
    ("depth:empty.exr", raw(b""), "0 bytes"),
    ("gone.ply", lambda path: None, "no file"),
    ("folder.ply", Path.mkdir, "directory"),
    ("folder", Path.mkdir, "directory"),
    ("a.docx", text("x"), "unknown ending"),
    ("noending", text("x"), "unknown ending"),
    ("sound:a.wav", text("x"), "no modality"),
    ("depth:a.ply", text("x"), "it would be .exr"),
    ("a.pt", text("x"), "say which"),
    # point clouds and meshes
    ("zip.ply", archive, "does not start with ply"),
    ("zip.npy", archive, "numpy's signature"),
    ("pickle.npy", pickled, "numpy's signature"),
    ("objects.npy", pickled_npy, "not a whole .npy"),
    ("point_cloud:pickle.pt", pickled, "a pickle is not read"),
    ("point_cloud:class.pt", pickled_pt, "holds more than tensors"),
    ("pickle.npz", pickled, "not a whole .npz"),
    ("nan.npy", array(NAN), "120 of 120 values"),
    ("one.npy", array(np.zeros((1, 3))), "at least 2 distinct ones"),
    ("same.npy", array(np.ones((50, 3))), "(50) at one place"),
    ("flat.npy", array(np.zeros(30)), "shape (30,)"),
    ("pairs.npy", array(np.zeros((30, 2))), "shape (30, 2)"),
    ("words.npy", array(np.array([["a", "b", "c"]])), "<U1"),
    ("zero.npy", array(np.zeros((0, 3))), "zero.npy"),
    ("one.xyz", text("0 0 0\n"), "at least 2 distinct ones"),
    ("nan.xyz", text("0 0 0\nnan 1 1\n"), "1 of 6 values"),
    ("words.xyz", text("O 0 0 0\nH 1 1 1\n"), "three numbers"),
    ("lying.ply", text(PLY.format(10**9, LINE)), "declares 1000000000 vertex elements but has 2"),
    ("short.ply", text(PLY.format(9, LINE)), "short.ply"),
    ("nan.ply", text(PLY.format(2, "0 0 0\nnan 1 1\n")), "1 of 6 values"),
    ("lying.stl", raw(BIG_STL), "lying.stl"),
    (
        "index.obj",
        text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"),
        "names vertex 8 (counted from 0) in face 1",
    ),
    ("nanmesh.obj", text("v 0 0 0\nv 1 0 0\nv nan 1 0\nf 1 2 3\n"), "NaN"),
    ("line.obj", text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n"), "an area of 0"),
    ("short.off", text("OFF\n8 6 0\n0 0 0\n"), "declares 8 vertices but has 1"),
    ("junk.glb", raw(b"\0" * 64), "does not start with glTF"),
    ("away.gltf", text(AWAY), "not inside its own folder"),
    ("short.pcd", raw((PCD.format(10**9, "binary") + LINE).encode()), "declares 1000000000 points"),
    ("packed.pcd", text(PCD.format(2, "binary_compressed")), "declares 2 points but has 0"),
    # pictures and touch
    ("huge.png", "huge", "1600000000 pixels"),
    ("tactile:huge.png", "huge", "1600000000 pixels"),
    ("short.png", truncated_png, "truncated"),
    ("text.jpg", text("not a picture"), "is not a picture"),
    ("pickle.png", pickled, "is not a picture"),
    ("image:wide.npy", array(np.zeros((5, 6, 7))), "shape (5, 6, 7)"),
    ("tactile:range.npy", array(np.full((5, 6, 3), 255.0)), "from 255 to 255"),
    # depth
    ("depth:huge.png", "huge", "1600000000 pixels"),
    ("depth:colour.png", lossy_depth, "mode RGB"),
    ("depth:nan.npy", array(NAN), "120 of 120 values"),
    ("depth:stack.npy", array(np.zeros((4, 5, 6))), "shape (4, 5, 6)"),
    # sound
    ("none.wav", lambda path: wav(path, np.zeros(0)), "0 samples"),
    ("blink.wav", lambda path: wav(path, np.zeros(1600)), "needs at least 2500"),
    ("long.flac", lambda path: wav(path, np.zeros(1800 * 8000, np.int16), 8000), "lasts 1800.0 s; at most 600 s"),
    ("lying.flac", lying_flac, "at most 134217728"),
    ("short.flac", truncated_flac, "short.flac"),
    ("nan.wav", nan_wav, "80000 of 80000 values"),
    ("many.wav", lambda path: wav(path, np.zeros((16_000, 9))), "9 channels; at most 8"),
    ("slow.wav", lambda path: wav(path, np.zeros(16_000), 100), "100 Hz; it must be 4000 to 192000"),
    ("text.mp3", text("not a sound" * 50), "not a whole sound file"),
    ("zip.ogg", archive, "not a whole sound file"),
    ("audio:rows.npy", array(np.zeros((9, 16_000))), "shape (9, 16000)"),
    # EEG
    ("text.edf", text("x" * 300), "not a whole .edf"),
    ("text.bdf", text("x" * 300), "not a whole .bdf"),
    ("text.set", text("x" * 300), "not a whole .set"),
    ("text.fif", text("x" * 300), "not a whole .fif"),
    ("eeg:few.npy", array(np.zeros((4, 500))), "has 4 EEG channels; the lens reads 128"),
    ("eeg:brief.npy", array(np.zeros((128, 21))), "has 21 samples"),
    ("eeg:nan.npy", array(np.full((128, 500), np.inf)), "64000 of 64000 values"),
    ("eeg:flat.npy", array(np.zeros(500)), "shape (500,)"),
]


@pytest.mark.parametrize(("source", "make", "said"), BAD, ids=[row[0] for row in BAD])
def test_bad_input(tmp_path, huge_png, source, make, said):
    prefix, _, name = source.rpartition(":")
    path = tmp_path / name
    if make == "huge":
        path.write_bytes(huge_png(40_000, 40_000))
    else:
        make(path)
    with pytest.raises(lp.LensPluginsError) as caught:
        lp.read(f"{prefix}:{path}" if prefix else str(path))
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert name in message
    assert said in message
    assert "\n" not in message


def test_wrong_channel_count_of_a_file(tmp_path, write_edf):
    path = write_edf(tmp_path / "a.edf", np.random.default_rng(0).normal(size=(3, 1000)), 1000)
    with pytest.raises(lp.LensPluginsError, match=r"a\.edf has 3 EEG channels; the lens reads 128"):
        lp.read(path)
    half(path)
    with pytest.raises(lp.LensPluginsError, match=r"a\.edf"):
        lp.read(path, settings=EegSettings(channels=3))


def test_no_permission(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((9, 3)))

    def refuse(*_, **__):  # root may read everything, so a real mode cannot be relied on
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(opening.os, "open", refuse)
    with pytest.raises(lp.LensPluginsError, match=r"a\.npy may not be read"):
        lp.read(tmp_path / "a.npy")
