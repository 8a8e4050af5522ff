"""Text of numbers: rows of any length, read in chunks, with the line of what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError

__all__ = ["RowReader", "Rows", "chunks", "parse_rows", "plain_text", "ragged", "truncated", "without_comments"]

_CHUNK = 4 * 2**20  # bytes of text read at a time: bounds the memory of big files
_MAX_LINE = 64 * 2**20
_INTEGER = re.compile(rb"[+-]?\d+")
_NUMBER = re.compile(rb"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan(?:\(\w*\))?)", re.IGNORECASE)


def truncated(path: Path, declared: int, what: str, found: int) -> InputError:
    """The refusal of a file that holds less than its header says: the one sentence for every format."""
    return InputError(f"{path} declares {declared} {what} but has {found}; it is truncated.")


def plain_text(content: bytes, path: Path) -> bytes:
    """Text as UTF-8 without a byte-order mark, its lines ended by newlines.

    Raises:
        InputError: bytes that are no text.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, as Windows calls Unicode
        with suppress(UnicodeError):
            content = content.decode("utf-16").encode()
    if b"\0" in content or content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is not text (it holds zero bytes); save it as plain or UTF-8 text.")
    content = content.removeprefix(b"\xef\xbb\xbf")
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in content else content


def without_comments(text: bytes) -> bytes:
    """Text without what follows a # on each line; the lines keep their numbers."""
    return re.sub(rb"#[^\n]*", b"", text) if b"#" in text else text


def chunks(text: bytes, path: Path) -> Iterator[bytes]:
    """Whole lines of `text`, some megabytes at a time.

    Raises:
        InputError: a line of over 64 MiB.
    """
    start = 0
    while start < len(text):
        end = text.rfind(b"\n", start, start + _CHUNK) + 1 or text.find(b"\n", start) + 1 or len(text)
        if end - start > _MAX_LINE + _CHUNK:
            raise InputError(f"{path} has a line of {end - start} bytes; at most {_MAX_LINE} are read.")
        yield text[start:end]
        start = end


def ragged(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Places of runs in one long array: `counts[i]` of them from `starts[i]` on, one run after another."""
    shifts = starts - (np.cumsum(counts) - counts)
    return np.repeat(shifts, counts) + np.arange(int(counts.sum()))


@dataclass(frozen=True)
class Rows:
    """Rows of numbers: `values` (N,), one row after another; `counts` (R,) of each row; `lines` (R,), from 1.

    `unit` is what a line is called in messages.
    """

    values: np.ndarray
    counts: np.ndarray
    lines: np.ndarray
    unit: str = "line"

    @property
    def starts(self) -> np.ndarray:  # (R,)
        return np.cumsum(self.counts) - self.counts

    def columns(self, numbers: list[int], path: Path, width: int = 0) -> np.ndarray:
        """The given columns of every row: (R, len(numbers)).

        Raises:
            InputError: a row of fewer than `width` numbers, or without one of these columns.
        """
        width = max(width, *(number + 1 for number in numbers))
        short = np.flatnonzero(self.counts < width)
        if len(short):
            line, count = self.lines[short[0]], self.counts[short[0]]
            raise InputError(f"{path} has {count} numbers in {self.unit} {line}; at least {width} belong there.")
        return self.values[self.starts[:, None] + np.asarray(numbers)]


class _Chunk:
    """Where the words of a piece of text stand; blank lines are no rows."""

    def __init__(self, text: bytes, first_line: int, unit: str = "line") -> None:
        data = np.frombuffer(text, np.uint8)
        blank = data <= 32
        self.text = text
        self.unit = unit
        self.words = np.flatnonzero(~blank & np.append(True, blank[:-1]))  # (W,) where each word begins
        self.ends = np.flatnonzero(~blank & np.append(blank[1:], True)) + 1
        newlines = np.flatnonzero(data == 10)
        line_of_word = np.searchsorted(newlines, self.words)
        self.rows = np.flatnonzero(np.diff(line_of_word, prepend=-1))  # (R,) first word of each row
        self.lines = line_of_word[self.rows] + first_line
        self.next_line = first_line + len(newlines)

    def read(self, first: int, last: int, dtype: type, path: Path) -> Rows:
        """Rows `first` to `last`, not included."""
        bounds = np.append(self.rows[first:last], self.rows[last] if last < len(self.rows) else len(self.words))
        counts = np.diff(bounds)
        if not counts.sum():
            return Rows(np.zeros(0, dtype), counts, self.lines[first:last], self.unit)
        final = bounds[-1] - 1
        text = self.text[self.words[bounds[0]] : self.ends[final]]
        values = _numbers(text, int(counts.sum()), self.text[self.words[final] : self.ends[final]], dtype)
        if values is None:
            raise self._not_a_number(int(bounds[0]), path)
        return Rows(values, counts, self.lines[first:last], self.unit)

    def _not_a_number(self, first: int, path: Path) -> InputError:
        for word in range(first, len(self.words)):
            said = self.text[self.words[word] : self.ends[word]][:80]
            if not _NUMBER.fullmatch(said):
                line = self.lines[np.searchsorted(self.rows, word, side="right") - 1]
                shown = said.decode("utf-8", "replace")
                return InputError(f"{path} has {shown!r} in {self.unit} {line}, where a number belongs.")
        return InputError(f"{path} has a word in {self.unit} {self.lines[0]} or below, where a number belongs.")


def _numbers(text: bytes, count: int, final: bytes, dtype: type) -> np.ndarray | None:  # -> (count,); None: has words
    whole = dtype is np.int64  # integers are read ten times faster than floats
    try:
        values: np.ndarray = np.fromstring(text, dtype, sep=" ")
    except (ValueError, DeprecationWarning):  # a warning before numpy 2.3
        values = np.zeros(0)
    # numpy stops at the first word; only after the final one the count cannot tell
    if len(values) == count and (_INTEGER if whole else _NUMBER).fullmatch(final):
        return values
    return _numbers(text, count, final, np.float64) if whole else None


def parse_rows(text: bytes, path: Path, unit: str = "line", first: int = 1, dtype: type = np.float64) -> Rows:
    """All rows of a text that fits one chunk; `unit` and `first` are how messages count its lines.

    Raises:
        InputError: a word that is no number.
    """
    chunk = _Chunk(text, first, unit)
    return chunk.read(0, len(chunk.rows), dtype, path)


class RowReader:
    """Takes rows from a text, some at a time; blank lines are passed over."""

    def __init__(self, text: bytes, path: Path, first_line: int = 1) -> None:
        self._path = path
        self._chunks = chunks(text, path)
        self._chunk = _Chunk(b"", first_line)
        self._row = 0

    def take(self, count: int, what: str, dtype: type = np.float64) -> Iterator[Rows]:
        """The next `count` rows, in pieces; `dtype` np.int64 where whole numbers are expected.

        Raises:
            InputError: fewer rows, or a word that is no number.
        """
        for chunk, first, last in self._pieces(count, what):
            yield chunk.read(first, last, dtype, self._path)

    def skip(self, count: int, what: str) -> None:
        """Pass over the next `count` rows, unread.

        Raises:
            InputError: fewer rows.
        """
        for _ in self._pieces(count, what):
            pass

    def left(self) -> int:
        """How many rows stand below those taken."""
        here = len(self._chunk.rows) - self._row
        return here + sum(len(_Chunk(text, 1).rows) for text in self._chunks)

    def _pieces(self, count: int, what: str) -> Iterator[tuple[_Chunk, int, int]]:
        taken = 0
        while taken < count:
            chunk, first, last = self._chunk, self._row, min(len(self._chunk.rows), self._row + count - taken)
            taken += last - first
            self._row = last
            if taken < count:  # told before the rows are looked at: the last one may be cut in the middle
                text = next(self._chunks, None)
                if text is None:
                    raise truncated(self._path, count, what, taken)
                self._chunk, self._row = _Chunk(text, chunk.next_line), 0
            if last > first:
                yield chunk, first, last
