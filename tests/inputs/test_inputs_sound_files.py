"""What is heard of a sound file, whatever its header says, against what was written into it."""

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lens_plugins.errors import InputError
from lens_plugins.inputs import sound_files
from lens_plugins.inputs.mp3 import frames
from lens_plugins.inputs.sound_files import decode

FORMATS = Path(__file__).parents[1] / "data/formats"
RATE = 16_000


def noise(samples: int = 48_000, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


def written(samples: np.ndarray, kind: str, subtype: str | None = None, rate: int = RATE, **more) -> bytes:
    with BytesIO() as file:
        soundfile.write(file, samples, rate, format=kind, subtype=subtype, **more)
        return file.getvalue()


def heard(content: bytes) -> np.ndarray:
    return decode(content, "a.sound")[0]


def refused(content: bytes, *said: object) -> None:
    with pytest.raises(InputError) as caught:
        decode(content, "a.sound")
    assert all(str(part) in str(caught.value) for part in ("a.sound", *said)), str(caught.value)


KINDS = [(kind, subtype) for kind in ("WAV", "WAVEX", "RF64", "W64", "AU", "FLAC", "OGG", "MP3") for subtype in (
    soundfile.available_subtypes(kind) if kind != "MP3" else ["MPEG_LAYER_III"])]  # fmt: skip
UNWRITABLE = {"MPEG_LAYER_III", "G721_32", "G723_24", "G723_40", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32"}


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_every_encoding_is_heard_as_soundfile_hears_it(kind, subtype, channels):
    if subtype in UNWRITABLE - {"MPEG_LAYER_III" if kind == "MP3" else ""} or (subtype == "GSM610" and channels == 2):
        channels = 1  # these have one channel, or none that libsndfile writes
    try:
        content = written(noise(channels=channels), kind, subtype)
    except soundfile.LibsndfileError:
        pytest.skip(f"libsndfile writes no {subtype} in {kind}")
    expected, rate = soundfile.read(BytesIO(content), dtype="float32", always_2d=True)
    if (kind, subtype) == ("WAV", "MS_ADPCM"):
        expected = expected[:48_000]  # soundfile fills the last block up, against the count in the file
    found, hertz = decode(content, "a")
    assert (hertz, found.dtype) == (rate, np.float32)
    assert np.allclose(found, expected, atol=1e-6)  # mpg123 rounds by where its buffer lies


class TestWav:
    """RIFF and its relatives, with the sizes that programs write that cannot go back to the start of a file."""

    @staticmethod
    def sized(kind: str, size: int, samples: np.ndarray) -> bytes:
        """A file whose header says that its sound has `size` bytes; -1 stands for the largest number."""
        content = bytearray(written(samples, kind))
        if kind == "AU":
            struct.pack_into(">I", content, 8, size & 0xFFFFFFFF)
        elif kind == "W64":
            struct.pack_into("<Q", content, content.index(b"data") + 16, size & 0xFFFFFFFFFFFFFFFF)
        elif kind == "RF64":
            struct.pack_into("<Q", content, content.index(b"ds64") + 16, size & 0xFFFFFFFFFFFFFFFF)
        else:
            struct.pack_into("<I", content, content.index(b"data") + 4, size & 0xFFFFFFFF)
        return bytes(content)

    @pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64", "AU"])
    @pytest.mark.parametrize("size", [0, -1, 0x7FFFF000, 0x7FFFFFFF, 0x80000000])
    def test_placeholders_are_no_sizes(self, kind, size):
        samples = noise()
        assert np.array_equal(heard(self.sized(kind, size, samples)), heard(written(samples, kind)))

    @pytest.mark.parametrize("size", [0, -1])
    def test_ffmpegs_pipe(self, size):  # the size of the whole is a placeholder too, and a LIST stands before the data
        content = self.sized("WAV", size, noise())
        at = content.index(b"data")
        content = (
            content[:4] + struct.pack("<I", size & 0xFFFFFFFF) + content[8:at] + b"LIST\4\0\0\0INFO" + content[at:]
        )
        assert len(heard(content)) == 48_000

    @pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64", "AU"])
    @pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_truncated_is_said_with_both_numbers(self, kind, part, channels):
        content = written(noise(channels=channels), kind)
        head = len(content) - 48_000 * channels * 2
        kept = head + int(part * (len(content) - head))
        refused(content[:kept], "declares 48000 samples", f"has {(kept - head) // (2 * channels)}; it is truncated")

    def test_blocks_of_adpcm_are_counted_in_bytes(self):
        content = written(noise(), "WAV", "IMA_ADPCM")
        refused(content[: len(content) // 2], "bytes of sound but has", "truncated")

    def test_none_at_all_is_none(self):
        empty = written(noise()[:0], "WAV")
        refused(empty, "0 samples")
        refused(empty + b"LIST\4\0\0\0INFO", "0 samples")

    def test_chunks_behind_the_sound_are_none(self):
        content = written(noise(48_001), "WAV", "PCM_U8") + b"\0"  # one byte of padding
        assert len(heard(content + b"LIST\4\0\0\0INFO")) == 48_001

    def test_big_endian(self):
        content = written(noise(), "WAV", endian="BIG")
        assert content[:4] == b"RIFX"
        assert np.array_equal(heard(content), heard(written(noise(), "WAV")))
        at = content.index(b"data") + 4
        assert len(heard(content[:at] + bytes(4) + content[at + 4 :])) == 48_000
        refused(content[:-100], "declares 48000 samples but has 47950")

    def test_files_joined_to_one_are_heard_to_the_end(self):
        first, second = noise(), noise(30_000, seed=1)
        found = heard(written(first, "WAV") + written(second, "WAV"))
        assert np.allclose(found, np.concatenate([first, second]), atol=1e-4)

    def test_mp3_inside(self):
        content = bare(written(noise(), "MP3", rate=44_100))
        head = struct.pack("<IHHIIHHHHIHHH", 30, 0x55, 1, 44_100, 16_000, 1, 0, 12, 1, 2, 417, 1, 0)
        for size in (len(content), 0xFFFFFFFF, 0):
            chunks = b"WAVEfmt " + head + b"data" + struct.pack("<I", size) + content
            assert len(heard(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)) == samples_in(content)


def bare(content: bytes) -> bytes:
    """An MP3 without the header that counts its frames."""
    found, counters = frames(content)
    return b"".join(content[start:end] for start, end, _ in found if start not in counters)


def samples_in(content: bytes) -> int:
    found, counters = frames(content)
    return sum(header.samples for start, _, header in found if start not in counters)


class TestMp3:
    @pytest.mark.parametrize(
        ("name", "samples"),
        [
            ("mp3_cbr_no_xing", 133_632),
            ("mp3_vbr_no_xing_starts_loud", 398_592),
            ("mp3_concatenated_first_xing", 797_184),  # 18.08 s
        ],
    )
    def test_real_files(self, name, samples):
        found, rate = decode((FORMATS / f"{name}.mp3").read_bytes(), name)
        assert (found.shape, rate) == ((samples, 1), 44_100)

    @pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
    @pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (48_000, 1), (22_050, 1), (16_000, 2), (8_000, 1)])
    @pytest.mark.parametrize("loud_first", [True, False])
    def test_without_its_header_the_same_is_heard(self, mode, rate, channels, loud_first):
        samples = noise(3 * rate, channels)
        samples[rate:] *= 0.001  # silence takes few bytes
        samples = samples if loud_first else samples[::-1]
        whole = written(samples, "MP3", rate=rate, bitrate_mode=mode, compression_level=0.3)
        found, expected = heard(bare(whole)), heard(whole)
        assert len(expected) == len(samples)  # the header says what to cut at both ends
        assert len(found) == samples_in(whole)
        delays = [np.abs(found[lag : lag + len(expected)] - expected).max() for lag in (0, 529, 1105)]
        assert min(delays) < 0.02

    def test_joined_files_are_heard_to_the_end(self):
        first, second = (written(noise(40_000, seed=seed), "MP3", rate=44_100) for seed in (0, 1))
        count = samples_in(first) + samples_in(second)
        for content in (first + second, first + bare(second), bare(first) + second, bare(first) + bare(second)):
            assert len(heard(content)) == count

    def test_a_tag_changes_nothing(self):
        content = written(noise(), "MP3", rate=44_100)
        tag = b"ID3\4\0\0\0\0\x07\x68" + b"\xff\xfb\x90\0" * 250
        assert np.array_equal(heard(tag + content + b"TAG".ljust(128)), heard(content))

    def test_mono_beside_stereo(self):
        one, two = written(noise(40_000), "MP3", rate=44_100), written(noise(40_000, 2), "MP3", rate=44_100)
        found = heard(one + two)
        assert found.shape == (samples_in(one) + samples_in(two), 2)
        half = samples_in(one)
        assert np.array_equal(found[:half, 0], found[:half, 1])

    def test_two_rates_are_refused(self):
        parts = [written(noise(40_000), "MP3", rate=rate) for rate in (44_100, 48_000)]
        refused(b"".join(parts), "changes its sample rate from 44100 to 48000 Hz")

    @pytest.mark.parametrize("part", [0.3, 0.6, 0.99])
    def test_truncated_where_a_header_counts(self, part):
        content = written(noise(80_000), "MP3", rate=44_100)
        declared, kept = samples_in(content), content[: int(part * len(content))]
        refused(kept, f"declares {declared} samples but has {samples_in(kept)}; it is truncated")
        assert len(heard(bare(content)[: int(part * len(content))])) > 0  # nothing says how many there should be

    def test_the_second_of_two_truncated(self):
        content = written(noise(80_000), "MP3", rate=44_100)
        refused(content + content[: len(content) // 2], "truncated")
        refused(content[: len(content) // 2] + content, "truncated")

    def test_a_writer_that_counts_its_header_as_well(self):
        content = bytearray(written(noise(), "MP3", rate=44_100))
        at = re.search(rb"Xing|Info", content).start() + 8
        content[at : at + 4] = (int.from_bytes(content[at : at + 4], "big") + 1).to_bytes(4, "big")
        assert len(heard(bytes(content))) >= 48_000

    @pytest.mark.parametrize("layer", [1, 2])
    def test_layers_one_and_two(self, layer):  # frames of silence: no bits are allocated to any band
        head = bytes([0xFF, 0xF8 | (4 - layer) << 1 | 1, 8 << 4, 0xC0])  # 128 kbit/s (layer II), 256 (layer I), mono
        length, held = {1: (4 * (12 * 256_000 // 44_100), 384), 2: (144 * 128_000 // 44_100, 1152)}[layer]
        found, rate = decode(head.ljust(length, b"\0") * 50, "a")
        assert (found.shape, rate, np.abs(found).max()) == ((50 * held, 1), 44_100, 0)

    def test_the_free_format(self):  # frames of 128 kbit/s made longer than any of the table's
        content = bare(written(noise(), "MP3", rate=44_100, bitrate_mode="CONSTANT", compression_level=0.5))
        pieces = [content[start:end] for start, end, _ in frames(content)[0]]
        length = max(map(len, pieces))
        free = b"".join(bytes([*piece[:2], piece[2] & 0x0D, *piece[3:]]).ljust(length, b"\0") for piece in pieces)
        assert len(heard(free)) == len(heard(content))


class TestOgg:
    REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

    def pages(self, content: bytes) -> list[bytearray]:
        found, at = [], 0
        while at < len(content):
            size = 27 + content[at + 26] + sum(content[at + 27 : at + 27 + content[at + 26]])
            found.append(bytearray(content[at : at + size]))
            at += size
        return found

    def signed(self, pages: list[bytearray]) -> bytes:
        for page in pages:
            page[22:26] = bytes(4)
            crc = zlib.crc32(bytes(page).translate(self.REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
            page[22:26] = struct.pack("<I", int(f"{crc:032b}"[::-1], 2))
        return b"".join(pages)

    def test_the_check_sum_is_oggs(self):
        content = written(noise(), "OGG", "VORBIS")
        assert self.signed(self.pages(content)) == content

    @pytest.mark.parametrize("seconds", [0.2, 5])
    @pytest.mark.parametrize("end", [0, -1])
    @pytest.mark.parametrize("everywhere", [True, False])
    def test_vorbis_without_an_end_is_heard_to_its_end(self, seconds, end, everywhere):
        count = int(seconds * RATE)
        content = written(noise(count), "OGG", "VORBIS")
        pages = self.pages(content)
        for page in pages[2:] if everywhere else pages[-1:]:
            struct.pack_into("<q", page, 6, end)
        found = heard(self.signed(pages))
        assert abs(len(found) - count) <= 1024  # the last block is not cut to size
        start = min(count, len(found)) - 1024
        assert np.allclose(found[:start], heard(content)[:start], atol=1e-6) or (everywhere and end == 0)

    def test_opus_without_an_end_is_heard_to_its_end(self):
        content = written(noise(5 * RATE), "OGG", "OPUS")
        pages = self.pages(content)
        for end in (0, -1):
            struct.pack_into("<q", pages[-1], 6, end)
            assert 0 <= len(heard(self.signed(pages))) - 5 * RATE < 1024

    def test_a_stream_that_began_long_before(self):
        content = written(noise(5 * RATE), "OGG", "VORBIS")
        pages = self.pages(content)
        for page in pages[2:]:
            struct.pack_into("<q", page, 6, struct.unpack_from("<q", page, 6)[0] + 10**9)
        assert len(heard(self.signed(pages))) == 5 * RATE

    @pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
    def test_joined_files_are_heard_to_the_end(self, subtype):
        first, second = noise(), noise(2 * RATE, seed=1)
        parts = [written(part, "OGG", subtype) for part in (first, second)]
        found = heard(b"".join(parts))
        assert np.array_equal(found, np.concatenate([heard(part) for part in parts]))
        assert len(found) == 5 * RATE

    @pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
    @pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
    def test_truncated_is_said_with_both_numbers(self, subtype, part):
        content = written(noise(5 * RATE), "OGG", subtype)
        kept = int(part * len(content))
        at, size = 0, 0
        for page in self.pages(content):
            if at + len(page) > kept:
                size = len(page)
                break
            at += len(page)
        refused(content[:kept], f"a page of {size} bytes", f"after {kept - at} of them; it is truncated")

    def test_bytes_behind_the_last_page_are_none(self):
        content = written(noise(), "OGG", "VORBIS")
        assert np.array_equal(heard(content + b"TAG".ljust(128)), heard(content))


class TestFlac:
    @staticmethod
    def counted(content: bytes, count: int) -> bytes:
        return (
            content[:21] + bytes([content[21] & 0xF0 | count >> 32]) + struct.pack(">I", count % 2**32) + content[26:]
        )

    def test_a_real_file_of_unknown_length(self):
        found, rate = decode((FORMATS / "flac_length_unknown.flac").read_bytes(), "a")
        assert (found.shape, rate) == ((96_000, 1), RATE)

    @pytest.mark.parametrize("channels", [1, 2, 6])
    @pytest.mark.parametrize("count", [100, 4096, 600_000])
    def test_unknown_length(self, channels, count):
        content = written(noise(count, channels), "FLAC")
        assert np.array_equal(heard(self.counted(content, 0)), heard(content))

    @pytest.mark.parametrize("count", [1, 50_000, 95_999])
    def test_a_header_that_says_less_does_not_cut_it(self, count):
        content = written(noise(96_000), "FLAC")
        assert np.array_equal(heard(self.counted(content, count)), heard(content))

    def test_joined_files_are_heard_to_the_end(self):
        parts = [written(noise(seed=seed), "FLAC") for seed in range(3)]
        assert np.array_equal(heard(b"".join(parts)), np.concatenate([heard(part) for part in parts]))

    @pytest.mark.parametrize("part", [0.2, 0.5, 0.95])
    def test_truncated_is_said_with_both_numbers(self, part):
        content = written(noise(90_000), "FLAC")
        kept = content[: int(part * len(content))]
        refused(kept, "declares 90000 samples but", "truncated")
        refused(self.counted(kept, 0), "truncated or damaged")

    def test_more_declared_than_there_is(self):
        refused(self.counted(written(noise(), "FLAC"), 50_000), "declares 50000 samples but has 48000; it is truncated")


def test_unknown_length_is_read_up_to_the_bound(monkeypatch):
    monkeypatch.setattr(sound_files, "MAX_SECONDS", 2)
    content = TestFlac.counted(written(noise(), "FLAC"), 0)
    with pytest.raises(InputError, match=r"lasts over .* s; at most 2 s are read"):
        heard(content)
    with pytest.raises(InputError, match=r"lasts 3\.0 s; at most 2 s are read"):
        heard(written(noise(), "FLAC"))


def test_other_formats_are_named():
    refused(written(noise(), "AIFF"), "a sound file of kind AIFF; give wav, flac, ogg or mp3")
    refused(b"no sound" * 500, "is not a whole sound file")


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM"])
@pytest.mark.parametrize("samples", [12_345, 1, 505])
def test_a_last_block_is_not_heard_beyond_the_count(subtype, samples):
    content = bytearray(written(noise(samples), "WAV", subtype))
    struct.pack_into("<I", content, content.index(b"fact") + 8, samples)  # libsndfile counts whole blocks for IMA
    assert len(heard(bytes(content))) == samples
    struct.pack_into("<I", content, content.index(b"fact") + 8, 10**8)  # no count of these blocks: not believed
    assert len(heard(bytes(content))) >= samples


def test_two_chunks_of_sound_are_refused():
    content = written(noise(1000), "WAV", "PCM_16")
    data = content[content.index(b"data") :]
    content = content[:4] + struct.pack("<I", len(content) + len(data) - 8) + content[8:] + data
    refused(content, "has 2 chunks of sound")


class TestOggPages:
    """Decoders pass over lost and damaged pages; a reader may not."""

    @pytest.fixture(params=["VORBIS", "OPUS"])
    def pages(self, request):
        content = written(noise(96_000, 2), "OGG", request.param)
        starts = [at for at in range(len(content)) if content[at : at + 4] == b"OggS"]
        return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)])]

    def test_whole(self, pages):
        assert len(pages) > 4
        assert len(heard(b"".join(pages))) == 96_000

    def test_a_lost_page(self, pages):
        refused(b"".join([*pages[:-2], pages[-1]]), "after page", "it is damaged")

    def test_a_flipped_bit(self, pages):
        hurt = bytearray(pages[-2])
        hurt[len(hurt) // 2] ^= 4
        refused(b"".join([*pages[:-2], bytes(hurt), pages[-1]]), "whose checksum is not", "it is damaged")

    def test_an_end_without_its_mark(self, pages):
        with pytest.warns(UserWarning, match="does not mark its end"):
            assert 0 < len(heard(b"".join(pages[:-1]))) < 96_000


def test_opus_from_the_air_begins_where_its_sound_does():
    content = bytearray(written(noise(96_000), "OGG", "OPUS"))
    expected = heard(bytes(content))
    for at in [at for at in range(len(content)) if content[at : at + 4] == b"OggS"]:
        granule = struct.unpack_from("<q", content, at + 6)[0]
        size = 27 + content[at + 26] + sum(content[at + 27 : at + 27 + content[at + 26]])
        if granule > 0:
            struct.pack_into("<q", content, at + 6, granule + 480_000)
            content[at + 22 : at + 26] = bytes(4)
            struct.pack_into("<I", content, at + 22, sound_files._ogg_sum(bytes(content[at : at + size])))
    assert np.allclose(heard(bytes(content)), expected, atol=1e-4)


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), bytes(4096), b"APETAGEX" + bytes(200)])
def test_what_follows_a_flac_is_passed_over(tail):
    content = written(noise(12_345), "FLAC", "PCM_16")
    assert np.array_equal(heard(content + tail), heard(content))


def test_bytes_lost_within_an_mp3_without_a_count_are_told():
    content = bare(written(noise(96_000), "MP3", "MPEG_LAYER_III"))
    middle = len(content) // 2
    with pytest.warns(UserWarning, match=r"has \d+ bytes among its sound that are none"):
        heard(content[:middle] + bytes(3000) + content[middle + 3000 :])
