import struct

import numpy as np
import pytest
from mesh_files import TRIANGLES, VERTICES, assert_box, read

from lens_plugins.errors import InputError
from lens_plugins.inputs import rows

CORNERS = VERTICES[TRIANGLES]


def binary(header: bytes = b"", count: int = 12, after: bytes = b"") -> bytes:
    record = np.zeros(12, [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    record["corners"] = CORNERS
    return header.ljust(80, b"\0") + struct.pack("<I", count) + record.tobytes() + after


def ascii(name: str = "", end: str = "endsolid", gap: str = "\n") -> str:
    facets = [
        gap.join([
            "facet normal 0 0 nan", "outer loop", *("vertex {:e} {:e} {:e}".format(*p) for p in corners.tolist()),
            "endloop", "endfacet",
        ])
        for corners in CORNERS
    ]  # fmt: skip
    return "\n".join([f"solid {name}", *facets, f"{end} {name}"])


@pytest.mark.parametrize(
    "content",
    [
        binary(),
        binary(b"solid by a program that writes solid first"),
        binary(b"solid facet vertex endsolid"),
        binary(after=b"bytes after the triangles"),
        ascii(),
        ascii("endsolid"),
        ascii("my vertex 1 2 3 facet endfacet"),
        ascii("part_1 solid endsolid (2)"),
        ascii().upper(),
        ascii(gap=" "),
        ascii().replace("\n", " "),
        ascii("part").replace("\n", " ") + "\n",
        ascii(gap="\n   \t"),
        "\ufeff" + ascii().replace("\n", "\r\n"),
        ascii().replace("\n", "\r"),
        ascii(end="end solid"),
        ascii() + "\n\nbytes after",
    ],
    ids=range(17),
)
def test_ways_to_write_a_box(tmp_path, content):
    assert_box(read(tmp_path, "a.stl", content)[0])


def test_several_solids_and_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_CHUNK", 100)
    triangles, _ = read(tmp_path, "a.stl", ascii("one") + "\n" + ascii("two") + "\n")
    assert_box(triangles[:12])
    assert_box(triangles[12:])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (binary()[:-1], "declares 12 triangles but has 11; it is truncated"),
        (binary(count=4_000_000_000), "declares 4000000000 triangles but has 12; it is truncated"),
        (b"solid", "is not an .stl file: it has 5 bytes"),
        (ascii()[:-100], "declares 12 facets but has 11; it is truncated"),
        (ascii(end=""), "has 12 facets and no endsolid after them; it is truncated"),
        (ascii("one") + "\n" + ascii("two", end=""), "begins 2 solids and ends 1 of them; it is truncated"),
        (ascii().replace("2.000000e+00", "two", 1), "has 'two' in vertex 3, where a number belongs"),
    ],
)
def test_refusals(tmp_path, content, said):
    with pytest.raises(InputError, match=rf"a\.stl .*{said}"):
        read(tmp_path, "a.stl", content)
