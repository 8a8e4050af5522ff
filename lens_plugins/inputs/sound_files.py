"""Sound files: what their containers declare, what they hold, and their samples.

One rule for every format. A file is one recording or several, one after another, and each is decoded to its end. The
count in a header never limits what is read: where it is unknown or a placeholder nothing is compared with it, and where
it says more than is there the file is truncated.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from io import BytesIO
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from .arrays import MAX_VALUES
from .mp3 import Frame, cut_off, frames

__all__ = ["MAX_CHANNELS", "MAX_SECONDS", "RATES", "check_length", "decode"]

MAX_SECONDS = 600
MAX_CHANNELS = 8
RATES = (4_000, 192_000)  # Hz
_FORMATS = ("WAV", "WAVEX", "RF64", "W64", "AU", "FLAC", "OGG", "MP3")
_KNOWN = "give wav, flac, ogg or mp3"
_BLOCK = 2**18  # samples
_PLACEHOLDER = 0x7FFF0000  # sizes from here on are written by programs that cannot go back: ffmpeg, sox, arecord
_UNKNOWN = 2**40  # samples; as a granule position it lets the decoder go on to the end
_RIFF = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_NEXT_RIFF = re.compile(rb"RIFF....WAVEfmt ", re.DOTALL)
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")  # its first block, STREAMINFO, has 34 bytes
_W64 = b"riff\x2e\x91\xcf\x11"
_PCM = (1, 3, 6, 7, 0xFFFE)  # WAV's numbers for encodings with a fixed number of bytes a sample
_MPEG = 0x55
_OPUS = b"OpusHead"
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBE")
_BITS_BACKWARDS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Stream(NamedTuple):
    """One recording as the decoder gets it."""

    content: bytes
    declared: int | None = None  # samples by its header
    taken: int | None = None  # read no more samples than this
    in_one: bool = False  # its count is sure, and it is read in one piece: Opus then knows where its sound begins


@cache
def _decoder(seeks: bool = False) -> type[Any]:  # made at first use: soundfile loads a library that others do not need
    import soundfile

    if seeks:
        return soundfile.SoundFile

    class Decoder(soundfile.SoundFile):
        """libsndfile from front to back: after each block soundfile would seek, and FLAC of unknown length cannot."""

        def seekable(self) -> bool:
            return False

    return Decoder


def decode(content: bytes, name: str) -> tuple[np.ndarray, int]:  # -> (S, channels) float32, Hz
    """The samples of a sound file and its rate.

    Raises:
        InputError: no sound file, another format, truncated, too long, or of several rates.
    """
    parts: list[np.ndarray] = []
    rate = 0
    for stream in _streams(content, name):
        samples, hertz = _decoded(stream, name)
        if parts and hertz != rate:
            raise InputError(f"{name} changes its sample rate from {rate} to {hertz} Hz; give one recording a file.")
        rate = hertz
        parts.append(samples)
        check_length(sum(map(len, parts)), rate, name)
    return _joined(parts, name), rate


def check_length(samples: int, rate: int, name: str, at_least: str = "") -> None:
    """Refuse nothing at all and what is longer than `MAX_SECONDS`; `at_least` says that the count goes on."""
    if samples == 0:
        raise InputError(f"{name} has 0 samples; give a recording with sound in it.")
    if samples > MAX_SECONDS * rate:
        raise InputError(f"{name} lasts {at_least}{samples / rate:.1f} s; at most {MAX_SECONDS} s are read: cut it.")


def _streams(content: bytes, name: str) -> Iterator[_Stream]:
    if content[:4] in _RIFF or content[:8] == _W64 or content[:4] == b".snd":
        return _pcm_streams(content, name)
    if content[:4] == b"OggS":
        return _ogg_streams(content, name)
    if _FLAC.search(content, 0, 2**24):  # an ID3v2 tag may stand before it
        return _flac_streams(content)
    mp3 = list(_mp3_streams(content, name))
    return iter(mp3 or [_Stream(content)])  # libsndfile says what it is


def _decoded(stream: _Stream, name: str) -> tuple[np.ndarray, int]:
    from soundfile import LibsndfileError

    done = 0
    try:
        with _decoder(stream.in_one)(BytesIO(stream.content)) as file:
            _check_kind(file, stream, name)
            rate, channels, blocks = file.samplerate, file.channels, []
            if stream.in_one:
                file.seek(0)  # counts from where the sound begins, wherever the file's own clock stands there
            expected = stream.taken or (file.frames if file.frames <= MAX_SECONDS * rate else _BLOCK)
            while stream.taken is None or done < stream.taken:
                block = file.read(expected, dtype="float32", always_2d=True)
                if not len(block):
                    break
                blocks.append(block)
                done, expected = done + len(block), _BLOCK
                _check_size(done, file, name, at_least="over ")
    except LibsndfileError as error:
        if stream.declared and stream.taken is None:  # a tag or zeros may follow all that it declares
            with suppress(InputError):
                return _decoded(stream._replace(taken=stream.declared), name)
        reason, decoded = error.error_string.strip().rstrip("."), _decodable(stream.content)
        if decoded:
            raise InputError(
                f"{name} {_of(stream)} but only {decoded} can be decoded ({reason}); it is truncated or damaged."
            ) from error
        raise InputError(f"{name} is not a whole sound file ({reason}); {_KNOWN}.") from error
    if stream.declared and done < stream.declared:
        raise InputError(f"{name} {_of(stream)} but has {done}; it is truncated.")
    return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.zeros((0, channels), np.float32)])), rate


def _decodable(content: bytes) -> int:
    """How many samples come before the first error, to within a few: a block that meets it is lost as a whole."""
    done = 0
    with suppress(Exception), _decoder()(BytesIO(content)) as file:
        while block := len(file.read(64, dtype="float32")):
            done += block
    return done


def _of(stream: _Stream) -> str:
    return f"declares {stream.declared} samples" if stream.declared else "does not say how many samples it has"


def _check_kind(file: Any, stream: _Stream, name: str) -> None:
    low, high = RATES
    if file.format not in _FORMATS:
        raise InputError(f"{name} is a sound file of kind {file.format}; {_KNOWN}.")
    if not low <= file.samplerate <= high:
        raise InputError(f"{name} has a sample rate of {file.samplerate} Hz; it must be {low} to {high}.")
    if file.channels > MAX_CHANNELS:
        raise InputError(f"{name} has {file.channels} channels; at most {MAX_CHANNELS} are read.")
    _check_size(stream.declared or stream.taken or 1, file, name)


def _check_size(samples: int, file: Any, name: str, at_least: str = "") -> None:
    if samples * file.channels > MAX_VALUES:
        raise InputError(f"{name} declares {samples * file.channels} values; at most {MAX_VALUES} are read.")
    check_length(samples, file.samplerate, name, at_least)


def _joined(
    parts: Sequence[np.ndarray], name: str
) -> np.ndarray:  # (S, channels) each; mono parts become as the others
    widths = {part.shape[1] for part in parts}
    if len(widths - {1}) > 1:
        raise InputError(f"{name} changes its number of channels ({sorted(widths)}); give one recording a file.")
    widest = max(widths)
    return np.concatenate([np.broadcast_to(part, (len(part), widest)) for part in parts]) if parts[1:] else parts[0]


# WAV and its relatives: chunks with sizes ------------------------------------------------------------------------


class _Data(NamedTuple):
    """Where the sound of a WAV, RF64, W64 or AU file lies."""

    start: int
    declared: int  # bytes
    size_at: int  # where the file says so
    layout: str  # of that number
    extra: int = 0  # what that number counts besides
    frame: int | None = None  # bytes of one sample of all channels, where that is fixed
    encoding: int = 1
    samples: int | None = None  # of sound that is packed in blocks, where the last one is filled up


def _pcm_streams(content: bytes, name: str) -> Iterator[_Stream]:
    data = _find_data(content)
    if data is None:
        yield _Stream(content)  # libsndfile says what is wrong
        return
    held = len(content) - data.start
    unknown = data.declared >= _PLACEHOLDER or (data.declared == 0 and not _nothing_more(content, data))
    if not unknown and data.declared > held:
        unit, size = ("samples", data.frame) if data.frame else ("bytes of sound", 1)
        raise InputError(f"{name} declares {data.declared // size} {unit} but has {held // size}; it is truncated.")
    end = len(content) if unknown else data.start + data.declared
    if data.encoding == _MPEG:
        sound = content[data.start : end]
        yield from _mp3_streams(sound, name)
    elif unknown:
        mended = bytearray(content)
        struct.pack_into(data.layout, mended, data.size_at, held + data.extra)
        yield _Stream(bytes(mended))
    else:
        if _second_data(content, end):
            raise InputError(f"{name} has 2 chunks of sound, and a .wav file has one; save it again.")
        yield _Stream(content[:end], data.declared // data.frame if data.frame else None, data.samples)
    following = None if unknown else _NEXT_RIFF.search(content, end)
    if following:
        yield from _pcm_streams(content[following.start() :], name)


def _find_data(content: bytes) -> _Data | None:
    if content[:4] == b".snd" and len(content) >= 24:
        start, declared, encoding, _, channels = struct.unpack_from(">IIIII", content, 4)
        width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(encoding, 0)
        return _Data(start, declared, 8, ">I", 0, width * channels or None) if start <= len(content) else None
    wide = content[:8] == _W64
    big = content[:4] == b"RIFX"
    size64: tuple[int, int] | None = (
        None  # RF64 keeps the size of its data in a chunk of its own: where, and the number
    )
    frame, encoding, counted, block = None, 1, 0, (1, 0)
    for kind, start, size, size_at in _chunks(content, 40 if wide else 12, wide, big):
        if kind == b"ds64" and start + 16 <= len(content):
            size64 = start + 8, struct.unpack_from("<Q", content, start + 8)[0]
        elif kind == b"fmt " and start + 16 <= len(content):
            encoding, _, _, _, aligned = struct.unpack_from(">HHIIH" if big else "<HHIIH", content, start)
            frame = aligned if encoding in _PCM and aligned else None
            if frame is None and aligned and size >= 20:  # bytes and samples of a block
                block = aligned, struct.unpack_from(">H" if big else "<H", content, start + 18)[0]
        elif kind == b"fact" and start + 4 <= len(content):
            (counted,) = struct.unpack_from(">I" if big else "<I", content, start)
        elif kind == b"data":
            if size == 0xFFFFFFFF and size64:
                return _Data(start, size64[1], size64[0], "<Q", 0, frame, encoding)
            layout, extra = ("<Q", 24) if wide else (">I" if big else "<I", 0)
            spare = -(-size // block[0]) * block[1] - counted
            return _Data(
                start, size, size_at, layout, extra, frame, encoding, counted if 0 <= spare < block[1] else None
            )
    return None


def _second_data(content: bytes, end: int) -> bool:
    """Whether a whole chunk of sound follows the one that ends at `end`, in the same file."""
    wide = content[:8] == _W64
    if content[:4] not in _RIFF and not wide:
        return False
    following = _chunks(content, end + -end % (8 if wide else 2), wide, content[:4] == b"RIFX")
    return any(kind == b"data" and start + size <= len(content) for kind, start, size, _ in following)


def _chunks(content: bytes, position: int, wide: bool, big: bool) -> Iterator[tuple[bytes, int, int, int]]:
    """Name, first byte and size of each chunk, and where its size stands; no further than the file goes."""
    head, align = (24, 8) if wide else (8, 2)
    while position + head <= len(content):
        size_at = position + (16 if wide else 4)
        size = struct.unpack_from("<Q" if wide else ">I" if big else "<I", content, size_at)[0] - (24 if wide else 0)
        yield content[position : position + 4], position + head, max(size, 0), size_at
        position += head + -(-max(size, 0) // align) * align


def _nothing_more(content: bytes, data: _Data) -> bool:
    """Whether at most whole chunks follow: then a size of 0 is meant so."""
    if data.start == len(content) or content[:4] == b".snd":
        return data.start == len(content)
    chunks = list(_chunks(content, data.start, content[:8] == _W64, content[:4] == b"RIFX"))
    return bool(chunks) and 0 <= len(content) - chunks[-1][1] - chunks[-1][2] <= 1


# Ogg: pages that say how long they are ---------------------------------------------------------------------------


class _Page(NamedTuple):
    start: int
    end: int
    first: bool  # of a logical stream
    granule: int  # samples up to its end
    last: bool
    serial: int  # of its logical stream
    number: int  # in it


def _ogg_streams(content: bytes, name: str) -> Iterator[_Stream]:
    links: list[list[_Page]] = []
    for page in _pages(content, name):
        if not links or (page.first and not links[-1][-1].first):
            links.append([])  # a stream begins after another has gone on: files joined to one
        links[-1].append(page)
    for link in links:
        _check_pages(link, content, name)
        sound = content[link[0].start : link[-1].end]
        last, before = link[-1].granule, max((page.granule for page in link[:-1]), default=0)
        whole = last > 0 and last >= before
        if whole and not any(page.last for page in link):
            warnings.warn(f"{name} does not mark its end, so it may have been cut off.", stacklevel=2)
        yield _Stream(
            sound if whole else _endless(sound, link[-1].start - link[0].start),
            in_one=whole and _OPUS in content[link[0].start : link[0].end],
        )


def _check_pages(link: Sequence[_Page], content: bytes, name: str) -> None:
    """Refuse damaged and lost pages: decoders pass over them, and the sound is shorter without a word.

    Behind the headers, whose granule is 0, a stream that was recorded from the air may go on at any number.
    """
    before: dict[int, _Page] = {}
    for page in link:
        told = struct.unpack_from("<I", content, page.start + 22)[0]
        blank = content[page.start : page.start + 22] + bytes(4) + content[page.start + 26 : page.end]
        if _ogg_sum(blank) != told:
            raise InputError(f"{name} has a page {page.number} whose checksum is not {told:#x}; it is damaged.")
        earlier = before.get(page.serial)
        if earlier and earlier.granule != 0 and page.number != earlier.number + 1:
            raise InputError(f"{name} has page {page.number} after page {earlier.number}; it is damaged.")
        before[page.serial] = page


def _ogg_sum(page: bytes) -> int:
    """The checksum of a page whose own field is 0: a CRC-32 that starts with 0 and goes the other way than zlib's."""
    backwards = zlib.crc32(page.translate(_BITS_BACKWARDS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{backwards:032b}"[::-1], 2)


def _pages(content: bytes, name: str) -> Iterator[_Page]:
    position = 0
    while content[position : position + 4] == b"OggS":
        segments = content[position + 26 : position + 27]
        table = content[position + 27 : position + 27 + ord(segments or b"\0")]
        whole = bool(segments) and len(table) == ord(segments)
        end = position + 27 + len(table) + sum(table)
        if not whole or end > len(content):
            raise InputError(
                f"{name} has a page of {end - position} bytes but ends after {len(content) - position} of them; "
                "it is truncated."
            )
        flags, granule, serial, number = struct.unpack_from("<BqII", content, position + 5)
        yield _Page(position, end, bool(flags & 2), granule, bool(flags & 4), serial, number)
        position = end


def _endless(link: bytes, page: int) -> bytes:
    """A stream whose last page does not say where the sound ends, made to say: later than it does."""
    mended = bytearray(link)
    struct.pack_into("<qIII", mended, page + 6, _UNKNOWN, *struct.unpack_from("<II", link, page + 14), 0)
    struct.pack_into("<I", mended, page + 22, _ogg_sum(bytes(mended[page:])))
    return bytes(mended)


# FLAC and MP3 ----------------------------------------------------------------------------------------------------


def _flac_streams(content: bytes) -> Iterator[_Stream]:
    starts = [found.start() for found in _FLAC.finditer(content)]
    for start, end in zip(starts, [*starts[1:], len(content)]):
        declared = int.from_bytes(content[start + 21 : start + 26], "big") & (2**36 - 1)
        mended = bytearray(content[start:end])
        mended[21:26] = bytes([mended[21] & 0xF0, 0, 0, 0, 0])  # unknown, or the decoder would stop at the count
        yield _Stream(bytes(mended), declared or None)


def _mp3_streams(content: bytes, name: str) -> Iterator[_Stream]:
    found, counters = frames(content)
    if not found:
        return
    _check_counts(found, counters, cut_off(content, found), name)
    sound = [frame for frame in found if frame[0] not in counters] if counters else found
    _warn_of_lost(content, found, name)
    runs = {header.run for _, _, header in sound}
    declared, frame = counters.get(found[0][0], -1), found[0][2].samples
    if len(runs) == len(counters) == 1 and 0 <= declared - _samples(sound) <= frame:
        # its header counts what is there: it stays, since the decoder takes from it what to cut at both ends
        yield _Stream(_joined_frames(content, found))
        return
    for (_, rate, _), run in groupby(sound, key=lambda frame: frame[2].run):
        same = list(run)
        check_length(_samples(same), rate, name)
        yield _Stream(_joined_frames(content, [*same, *_filler(same)]), None, _samples(same))


def _warn_of_lost(content: bytes, found: Sequence[Frame], name: str) -> None:
    """Bytes between frames that are no tag were frames once; without a header that counts them nobody misses them."""
    gaps = [(end, start) for (_, end, _), (start, _, _) in pairwise(found) if start > end]
    lost = sum(start - end for end, start in gaps if not content[end : end + 8].startswith(_TAGS))
    if lost:
        warnings.warn(f"{name} has {lost} bytes among its sound that are none; it is damaged there.", stacklevel=3)


def _samples(run: Sequence[Frame]) -> int:
    return sum([header.samples for _, _, header in run])


def _joined_frames(content: bytes, run: Sequence[Frame]) -> bytes:
    if sum([end - start for start, end, _ in run]) == run[-1][1] - run[0][0]:
        return content[run[0][0] : run[-1][1]]  # nothing lies between them
    return b"".join([content[start:end] for start, end, _ in run])


def _check_counts(found: Sequence[Frame], counters: Mapping[int, int], cut: bool, name: str) -> None:
    """Refuse a file with fewer frames than a header counts; some writers count the header too."""
    spare = found[0][2].samples
    declared = held = 0
    for start, _, header in found if counters else ():
        if start not in counters:
            held += header.samples
            continue
        if declared - held > spare:
            break
        declared, held = counters[start], 0
    if declared - held > (0 if cut else spare):
        raise InputError(f"{name} declares {declared} samples but has {held}; it is truncated.")


def _filler(run: Sequence[Frame]) -> list[Frame]:
    """So many copies of the last frame that the decoder's guess, by the first frame's length, is never too low."""
    lengths = [end - start for start, end, _ in run]
    short = max(lengths) * len(lengths) - sum(lengths)
    return [run[-1]] * (short // lengths[-1] + len(lengths) // 64 + 8)
