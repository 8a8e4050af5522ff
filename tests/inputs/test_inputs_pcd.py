import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_files import CASES

from lens_plugins.errors import InputError
from lens_plugins.inputs import pcd as module
from lens_plugins.inputs.pcd import read_pcd

POINTS = np.array([[0, 0, 0], [1, 2, 3], [-4, 5.5, 6e-3]])


def pcd(data: str, points: int = 3, fields: str = "label x y z rgb", **changed: str) -> bytes:
    header = {"VERSION": "0.7", "FIELDS": fields, "SIZE": "1 4 4 8 4", "TYPE": "U F F F U", "COUNT": "2 1 1 1 1"}
    header |= {"WIDTH": str(points), "HEIGHT": "1", "POINTS": str(points)} | changed
    header |= {"DATA": changed.get("DATA", data)}
    return "".join(["# .PCD v0.7\n", *(f"{key} {value}\n" for key, value in header.items())]).encode()


def binary() -> bytes:
    record = np.dtype([("label", "u1", 2), ("x", "<f4"), ("y", "<f4"), ("z", "<f8"), ("rgb", "<u4")])
    rows = np.zeros(3, record)
    rows["x"], rows["y"], rows["z"] = POINTS.T
    return rows.tobytes()


def ascii_rows() -> bytes:
    return "\n".join(f"7 7 {x} {y} {z} 0" for x, y, z in POINTS.tolist()).encode()


@pytest.mark.parametrize(("data", "body"), [("ascii", ascii_rows()), ("binary", binary())])
def test_pcd_columns_are_found_by_name(tmp_path, data, body):
    (tmp_path / "a.pcd").write_bytes(pcd(data) + body)
    assert read_pcd(tmp_path / "a.pcd") == pytest.approx(POINTS, abs=1e-6)


def pack(content: bytes) -> bytes:
    """LZF by the simplest rule: a run of one byte is a copy of itself, everything else is literal."""
    packed, at = bytearray(), 0
    while at < len(content):
        run = 1
        while at + run < len(content) and run < 265 and content[at + run] == content[at]:
            run += 1
        packed += bytes([0, content[at]])
        if run > 3:  # one literal, then a copy from one byte back
            length = run - 3
            packed += bytes([length << 5, 0]) if length < 7 else bytes([7 << 5, length - 7, 0])
            at += run
        else:
            at += 1
    return bytes(packed)


def compressed(fields: list[np.ndarray]) -> bytes:
    content = b"".join(field.tobytes() for field in fields)
    packed = pack(content)
    return struct.pack("<II", len(packed), len(content)) + packed


def planes(count: int = 3) -> list[np.ndarray]:
    """The fields of `pcd` one after another: two labels a point, x, y, z, colour."""
    columns = np.resize(POINTS, (count, 3)).T
    return [
        np.full((count, 2), 7, "u1"),
        *(columns[:2].astype("<f4")),
        columns[2].astype("<f8"),
        np.zeros(count, "<u4"),
    ]


@pytest.mark.parametrize("count", [3, 300])
def test_compressed_fields_stand_one_after_another(tmp_path, count):
    (tmp_path / "a.pcd").write_bytes(pcd("binary_compressed", count) + compressed(planes(count)))
    assert read_pcd(tmp_path / "a.pcd") == pytest.approx(np.resize(POINTS, (count, 3)), abs=1e-6)


@pytest.mark.parametrize("kept", [True, False])
def test_padding_is_packed_by_some_writers_only(tmp_path, kept):
    header = pcd("binary_compressed", fields="_ x y z rgb")
    (tmp_path / "a.pcd").write_bytes(header + compressed(planes() if kept else planes()[1:]))
    assert read_pcd(tmp_path / "a.pcd") == pytest.approx(POINTS, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=4), st.integers(1, 600))))
def test_lzf_there_and_back(pieces):
    content = b"".join(piece * times for piece, times in pieces)
    assert module._unpack_lzf(pack(content), len(content), "a.pcd") == content


def test_lzf_copies_of_patterns_that_run_into_themselves():
    packed = bytes([2]) + b"abc" + bytes([(7 << 5), 3, 2]) + bytes([0]) + b"!" + bytes([(1 << 5), 3])
    assert module._unpack_lzf(packed, 19, "a.pcd") == b"abcabcabcabcabc!abc"


@pytest.mark.parametrize("name", ["pcd_binary_compressed", "pcd_v5_columns"])
def test_files_as_programs_write_them(name):
    points = read_pcd(CASES / f"{name}.pcd")
    assert points.shape == (40, 3)
    assert points[0] == pytest.approx([1.189053, 0.954503, 1.760809], abs=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"TYPE": "u f f f u"},
        {"VIEWPOINT": "1 2 3 0.5 0.5 0.5 0.5"},
        {"WIDTH": "1", "HEIGHT": "3"},
        {"VERSION": ".5"},
        {"DATA": "ASCII"},
    ],
)
def test_headers_that_mean_the_same(tmp_path, change):
    content = pcd("ascii", **change)
    for header in (
        content,
        content.replace(b"POINTS 3\n", b""),
        content.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + content,
    ):
        (tmp_path / "a.pcd").write_bytes(header + ascii_rows().replace(b"\n", b"\n\n"))
        assert read_pcd(tmp_path / "a.pcd") == pytest.approx(POINTS)


def test_without_points_width_and_height_count(tmp_path):
    content = pcd("binary", WIDTH="3", HEIGHT="1").replace(b"POINTS 3\n", b"")
    (tmp_path / "a.pcd").write_bytes(content + binary() + b"bytes after the points")
    assert read_pcd(tmp_path / "a.pcd") == pytest.approx(POINTS, abs=1e-6)


def test_pcd_leaves_out_pixels_without_a_measurement(tmp_path):
    (tmp_path / "a.pcd").write_bytes(pcd("ascii", 4) + ascii_rows() + b"\n7 7 nan nan nan 0\n")
    assert len(read_pcd(tmp_path / "a.pcd")) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pcd("binary") + binary()[:-1], "declares 3 points of 22 bytes but has 2; it is truncated"),
        (pcd("binary", 10**12), "declares 1000000000000 points of 22 bytes but has 0; it is truncated"),
        (pcd("binary_compressed"), "declares 3 points but has 0; it is truncated"),
        (
            pcd("binary_compressed") + compressed(planes())[:-1],
            r"declares \d+ packed bytes but has \d+; it is truncated",
        ),
        (pcd("binary_compressed") + compressed(planes()[:-1]), "declares 3 points of 22 bytes but 54 bytes unpacked"),
        (
            pcd("binary_compressed") + struct.pack("<II", 4, 66) + bytes([0, 1, 64, 9]),
            "declares 66 unpacked bytes but has 1",
        ),
        (pcd("binary_compressed") + struct.pack("<II", 1, 66) + bytes([200]), "declares 66 unpacked bytes but has 0"),
        (
            pcd("binary_compressed", 10**8) + struct.pack("<II", 5, 22 * 10**8) + bytes(9),
            "22 bytes but 2200000000 bytes unpacked from 5",
        ),
        (pcd("ascii", 2) + b"7 7 nan 0 0 0\n7 7 0 0 nan 0\n", "has 2 points, all of them NaN"),
        (pcd("ascii", 3, WIDTH="2") + ascii_rows(), "2 × 1 are not 3 points"),
        (pcd("ascii") + b"7 7 0 0 0\n" * 3, "has 5 numbers in line 11; at least 6 belong there"),
        (pcd("ascii") + b"7 7 0 zero 0 0\n" * 3, "has 'zero' in line 11, where a number belongs"),
        (pcd("ascii", COUNT="1 1 1 1 0") + ascii_rows(), "5 counts up to 1"),
        (pcd("zipped") + ascii_rows(), "DATA zipped"),
        ((CASES / "hm-count.pcd").read_bytes(), "4 counts up to 2147483648"),
        ((CASES / "hm-count-ascii.pcd").read_bytes(), "4 counts up to 10000000000000000000"),
        ((CASES / "fz-FAULT-3975-pc_bin.pcd").read_bytes(), "4 counts up to 4294967296"),
        (pcd("ascii", 2) + ascii_rows() + b"\n", "declares 2 points but has 3; it is damaged"),
        (pcd("ascii", 5) + ascii_rows(), "declares 5 points but has 3"),
        (pcd("ascii", fields="label a y z rgb") + ascii_rows(), "fields label a y z rgb"),
        (pcd("ascii", TYPE="U F F Q U") + ascii_rows(), "wrong .pcd header"),
        (pcd("ascii", POINTS="many") + ascii_rows(), "wrong .pcd header"),
        (b"# .PCD v0.7\nFIELDS x y z\n", "no DATA line"),
        (bytes(200_000), "no DATA line"),
    ],
)
def test_pcd_refuses(tmp_path, content, said):
    (tmp_path / "a.pcd").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.pcd .*{said}"):
        read_pcd(tmp_path / "a.pcd")
