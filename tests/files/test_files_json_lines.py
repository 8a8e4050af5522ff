"""Lines of JSON: what ends a line, what is refused by its number."""

import pytest

from lens_plugins.errors import InputError
from lens_plugins.files.json_lines import read_json_lines


def test_only_a_line_feed_ends_a_line_and_a_byte_order_mark_is_allowed(tmp_path):
    file = tmp_path / "list.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"text": "one\xe2\x80\xa8two"}\r\n\n{"text": "z\xc2\x85"}')
    assert read_json_lines(file) == [(1, {"text": "one\u2028two"}), (3, {"text": "z\x85"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"label": "caf\xe9"}', "line 2: byte 15 is not UTF-8"),
        (b"{", "line 2: no JSON object"),
        (b"3", "line 2: no JSON object, but a int"),
        (b"[" * 100_000, "line 2: no JSON object"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, reason):
    file = tmp_path / "list.jsonl"
    file.write_bytes(b"{}\n" + line)
    with pytest.raises(InputError, match=reason):
        read_json_lines(file)
