import time

import numpy as np
import pytest
from mesh_files import QUADS, VERTICES, assert_box, read

from lens_plugins.errors import InputError
from lens_plugins.inputs import obj, rows


def box(vertex: str = "v {} {} {}", face: str = "f {} {} {} {}", shift: int = 1) -> str:
    lines = [vertex.format(*point) for point in VERTICES.tolist()]
    return "\n".join(lines + [face.format(*quad) for quad in (QUADS + shift).tolist()]) + "\n"


@pytest.mark.parametrize(
    "content",
    [
        box(),
        "\ufeff# made by\n" + box(),
        box().replace(" ", "\t"),
        box().replace("\n", "\r\n"),
        box().replace("\n", "\r"),
        box().replace("\n", " # said after\n"),
        box().replace("\n", "\n\n  "),
        box(vertex="  v   {}  {} {} 1.0"),
        box(vertex="v {} {} {} 0.5 0.25 1"),
        box(face="f {}/1 {}/1 {}/2 {}/3"),
        box(face="f {}//1 {}//1 {}//2 {}//3"),
        box(face="f {0}/1/4 {1} {2}//2 {3}/3"),
        box(face="f {} {} \\\n{} {}"),
        box(shift=-8),
        box(vertex="V {} {} {}", face="F {} {} {} {}"),
        box(face="fo {} {} {} {}"),
        "mtllib ../../etc/passwd\no a box\ng one two\nvt 0 0\nvn 0 0 1\ns off\nusemtl x y\n" + box() + "l 1 2\np 1\n",
        box() + "f 1 2\n" + "v 5 5 5\nv 6 6 6\n",
    ],
    ids=range(18),
)
def test_ways_to_write_a_box(tmp_path, content):
    assert_box(read(tmp_path, "a.obj", content)[0])


def test_chunks_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_CHUNK", 40)
    assert_box(read(tmp_path, "a.obj", box())[0])
    assert_box(read(tmp_path, "a.obj", box(shift=-8))[0])


def test_negative_indices_count_back_from_their_own_line(tmp_path):
    lines = []
    for quad in QUADS:
        lines += [f"v {x} {y} {z}" for x, y, z in VERTICES[quad]] + ["f -4 -3 -2 -1"]
    assert_box(read(tmp_path, "a.obj", "\n".join(lines))[0])


def test_thousands_of_materials_cost_no_more_than_their_lines(tmp_path):
    start = time.process_time()
    lines = [f"usemtl m{i}\nf 1 2 3" for i in range(50_000)]
    triangles, _ = read(tmp_path, "a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n" + "\n".join(lines))
    assert len(triangles) == 50_000
    assert time.process_time() - start < 20  # a quarter of a second; minutes where the time grows as the square


def test_a_file_without_faces_is_a_cloud(tmp_path):
    triangles, points = read(tmp_path, "a.obj", "v 1 2 3 255 0 0\nv 4 5 6 0 0 0\np 1 2\n")
    assert (len(triangles), points.tolist()) == (0, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("v 0 0 0\nv 1 0\n", "has 2 numbers in vertex 2; at least 3 belong there"),
        ("v 0 0 0\nv 1 0 a\n", "has 'a' in vertex 2, where a number belongs"),
        ("v 0 0 0\nv \n", "has nothing in vertex 2"),
        ("v 0 0 0\nf 1 1 x\n", "has 'x' in face 1"),
        ("v 0 0 0\nf 1 1 0\n", "index 0"),
        ("v 0 0 0\nf 1 1 1.5\n", "index 0 or a fraction"),
        ("v 0 0 0\nf 1 1 -2\n", "names vertex -1 .* in face 1, but has 1"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf 1 2", "ends in a face of 2 corners, which needs 3; it is truncated"),
        ("v 0 0 0\nv 1 0 0\ncurv 0 1 1 2\n", "holds free-form surfaces and no faces"),
        (b"v 0 0 0\0", "is not text"),
    ],
)
def test_refusals(tmp_path, content, said):
    with pytest.raises(InputError, match=rf"a\.obj .*{said}"):
        read(tmp_path, "a.obj", content)


def test_nothing_but_the_file_is_opened(tmp_path):
    vertices, corners, counts = obj.read_obj(
        b"mtllib a.mtl\nv 1 2 3\nv 4 5 6\nv 7 8 9\nf 3 1 2\n", tmp_path / "gone.obj"
    )
    assert vertices.tolist() == np.arange(1.0, 10).reshape(3, 3).tolist()
    assert (corners.tolist(), counts.tolist()) == ([2, 0, 1], [3])
