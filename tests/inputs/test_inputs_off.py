import pytest
from mesh_files import QUADS, VERTICES, assert_box, read

from lens_plugins.errors import InputError

POINTS = "".join(f"{x} {y} {z}\n" for x, y, z in VERTICES.tolist())
FACES = "".join("4 {} {} {} {}\n".format(*quad) for quad in QUADS)
BODY = POINTS + FACES


@pytest.mark.parametrize(
    "content",
    [
        "OFF\n8 6 12\n" + BODY,
        "OFF 8 6 12\n" + BODY,
        "OFF8 6 12\n" + BODY,  # as in ModelNet40
        "8 6 12\n" + BODY,
        "OFF\n8 6\n" + BODY,
        "OFF\n8\n6\n12\n" + BODY,
        "\ufeff# made by\n\nOFF # a box\n# counts\n8 6 0 # edges unknown\n\n" + BODY.replace("\n", "\n# more\n\n"),
        ("OFF\n8 6 12\n" + BODY).replace("\n", "\r\n"),
        "COFF\n8 6 12\n" + POINTS.replace("\n", " 255 0 0 255\n") + FACES.replace("\n", " 0.5 0.5 0.5\n"),
        "NOFF\n8 6 12\n" + POINTS.replace("\n", " 0 0 1\n") + FACES,
        "OFF\n8 6 12\n" + BODY + "bytes after the faces",
    ],
    ids=range(11),
)
def test_ways_to_write_a_box(tmp_path, content):
    assert_box(read(tmp_path, "a.off", content)[0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("OFF\n8 6 12\n0 0 0\n", "declares 8 vertices but has 1; it is truncated"),
        ("OFF\n8 7 12\n" + BODY, "declares 7 faces but has 6; it is truncated"),
        ("OFF\n8 6 12\n" + BODY[:-3], "declares 4 corners in line 16 but has 3; it is truncated"),
        ("OFF\n8 6 12\n" + POINTS + "-1 0\n" + FACES, "declares -1 corners in line 11"),
        ("OFF\n1 0 0\n0 0\n", "has 2 numbers in line 3; at least 3 belong there"),
        ("OFF BINARY\n\0\0", "binary .off file, which is not read"),
        ("4OFF\n8 6 12\n" + BODY, "is 4OFF, with other than three coordinates"),
        ("OFFICE\n", "does not start with OFF and the counts"),
    ],
)
def test_refusals(tmp_path, content, said):
    with pytest.raises(InputError, match=rf"a\.off .*{said}"):
        read(tmp_path, "a.off", content)
