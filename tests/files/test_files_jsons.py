import os
import time

import pytest

from lens_plugins.errors import CheckpointError, InputError, LensPluginsError
from lens_plugins.files.jsons import parse_json, read_json, read_json_object, write_json


def test_there_and_back(tmp_path):
    value = {"a": [1, 2.5, None, True], "ä": {"b": "[[[{{{"}}
    write_json(tmp_path / "new" / "a.json", value)
    assert read_json(tmp_path / "new" / "a.json") == value
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "a.json"]


def test_a_byte_order_mark_is_skipped():
    assert parse_json(b'\xef\xbb\xbf{"a": 1}', "it") == {"a": 1}


def test_depth_is_bounded_before_decoding():
    assert parse_json(b"[" * 64 + b"]" * 64, "it") != []
    for deep in (b"[" * 65 + b"]" * 65, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"[" * 10**6):
        with pytest.raises(CheckpointError, match="it is nested deeper than 64 levels"):
            parse_json(deep, "it")


def test_brackets_in_texts_are_no_depth():
    text = '["' + "[" * 1000 + r"\"" + "{" * 1000 + r"\\" + '"]'
    assert len(parse_json(text.encode(), "it")[0]) == 2002


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": NaN}', "NaN stands for a number; every number must be finite"),
        (b"[-Infinity]", "-Infinity"),
        (b"[1e999]", "1e999 is not finite"),
        (b"1" * 5000, "integer string conversion"),
        (b"\xff\xfe", "utf-8"),
        (b"{", "Expecting property name"),
        (b'"' + b'\\"' * 1000, "Unterminated string"),
    ],
)
def test_what_is_no_json_of_finite_numbers(data, said):
    with pytest.raises(InputError, match=f"it cannot be read as JSON: .*{said}"):
        parse_json(data, "it", error=InputError)


@pytest.mark.parametrize("data", [b'""' * 10**6, b'"' + b'\\"' * 10**6, b"[]" * 10**6, b'"\\' * 10**6])
def test_the_look_at_the_depth_is_linear(data):
    before = time.monotonic()
    with pytest.raises(CheckpointError):
        parse_json(data, "it")
    assert time.monotonic() - before < 5


def test_only_named_values(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(CheckpointError, match=r"a\.json must hold named values, not a list"):
        read_json_object(tmp_path / "a.json")


def test_size_and_kind_of_the_file(tmp_path):
    (tmp_path / "a.json").write_text("[" + "1, " * 1000 + "1]")
    with pytest.raises(CheckpointError, match="has 3003 bytes; at most 1000"):
        read_json(tmp_path / "a.json", max_bytes=1000)
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(CheckpointError, match="is a pipe or a device"):
        read_json(tmp_path / "config.json")


def test_nothing_infinite_is_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(LensPluginsError, match="cannot be written"):
        write_json(tmp_path / "folder.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["folder.json"]
