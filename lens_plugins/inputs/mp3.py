"""MPEG audio (MP3): the frames of a file, found by their headers, so that the number of samples is never an estimate.

A decoder guesses the length where no Xing, Info or VBRI header counts the frames; and such a header counts only the
first of several files that were joined to one. Formats: ISO 11172-3 and 13818-3, layers I to III, and MPEG 2.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Frame", "Header", "cut_off", "frames"]

# kbit/s by (MPEG 1, layer); index 0 is the free format, whose length only the next header tells
_BITRATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)  # Hz of MPEG 1; MPEG 2 has the half, MPEG 2.5 the quarter
_SHARES = {3: 1, 2: 2, 0: 4}  # by the two bits of the version; 1 is reserved
_SYNC = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x00-\xef]", re.DOTALL)
_MOST_TRIES = 2**16  # places that look like a header and are none: a file full of them is no MP3
_LONGEST_FREE = 8192  # bytes of a frame in the free format
_XING_AT = {(True, 2): 36, (True, 1): 21, (False, 2): 21, (False, 1): 13}  # bytes, by (MPEG 1, channels)
_VBRI_AT = 36


class Header(NamedTuple):
    """What the four bytes in front of a frame say."""

    kind: tuple[int, int]  # layer and Hz, which all frames of one recording share
    mpeg1: bool
    channels: int
    samples: int  # of each channel
    length: int  # bytes; 0 in the free format
    padding: int  # bytes, counted in `length`
    run: tuple[int, int, int]  # layer, Hz and channels: frames that one decoder reads in one go


Frame = tuple[int, int, Header]  # content[start:end] is a whole frame


def frames(content: bytes) -> tuple[list[Frame], dict[int, int]]:
    """All whole frames, and which of them are no sound but a Xing, Info or VBRI header.

    Tags (ID3v2, APE, ID3v1) and damaged bytes are passed over; a last frame that is cut off is no frame. The second
    result has the samples that a header declares by the first byte of its frame, 0 where it does not say.
    """
    counters = _counters(content)
    found = _walk(content, sorted(counters))
    return found, {start: counters[start] for start, _, _ in found if start in counters} if counters else {}


def cut_off(content: bytes, found: Sequence[Frame]) -> bool:
    """Whether another frame begins where the last whole one ends."""
    _, end, header = found[-1]
    rest = content[end : end + 4]
    return (0 < len(rest) < 4 and rest[0] == 0xFF) or _follows(content, end, header)


def _walk(content: bytes, counters: Sequence[int]) -> list[Frame]:
    found: list[Frame] = []
    ahead = iter([*counters, len(content)])
    counter = next(ahead)  # where the next header that counts stands: a frame that reaches into it was cut off
    position, tries, size = _after_tags(content, 0), 0, len(content)
    kind: tuple[int, int] | None = None  # of the frame that ends at `position`
    free: dict[tuple[int, int], int] = {}  # bytes of a frame in the free format, without padding
    while position < size and tries < _MOST_TRIES:
        while counter < position:
            counter = next(ahead, size)
        header = _header(content[position : position + 4])
        end = position + (header.length or _free(content, position, header, free)) if header else 0
        if header and position < counter < end:
            kind, position = None, counter
        # where the last frame ended, a header of its kind is enough; anywhere else the next one must follow
        elif (
            header and position < end <= size and (header.kind == kind or _follows(content, end, header, or_ends=True))
        ):
            found.append((position, end, header))
            kind, position = header.kind, end
        elif (tagged := _after_tags(content, position)) > position:
            kind, position = None, tagged
        else:
            sync = _SYNC.search(content, position + 1)
            kind, position, tries = None, sync.start() if sync else size, tries + 1
    return found


def _follows(content: bytes, end: int, header: Header, *, or_ends: bool = False) -> bool:
    """Whether the header of a frame of the same kind stands behind one, or nothing does."""
    following = _header(content[end : end + 4])
    return (or_ends and end == len(content)) or (following is not None and following.kind == header.kind)


@lru_cache(4096)
def _header(four: bytes) -> Header | None:
    if len(four) < 4 or four[0] != 0xFF or four[1] < 0xE0:
        return None
    version, layer = four[1] >> 3 & 3, 4 - (four[1] >> 1 & 3)
    bitrate, rate, padded = four[2] >> 4, four[2] >> 2 & 3, four[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate == 15 or rate == 3:
        return None
    mpeg1 = version == 3
    samples = 384 if layer == 1 else 576 if layer == 3 and not mpeg1 else 1152
    hertz = _RATES[rate] // _SHARES[version]
    slot = 4 if layer == 1 else 1  # bytes: frames are whole slots, of which one may be padding
    slots = samples * 125 * _BITRATES[mpeg1, layer][bitrate] // (hertz * slot)
    padding = padded * slot
    length = slots * slot + padding if bitrate else 0
    channels = 1 if four[3] >> 6 == 3 else 2
    return Header((layer, hertz), mpeg1, channels, samples, length, padding, (layer, hertz, channels))


def _free(content: bytes, start: int, header: Header, free: dict[tuple[int, int], int]) -> int:
    """Bytes of a frame in the free format, which are the same for all of a kind but for padding; 0 for no frame."""
    if header.kind not in free:
        free[header.kind] = _free_length(content, start, header)
    return free[header.kind] and free[header.kind] + header.padding


def _free_length(content: bytes, start: int, header: Header) -> int:
    """Bytes to the next header of the same kind, if a third one stands as far behind that one; 0 if not."""
    same = re.compile(re.escape(content[start : start + 2]))
    for found in same.finditer(content, start + 4, start + _LONGEST_FREE):
        second = _header(content[found.start() : found.start() + 4])
        if second is None or second.length or second.kind != header.kind:
            continue
        length = found.start() - start - header.padding
        third = found.start() + length + second.padding
        if third == len(content) or content[third : third + 2] == content[start : start + 2]:
            return length
    return 0


def _after_tags(content: bytes, position: int) -> int:
    """The first byte behind the tags that start here; a tag that says that it is longer than the file ends it."""
    while True:
        head = content[position : position + 16]
        if head[:3] == b"ID3" and len(head) >= 10:
            size = 0
            for byte in head[6:10]:
                size = size << 7 | byte & 0x7F
            position += 10 + size + (10 if head[5] & 0x10 else 0)  # a footer repeats the header
        elif head[:8] == b"APETAGEX" and len(head) == 16:
            position += 32 + int.from_bytes(head[12:16], "little")
        else:
            return position


def _counters(content: bytes) -> dict[int, int]:
    """Where Xing, Info and VBRI headers begin, and the samples that each declares, 0 where it does not say."""
    found = {}
    for word in (b"Xing", b"Info", b"VBRI"):  # one search each: quicker than a pattern with three words
        at, vbri = content.find(word), word == b"VBRI"
        while at >= 0:
            for start in (at - _VBRI_AT,) if vbri else (at - offset for offset in set(_XING_AT.values())):
                header = _header(content[start : start + 4]) if start >= 0 else None
                if header and (vbri or at - start == _XING_AT[header.mpeg1, header.channels]):
                    counted = vbri or _number(content, at + 4) & 1  # the flag that says that a count follows
                    found[start] = _number(content, at + (14 if vbri else 8)) * header.samples if counted else 0
            at = content.find(word, at + 4)
    return found


def _number(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 4], "big")
