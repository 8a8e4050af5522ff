"""EDF and BDF against what was written into them, and against mne."""

import struct
import warnings
from pathlib import Path

import mne
import numpy as np
import pytest

import lens_plugins as lp
from lens_plugins.errors import InputError
from lens_plugins.inputs import EegSettings
from lens_plugins.inputs.edf import read_edf

FORMATS = Path(__file__).parents[1] / "data/formats"


def every(labels):
    return list(range(len(labels)))


def noise(channels: int = 4, seconds: int = 3, rate: int = 256) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(channels, seconds * rate)) * 20


def field(path: Path, at: int, text: str, width: int = 8) -> None:
    """Overwrite a field of a header."""
    content = bytearray(path.read_bytes())
    content[at : at + width] = text.encode("latin-1").ljust(width)[:width]
    path.write_bytes(content)


def per_channel(path: Path, before: int, number: int, text: str, width: int = 8) -> None:
    """Overwrite one channel's field; `before` bytes of each channel come before it in the header."""
    channels = int(path.read_bytes()[252:256])
    field(path, 256 + before * channels + number * width, text, width)


SUFFIXES = pytest.mark.parametrize("suffix", [".edf", ".bdf"])


@SUFFIXES
@pytest.mark.parametrize("channels", [1, 5, 128])
@pytest.mark.parametrize("rate", [100, 256, 1000])
def test_every_sample_is_as_written_and_as_mne_reads_it(tmp_path, write_edf, suffix, channels, rate):
    data = noise(channels, 2, rate)
    path = write_edf(tmp_path / f"a{suffix}", data, rate)
    found = read_edf(path, every, 60)
    step = 100 / 2 ** (22 if suffix == ".bdf" else 14)
    assert np.abs(np.stack(found.rows) - data).max() <= step
    reader = mne.io.read_raw_edf if suffix == ".edf" else mne.io.read_raw_bdf
    assert np.allclose(np.stack(found.rows), reader(path, verbose="ERROR").get_data(verbose="ERROR") * 1e6, atol=1e-9)
    assert (set(found.rates), set(found.scales), found.until) == ({rate}, {1}, "")


@pytest.mark.parametrize("file", sorted(path.name for path in FORMATS.glob("*.[eb]df")))
def test_real_files_as_mne_reads_them(file):
    reader = mne.io.read_raw_edf if file.endswith(".edf") else mne.io.read_raw_bdf
    raw = reader(FORMATS / file, stim_channel=False, verbose="ERROR")
    found = read_edf(FORMATS / file, lambda labels: [list(labels).index(raw.ch_names[2])], 60)
    expected = raw.get_data(picks=[2], verbose="ERROR")[0] * 1e6
    if found.until:  # mne joins what an hour lies between
        expected = expected[: len(found.rows[0])]
    assert np.allclose(found.rows[0], expected, atol=1e-6)


@pytest.mark.parametrize("seconds", [1, 2, 60])
def test_only_the_first_seconds_are_read(tmp_path, write_edf, seconds):
    path = write_edf(tmp_path / "a.edf", noise(4, 3), 256)
    assert [len(row) for row in read_edf(path, every, seconds).rows] == [min(seconds, 3) * 256] * 4


@SUFFIXES
@pytest.mark.parametrize("declared", [-1, 0])
def test_a_recording_that_was_not_closed_is_as_long_as_it_is(tmp_path, write_edf, suffix, declared):
    path = write_edf(tmp_path / f"a{suffix}", noise(), 256)
    field(path, 236, str(declared))
    assert len(read_edf(path, every, 60).rows[0]) == 3 * 256
    path.write_bytes(path.read_bytes()[:-10])  # the last record is not whole
    assert len(read_edf(path, every, 60).rows[0]) == 2 * 256


@SUFFIXES
@pytest.mark.parametrize(("kept", "held"), [(0.99, 2), (0.5, 1), (0.2, 0), (0, 0)])
def test_truncated_is_said_with_both_numbers(tmp_path, write_edf, suffix, kept, held):
    path = write_edf(tmp_path / f"a{suffix}", noise(), 256)
    head = 256 * 5
    content = path.read_bytes()
    path.write_bytes(content[: head + int(kept * (len(content) - head))])
    with pytest.raises(InputError, match=rf"a{suffix} declares 3 records of 1 s but holds {held}; it is truncated"):
        read_edf(path, every, 60)


@pytest.mark.parametrize(
    ("unit", "scale"),
    [
        ("uV", 1), ("\u00b5V", 1), ("\u00c2\u00b5V", 1), ("\u00ce\u00bcV", 1), ("UV", 1), ("mV", 1e3), ("V", 1e6),
        ("nV", 1e-3), ("Volts", 1e6), ("microV", 1), ("", None), ("z", None), ("%", None), ("degC", None), ("lv", None),
    ],
)  # fmt: skip
def test_units(tmp_path, write_edf, unit, scale):
    path = write_edf(tmp_path / "a.edf", noise(), 256)
    for number in range(4):
        per_channel(path, 96, number, unit)
    assert read_edf(path, every, 60).scales == [scale] * 4


def test_beside_volts_other_units_are_no_eeg(tmp_path, write_edf):
    path = write_edf(tmp_path / "a.edf", noise(5), 256, labels=["a", "b", "c", "d", "e"])
    for number, unit in ((1, "degC"), (3, "Boolean"), (4, "")):
        per_channel(path, 96, number, unit)
    seen = []
    read_edf(path, lambda labels: seen.append(labels) or [0], 60)
    assert seen == [["a", "c", "e"]]


@pytest.mark.parametrize("unit", ["", "mV", "V", "uV"])
def test_volts_are_guessed_only_where_nothing_is_named_and_offsets_do_not_matter(tmp_path, write_edf, unit):
    volts = {"": 1, "V": 1, "mV": 1e-3, "uV": 1e-6}[unit]
    data = noise() * 1e-6 / volts
    path = write_edf(tmp_path / "a.edf", data + 5 * np.abs(data).max(), 256, unit=unit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = lp.read(path, settings=EegSettings(channels=4)).tensor
    assert (found - found.mean(1, keepdim=True)).std(1).tolist() == pytest.approx([20] * 4, rel=0.25)


def test_channels_of_two_rates_become_one(tmp_path, write_edf):
    time = np.arange(512) / 256
    fast = np.sin(2 * np.pi * 10 * time)
    path = write_edf(tmp_path / "a.edf", np.stack([fast, fast]), 256)
    content = bytearray(path.read_bytes())
    head, record = 256 * 3, 512 * 2
    per = [content[head + record * n : head + record * (n + 1)] for n in range(2)]
    # the second channel gets every other sample
    slow = b"".join(bytes(one[:512]) + np.frombuffer(one[512:], "<i2")[::2].tobytes() for one in per)
    path.write_bytes(bytes(content[:head]) + slow)
    per_channel(path, 216, 1, "128")
    assert [len(row) for row in read_edf(path, every, 60).rows] == [512, 256]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = lp.read(path, settings=EegSettings(channels=2)).tensor
    assert found[0].numpy() == pytest.approx(found[1].numpy(), abs=0.02)


class TestGaps:
    """EDF+D says when each record begins."""

    def plus(self, path: Path, times: list[float], kind: str = "D") -> Path:
        """One channel at 256 Hz in records of one second, and their times."""
        labels = ["Fz", "EDF Annotations"]
        head = b"0".ljust(8) + b"X".ljust(80) * 2 + b"01.01.20" + b"00.00.00" + b"768".ljust(8)
        head += f"EDF+{kind}".encode().ljust(44) + str(len(times)).encode().ljust(8) + b"1".ljust(8) + b"2".ljust(4)
        head += b"".join(label.encode().ljust(16) for label in labels) + b" " * 160 + b"uV".ljust(8) + b" " * 8
        head += b"-3276.8 -1      3276.7  1       " + (b"-32768".ljust(8) * 2 + b"32767".ljust(8) * 2) + b" " * 160
        head += b"256".ljust(8) + b"20".ljust(8) + b" " * 64
        records = [
            np.full(256, 10 * (n + 1), "<i2").tobytes() + f"+{time:g}\x14\x14\0".encode().ljust(40, b"\0")
            for n, time in enumerate(times)
        ]
        path.write_bytes(head + b"".join(records))
        return path

    @pytest.mark.parametrize(
        ("times", "kept"),
        [
            ([0, 1, 2, 3], 4),
            ([0, 1, 3601, 3602], 2),
            ([0, 3600], 1),
            ([7.25, 8.25, 9.25], 3),  # a recording may begin at any time
            ([0, 1, 1.5], 2),
            ([0, 1.0005, 2.001], 3),  # rounded
            ([5, 4, 3], 1),
        ],
    )
    def test_reading_stops_at_the_first(self, tmp_path, times, kept):
        found = read_edf(self.plus(tmp_path / "a.edf", times), every, 60)
        assert len(found.rows[0]) == 256 * kept
        assert found.until == ("" if kept == len(times) else f", up to its gap after {kept} s,")

    def test_a_continuous_file_is_taken_at_its_word(self, tmp_path):
        assert len(read_edf(self.plus(tmp_path / "a.edf", [0, 3600], "C"), every, 60).rows[0]) == 512

    def test_times_that_cannot_be_read_are_no_gaps(self, tmp_path):
        path = self.plus(tmp_path / "a.edf", [0, 1])
        path.write_bytes(path.read_bytes().replace(b"+1\x14", b"?\x14\x14"))
        assert len(read_edf(path, every, 60).rows[0]) == 512

    def test_the_real_file(self):
        found = read_edf(FORMATS / "edfD_gap_of_an_hour.edf", every, 60)
        assert ([len(row) for row in found.rows], found.until) == ([256] * 4, ", up to its gap after 1 s,")

    def test_too_little_before_it_is_said(self, tmp_path):
        path = self.plus(tmp_path / "a.edf", [0, 3600])
        settings = EegSettings(channels=1, start=1200, stop=2000)
        with pytest.raises(
            InputError, match=r"a\.edf, up to its gap after 1 s, has 1000 samples at 1000 Hz; at least 1202"
        ):
            lp.read(path, settings=settings)


@pytest.mark.parametrize(
    ("at", "text", "said"),
    [
        (244, "0", "4 channels in records of 2048 bytes and 0 s; all must be above 0"),
        (244, "nan", "all must be above 0"),
        (244, "1e-9", r"a sample rate of 2.56e\+11 Hz"),
        (236, "many", "not a whole .edf recording"),
        (252, "0", "0 channels"),
    ],
)
def test_headers_that_make_no_sense(tmp_path, write_edf, at, text, said):
    path = write_edf(tmp_path / "a.edf", noise(), 256)
    field(path, at, text, 4 if at == 252 else 8)
    with pytest.raises(InputError, match=said) as caught:
        read_edf(path, every, 60)
    assert "a.edf" in str(caught.value)


def test_a_range_of_nothing_keeps_the_numbers(tmp_path, write_edf):
    path = write_edf(tmp_path / "a.edf", noise(), 256)
    for before in (104, 112):
        per_channel(path, before, 0, "5")
    head = 256 * 5
    first = struct.unpack_from("<h", path.read_bytes(), head)[0]
    assert read_edf(path, every, 60).rows[0][0] - first == 5 + (2**15 - 1)  # its smallest number stands for 5


def test_a_count_that_is_too_low_cuts_nothing(tmp_path, write_edf):
    path = write_edf(tmp_path / "a.edf", noise(4, 6), 256)
    field(path, 236, "1")
    assert len(read_edf(path, every, 60).rows[0]) == 6 * 256


def test_numbers_padded_with_zero_bytes(tmp_path, write_edf):
    path = write_edf(tmp_path / "a.edf", noise(4, 2), 256)
    field(path, 236, "2\0\0\0\0\0\0\0")
    field(path, 252, "4\0\0\0", 4)
    assert len(read_edf(path, every, 60).rows) == 4
