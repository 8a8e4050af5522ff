"""Frames of MPEG audio: files written by libsndfile, and frames put together by hand for what it cannot write."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lens_plugins.inputs.mp3 import cut_off, frames

FORMATS = Path(__file__).parents[1] / "data/formats"


def mp3(rate: int = 44_100, channels: int = 1, seconds: float = 2, mode: str = "VARIABLE", seed: int = 0) -> bytes:
    """A file with a Xing or Info header; the second half is loud, so that its bit rate varies."""
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, (int(rate * seconds), channels))
    samples[: len(samples) // 2] *= 0.01
    with BytesIO() as file:
        soundfile.write(file, samples, rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
        return file.getvalue()


def sound(content: bytes) -> list[bytes]:
    """The frames that hold sound."""
    found, counters = frames(content)
    return [content[start:end] for start, end, _ in found if start not in counters]


def samples(content: bytes) -> int:
    found, counters = frames(content)
    return sum(header.samples for start, _, header in found if start not in counters)


@pytest.mark.parametrize(
    ("name", "held", "declared"),
    [
        ("mp3_cbr_no_xing", 133_632, []),
        ("mp3_vbr_no_xing_starts_loud", 398_592, []),
        ("mp3_concatenated_first_xing", 2 * 398_592, [398_592, 398_592]),
    ],
)
def test_every_frame_is_counted(name, held, declared):
    content = (FORMATS / f"{name}.mp3").read_bytes()
    assert samples(content) == held
    assert list(frames(content)[1].values()) == declared


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_the_frames_of_every_version_are_as_many_as_the_encoder_counted(rate, channels, mode):
    content = mp3(rate, channels, mode=mode)  # MPEG 2.5, 2 and 1
    found, counters = frames(content)
    assert counters == {0: samples(content)}
    assert {header.run for _, _, header in found} == {(3, rate, channels)}
    assert [0, *(end for _, end, _ in found)] == [*(start for start, _, _ in found), len(content)]


def header(bitrate: int, *, layer: int = 3, padding: int = 0, channels: int = 2) -> bytes:
    """Of a frame of MPEG 1 at 44.1 kHz."""
    return bytes([0xFF, 0xF8 | (4 - layer) << 1 | 1, bitrate << 4 | padding << 1, 0xC0 if channels == 1 else 0])


@pytest.mark.parametrize(
    ("layer", "bitrate", "padding", "length", "held"),
    [  # 144 · 128000 / 44100 = 417.96; 12 · 128000 / 44100 = 34.8 slots of 4 bytes; free: as long as we make them
        (3, 9, 0, 417, 1152),
        (3, 9, 1, 418, 1152),
        (2, 8, 0, 417, 1152),
        (1, 4, 0, 136, 384),
        (1, 4, 1, 140, 384),
        (3, 0, 0, 700, 1152),
        (2, 0, 0, 333, 1152),
    ],
)
def test_lengths_by_hand(layer, bitrate, padding, length, held):
    frame = header(bitrate, layer=layer, padding=padding).ljust(length, b"\x55")
    found, _ = frames(frame * 5)
    assert [(start, end) for start, end, _ in found] == [(length * i, length * (i + 1)) for i in range(5)]
    assert {header.samples for _, _, header in found} == {held}


def test_padding_changes_in_the_free_format():
    pieces = [header(0, padding=i % 3 == 1).ljust(500 + (i % 3 == 1), b"\x11") for i in range(9)]
    assert sound(b"".join(pieces)) == pieces


def id3v2(size: int, content: bytes = b"\xff\xfb\x90\x00") -> bytes:
    packed = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + packed + (content * size)[:size]


def ape(size: int) -> bytes:
    fields = (2000).to_bytes(4, "little") + (size + 32).to_bytes(4, "little") + bytes(16)
    return b"APETAGEX" + fields + b"\xff\xfb\x90\x00" * (size // 4) + b"APETAGEX" + fields


def test_tags_are_no_sound():
    content = mp3()
    pieces = sound(content)
    for before in (id3v2(5000), id3v2(300) + id3v2(700), ape(2000), b"", bytes(3000), b"junk" * 99):
        for behind in (b"TAG".ljust(128, b"\0"), ape(4000), id3v2(999) + b"TAG" + bytes(125), b"\0" * 5000, b""):
            assert sound(before + content + behind) == pieces


def test_damaged_bytes_between_frames_are_passed_over():
    pieces = sound(mp3())
    for junk in (b"x" * 2000, b"\xff" * 2000, bytes(5000), id3v2(800)):
        assert sound(b"".join(pieces[:20]) + junk + b"".join(pieces[20:])) == pieces


def test_a_frame_that_is_cut_off_is_none():
    content = mp3()
    whole, _ = frames(content)
    last = whole[-1][0]
    for lost in (1, 30, len(content) - last - 4):
        assert frames(content[:-lost])[0] == whole[:-1]
        assert cut_off(content[:-lost], whole[:-1])
    assert not cut_off(content, whole)
    assert not cut_off(content[:last], whole[:-1])


def vbri(count: int) -> bytes:
    return (header(9).ljust(36, b"\0") + b"VBRI\0\1\0\0\0\0" + bytes(4) + count.to_bytes(4, "big")).ljust(417, b"\0")


def test_fraunhofers_header_counts_too():
    frame = header(9).ljust(417, b"\x55")
    assert frames(vbri(7) + frame * 7)[1] == {0: 7 * 1152}


def test_a_header_without_a_count_is_no_sound_either():
    frame = header(9).ljust(417, b"\x55")
    empty = (header(9).ljust(36, b"\0") + b"Xing" + bytes(4)).ljust(417, b"\0")
    assert frames(empty + frame * 2)[1] == {0: 0}


def test_the_word_info_inside_the_sound_is_sound():
    frame = (header(9).ljust(100, b"\x55") + b"Info").ljust(417, b"\x55")
    assert frames(frame * 3)[1] == {}


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_text_hold_no_frames(seed):
    noise = np.random.default_rng(seed).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    assert len(frames(noise)[0]) <= 2  # a header, and by chance another as far behind as the first says
    assert frames(b"not a sound " * 5000) == ([], {})
    assert frames(b"\xff\xfb" * 100_000) == ([], {})
    assert frames(b"") == ([], {})
