import numpy as np
import pytest

from lens_plugins.errors import InputError
from lens_plugins.inputs.scans import read_pcd, read_xyz

POINTS = np.array([[0, 0, 0], [1, 2, 3], [-4, 5.5, 6e-3]])


@pytest.mark.parametrize("separator", [" ", "\t", ",", "; "])
def test_xyz_columns_with_comments_and_colours(tmp_path, separator):
    lines = ["# scanned", *(separator.join(map(str, (*point, 255))) for point in POINTS.tolist())]
    (tmp_path / "a.xyz").write_text("\n".join(lines))
    assert read_xyz(tmp_path / "a.xyz").tolist() == POINTS.tolist()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"C 0 0 0\nH 1 1 1\n", "at least three numbers"),
        (b"1 2\n3 4\n", "at least three numbers"),
        (b"1 2 3\n4 5\n", "at least three numbers"),
        (b" \n", "has no points"),
        (b"\xff\xfe\x00\x01", "is not text"),
    ],
)
def test_xyz_refuses(tmp_path, content, said):
    (tmp_path / "a.xyz").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.xyz .*{said}"):
        read_xyz(tmp_path / "a.xyz")


def pcd(data: str, points: int = 3, fields: str = "label x y z rgb", **changed: str) -> bytes:
    header = {"VERSION": "0.7", "FIELDS": fields, "SIZE": "1 4 4 8 4", "TYPE": "U F F F U", "COUNT": "2 1 1 1 1"}
    header |= {"WIDTH": str(points), "HEIGHT": "1", "POINTS": str(points), "DATA": data} | changed
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


def test_pcd_leaves_out_pixels_without_a_measurement(tmp_path):
    (tmp_path / "a.pcd").write_bytes(pcd("ascii", 4) + ascii_rows() + b"\n7 7 nan nan nan 0\n")
    assert len(read_pcd(tmp_path / "a.pcd")) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pcd("binary_compressed") + binary(), "DATA binary_compressed, which is not read; give ascii or binary"),
        (pcd("binary") + binary()[:-1], "declares 3 points of 22 bytes but has 65 bytes"),
        (pcd("binary", 10**12), "declares 1000000000000 points of 22 bytes but has 0"),
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
