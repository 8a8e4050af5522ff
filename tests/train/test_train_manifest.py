"""Pairs are read as a whole or not at all; every bad line is named."""

from __future__ import annotations

import json

import pytest

from lens_plugins.errors import InputError
from lens_plugins.train.manifest import read_manifest, report_problems

GOOD = {"modality": "point_cloud", "path": "a.npy", "image": ["a.png", "b.png"], "text": "a chair"}


@pytest.fixture
def folder(tmp_path):
    for name in ("a.npy", "a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write(folder, *lines):
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def test_a_line_becomes_a_pair(folder):
    (pair, other) = read_manifest(write(folder, GOOD, "", {**GOOD, "image": None, "split": "val", "id": 7}))
    assert (pair.line, pair.modality, pair.split, pair.id) == (1, "point_cloud", "train", "1")
    assert pair.path == folder / "a.npy"
    assert pair.images == (folder / "a.png", folder / "b.png")
    assert pair.texts == ("a chair",)
    assert (other.line, other.split, other.id, other.images) == (3, "val", "7", ())


def test_other_modalities_are_left_out_and_the_split_can_be_set(folder):
    path = write(folder, GOOD, {**GOOD, "modality": "audio"})
    assert [p.line for p in read_manifest(path, "audio", split="val")] == [2]
    assert read_manifest(path, "audio", split="val")[0].split == "val"
    with pytest.raises(InputError, match="no pair of modality 'eeg'; it has audio, point_cloud"):
        read_manifest(path, "eeg")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{oops", "not JSON"),
        ("[1]", "a list, but each line must be an object"),
        ({**GOOD, "modality": "smell"}, "modality is 'smell'; known: image, point_cloud"),
        ({**GOOD, "imge": "a.png"}, "unknown field 'imge'; did you mean 'image'"),
        ({**GOOD, "path": "no.npy"}, "path 'no.npy' is not a file"),
        ({**GOOD, "path": ["a.npy"]}, "path must be one file name"),
        ({**GOOD, "image": "no.png"}, "image 'no.png' is not a file"),
        ({**GOOD, "image": [3]}, r"image is \[3\]; it must be a text"),
        ({**GOOD, "text": " "}, "text is ' '; it must be a text"),
        ({**GOOD, "image": [], "text": None}, "neither image nor text"),
        ({**GOOD, "split": "test"}, "split is 'test'; it must be one of train, val"),
        ({k: v for k, v in GOOD.items() if k != "path"}, "path must be one file name"),
        ({**GOOD, "modality": ["audio"]}, "modality is"),
    ],
)
def test_a_bad_line_is_named(folder, line, sentence):
    with pytest.raises(InputError, match=rf"1 bad line; nothing was trained:\n  line 2: .*{sentence}"):
        read_manifest(write(folder, GOOD, line))


def test_all_bad_lines_are_named_at_once(folder):
    with pytest.raises(InputError, match=r"(?s)2 bad lines.*line 1: not JSON.*line 3: .*line 3 is"):
        report_problems("m", [(3, "line 3 is bad"), (1, "not JSON")])
    with pytest.raises(InputError, match=r"(?s)30 bad lines.*and 10 more"):
        report_problems("m", [(n, "bad") for n in range(30)])
    report_problems("m", [])


def test_no_manifest_and_an_empty_one(folder):
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(folder / "absent.jsonl")
    with pytest.raises(InputError, match="no pair at all"):
        read_manifest(write(folder, ""))


def test_bytes_of_the_list_are_read_as_they_are(folder):
    """A byte-order mark is allowed, only a line feed ends a line, and bad UTF-8 is a bad line."""
    path = write(folder, {**GOOD, "text": "a"})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b'"text": "a"', b'"text": "a\xe2\x80\xa8b"') + b"\r\n")
    assert read_manifest(path)[0].texts == ("a\u2028b",)
    path.write_bytes(path.read_bytes().replace(b"\xe2\x80\xa8", b"\xe9"))
    with pytest.raises(InputError, match=r"line 1: byte \d+ is not UTF-8"):
        read_manifest(path)
