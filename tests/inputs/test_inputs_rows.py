from pathlib import Path

import numpy as np
import pytest

from lens_plugins.errors import InputError
from lens_plugins.inputs import rows
from lens_plugins.inputs.rows import RowReader, chunks, parse_rows, plain_text, ragged

PATH = Path("a.txt")


def test_rows_of_any_length_blank_lines_apart():
    found = parse_rows(b"1 2\n\n  3\t4.5 -6e-1\r\n7", PATH)
    assert found.values.tolist() == [1, 2, 3, 4.5, -0.6, 7]
    assert found.counts.tolist() == [2, 3, 1]
    assert found.lines.tolist() == [1, 3, 4]
    assert found.columns([0], PATH).tolist() == [[1], [3], [7]]
    with pytest.raises(InputError, match=r"a\.txt has 1 numbers in line 4; at least 2 belong there"):
        found.columns([1, 0], PATH)


@pytest.mark.parametrize(
    ("text", "dtype", "values"),
    [
        (b"1 2 3", np.int64, [1, 2, 3]),
        (b"1 2.0 3", np.int64, [1, 2, 3]),
        (b"1.5", np.int64, [1.5]),
        (b"nan -inf +.5 5. 1E3", np.float64, [np.nan, -np.inf, 0.5, 5, 1000]),
        (b" \n ", np.float64, []),
    ],
)
def test_what_is_a_number(text, dtype, values):
    assert parse_rows(text, PATH, dtype=dtype).values == pytest.approx(values, nan_ok=True)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize("word", ["x", "3x", "1_0", "0x10", "1,5", "--1", "1e"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_word_is_named_with_its_line(word, place, dtype):
    numbers = ["1", "2", "3"]
    numbers[place] = word
    with pytest.raises(InputError, match=rf"a\.txt has '{word}' in line 2, where a number belongs"):
        parse_rows(f"1 2\n{' '.join(numbers)}".encode(), PATH, dtype=dtype)


def test_rows_are_taken_in_turn_across_chunks(monkeypatch):
    monkeypatch.setattr(rows, "_CHUNK", 16)
    text = b"".join(b"%d %d\n" % (i, i * i) for i in range(100))
    reader = RowReader(text, PATH, first_line=11)
    first = [piece.columns([0, 1], PATH) for piece in reader.take(30, "points")]
    assert len(first) > 5
    assert np.concatenate(first).tolist() == [[i, i * i] for i in range(30)]
    reader.skip(20, "points")
    then = list(reader.take(50, "points", np.int64))
    assert np.concatenate([piece.values for piece in then]).tolist() == [n for i in range(50, 100) for n in (i, i * i)]
    assert then[-1].lines[-1] == 110
    with pytest.raises(InputError, match=r"declares 3 faces but has 0; it is truncated"):
        list(reader.take(3, "faces"))


def test_too_few_rows_are_told_before_a_row_cut_in_the_middle():
    with pytest.raises(InputError, match=r"declares 9 points but has 2; it is truncated"):
        list(RowReader(b"1 2 3\n4", PATH).take(9, "points"))


def test_marks_carriage_returns_and_zero_bytes():
    assert plain_text(b"\xef\xbb\xbf1\r\n2\r3\n", PATH) == b"1\n2\n3\n"
    assert plain_text("1\r\n2\n".encode("utf-16"), PATH) == b"1\n2\n"
    for content in (b"\xff\xfe1", b"\xff\xfe\x00\x00", b"1\x002"):
        with pytest.raises(InputError, match="is not text"):
            plain_text(content, PATH)


def test_a_line_without_end_is_bounded(monkeypatch):
    monkeypatch.setattr(rows, "_CHUNK", 8)
    monkeypatch.setattr(rows, "_MAX_LINE", 64)
    assert list(chunks(b"1 " * 30, PATH)) == [b"1 " * 30]
    with pytest.raises(InputError, match="has a line of 200 bytes; at most 64 are read"):
        list(chunks(b"1 " * 100, PATH))


def test_runs_in_one_long_array():
    assert ragged(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
