"""Every bad input on the command line: exit code 2, one line that says what is wrong, nothing on stdout."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image


def npy(array):
    def write(path):
        np.save(path, array, allow_pickle=True)

    return write


def raw(content):
    return lambda path: path.write_bytes(content)


def cut(write, keep):
    def write_part(path):
        write(path)
        path.write_bytes(path.read_bytes()[:keep])

    return write_part


def picture(path):
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(path)


def huge_picture(path):
    """A PNG header that declares 40,000 x 40,000 pixels."""
    picture(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 40_000, 40_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(bytes(content))


CLOUD = np.random.default_rng(0).random((60, 3), dtype=np.float32)
NAN = np.where(np.arange(180).reshape(60, 3) == 7, np.nan, CLOUD)
BAD = {  # name: what writes it, what the complaint says
    "empty.npy": (raw(b""), "0 bytes"),
    "cut.npy": (cut(npy(CLOUD), 300), "cut.npy"),
    "nan.npy": (npy(NAN), "nan.npy"),
    "one.npy": (npy(CLOUD[:1]), "1"),
    "same.npy": (npy(np.ones((60, 3), np.float32)), "same.npy"),
    "columns.npy": (npy(CLOUD[:, :2]), "2"),
    "words.npy": (npy(np.array(["a", "b"])), "words.npy"),
    "objects.npy": (npy(np.array([{"a": 1}], dtype=object)), "objects.npy"),
    "text.ply": (raw(b"not a mesh"), "text.ply"),
    "text.glb": (raw(b"not a mesh"), "text.glb"),
    "folder.ply": (lambda path: path.mkdir(), "directory"),
    "text.jpg": (raw(b"not a picture"), "text.jpg"),
    "cut.png": (cut(picture, 60), "cut.png"),
    "huge.png": (huge_picture, "1600000000"),
    "notes.docx": (raw(b"words"), "'.docx'"),
    "noend": (raw(b"words"), "noend"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file(cli, small, plugged, tmp_path, name):
    write, complaint = BAD[name]
    write(tmp_path / name)
    ended = cli("caption", tmp_path / name, *plugged)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert complaint in ended.err
    assert name in ended.err


WRONG = {  # words after `caption`, what the complaint says
    "no such file": (["gone.ply"], "no file gone.ply"),
    "a web address": (["https://example.org/chair.ply"], "web address"),
    "a prefix that is no modality": (["dpeth:room.png"], "did you mean 'depth'"),
    "no lens of that modality": (["hum.wav"], "--lens audio=PATH"),
    "a lens without a path": (["{piano}", "--lens", "point_cloud"], "NAME=VALUE"),
    "a lens of no modality": (["{piano}", "--lens", "smell=x.pt"], "no modality 'smell'"),
    "a lens that is not there": (["{piano}", "--lens", "point_cloud=./gone.pt"], "gone.pt"),
    "a lens of another modality": (["{piano}", "--lens", "point_cloud={depth}"], "lens for depth"),
    "a lens that is a picture": (["{piano}", "--lens", "point_cloud={beach}"], "beach.jpg"),
    "a lens that does not fit": (["{piano}", "--lens", "point_cloud={wide}"], "width 48"),
    "no such host": (["{piano}", "--host", "./gone"], "gone"),
    "a host that is a lens": (["{piano}", "--host", "{depth}"], "depth"),
    "4 and 8 bit": (["{piano}", "--4bit", "--8bit"], "exclude each other"),
    "an option of generate without a value": (["{piano}", "--generation", "top_k"], "NAME=VALUE"),
}


@pytest.fixture(scope="session")
def places(small, tmp_path_factory):
    from lens_plugins.testing.small import small_lens

    root = tmp_path_factory.mktemp("wrong")
    small_lens("point_cloud", width=48).save_pretrained(root / "wide")
    named = {name: small / name for name in ("depth", "point_cloud", "host")}
    return {**named, "piano": small / "piano.npy", "beach": small / "beach.jpg", "wide": root / "wide"}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call(cli, places, tmp_path, monkeypatch, case):
    words, complaint = WRONG[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hum.wav").write_bytes(b"RIFF")
    words = [word.format(**places) for word in words]
    if "--host" not in words:
        words += ["--host", str(places["host"])]
    if "--lens" not in words:
        words += ["--lens", f"point_cloud={places['point_cloud']}"]
    ended = cli("caption", *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert complaint in ended.err
