import numpy as np
import pytest
import trimesh
from mesh_files import QUADS, TRIANGLES, VERTICES, area, assert_box, random_mesh, read

from lens_plugins.errors import InputError
from lens_plugins.inputs import ply, rows
from lens_plugins.inputs.meshes import read_mesh

VERTEX = [f"property float {axis}" for axis in "xyz"]
FACE = ["property list uchar int vertex_indices"]
ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


def header(form: str, *elements: tuple[str, int, list[str]], newline: str = "\n", **more: list[str]) -> bytes:
    lines = ["ply", f"format {form} 1.0", *more.get("notes", [])]
    for name, count, properties in elements:
        lines += [f"element {name} {count}", *properties]
    return newline.join([*lines, "end_header", ""]).encode()


def body(form: str, *tables: list[list[tuple[str, list[float]]]]) -> bytes:
    """Rows of (type, values): text, or packed in the byte order of `form`."""
    if form == "ascii":
        return "".join(
            " ".join(f"{v:g}" for _, values in row for v in values) + "\n" for table in tables for row in table
        ).encode()
    order = ORDERS[form]
    return b"".join(np.array(vs, order + kind).tobytes() for table in tables for row in table for kind, vs in row)


def points(kind: str = "f4", *, before: list = (), after: list = ()) -> list:
    return [[*before, (kind, point), *after] for point in VERTICES.tolist()]


def faces(polygons, count: str = "u1", index: str = "i4", *, before: list = (), after: list = ()) -> list:
    return [[*before, (count, [len(p)]), (index, list(p)), *after] for p in polygons]


MIXED = [*map(list, QUADS[:3]), *map(list, TRIANGLES[6:])]  # 3 quads and 6 triangles


@pytest.mark.parametrize("form", ORDERS)
@pytest.mark.parametrize("polygons", [TRIANGLES, QUADS, MIXED], ids=["triangles", "quads", "both"])
@pytest.mark.parametrize("name", ["vertex_indices", "vertex_index"])
def test_faces_of_one_size_and_of_several(tmp_path, form, polygons, name):
    head = header(form, ("vertex", 8, VERTEX), ("face", len(polygons), [f"property list uchar int {name}"]))
    assert_box(read(tmp_path, "a.ply", head + body(form, points(), faces(polygons)))[0])


@pytest.mark.parametrize("form", ORDERS)
@pytest.mark.parametrize(("count", "index"), [("u1", "u4"), ("i4", "i4"), ("u2", "u2"), ("i1", "u1"), ("u4", "i2")])
def test_any_type_of_number(tmp_path, form, count, index):
    names = {"u1": "uint8", "i1": "char", "u2": "ushort", "i2": "int16", "u4": "uint", "i4": "int32"}
    for polygons in (TRIANGLES, MIXED):
        head = header(
            form, ("vertex", 8, [f"property double {axis}" for axis in "xyz"]),
            ("face", len(polygons), [f"property list {names[count]} {names[index]} vertex_indices"]),
        )  # fmt: skip
        assert_box(read(tmp_path, "a.ply", head + body(form, points("f8"), faces(polygons, count, index)))[0])


@pytest.mark.parametrize("form", ORDERS)
def test_more_properties_and_elements_on_every_side(tmp_path, form):
    """Lists in front of x, lists around the corners, and other elements before, between and behind."""
    vertex = [
        "property uchar red", "property list uchar float weights", "property float Y", "property float X",
        "property list ushort short tags", "property float z",
    ]  # fmt: skip
    face = ["property float quality", "property list uchar float texcoord", *FACE, "property uchar flag"]
    camera = ["property float fov", "property list uchar int names"]
    head = header(
        form, ("camera", 2, camera), ("vertex", 8, vertex), ("empty", 5, []), ("edge", 1, ["property int a"]),
        ("face", len(MIXED), face), ("material", 1, ["property double shine"]),
        notes=["comment made by hand", "obj_info a box", "comment"],
    )  # fmt: skip
    table = [
        [
            ("u1", [7]), ("u1", [i % 3]), ("f4", [0.5] * (i % 3)), ("f4", [y, x]), ("u2", [i % 2]),
            ("i2", [-1] * (i % 2)), ("f4", [z]),
        ]
        for i, (x, y, z) in enumerate(VERTICES.tolist())
    ]  # fmt: skip
    corners = [
        [
            ("f4", [0.5]), ("u1", [i % 2 * 2]), ("f4", [9.0] * (i % 2 * 2)), ("u1", [len(p)]), ("i4", list(p)),
            ("u1", [3]),
        ]
        for i, p in enumerate(MIXED)
    ]  # fmt: skip
    cameras = [[("f4", [1]), ("u1", [2]), ("i4", [1, 2])], [("f4", [1]), ("u1", [0])]]
    content = head + body(form, cameras, table, [[("i4", [10**8])]], corners, [[("f8", [1])]])
    assert_box(read(tmp_path, "a.ply", content)[0])
    assert_box(read(tmp_path, "a.ply", content + b"\x1abytes after the last element")[0])


@pytest.mark.parametrize("form", ORDERS)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_ends_of_lines(tmp_path, form, newline):
    head = header(form, ("vertex", 8, VERTEX), ("face", 12, FACE), newline=newline)
    data = body(form, points(), faces(TRIANGLES))
    data = data.replace(b"\n", newline.encode()) if form == "ascii" else data
    assert_box(read(tmp_path, "a.ply", head + data)[0])


def test_blank_lines_a_mark_tabs_and_small_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_CHUNK", 30)
    content = header("ascii", ("vertex", 8, VERTEX), ("face", 12, FACE)) + body("ascii", points(), faces(TRIANGLES))
    content = b"\xef\xbb\xbf" + content.replace(b"\n", b"\n\n \t\n").replace(b"3 ", b" 3\t")
    assert_box(read(tmp_path, "a.ply", content)[0])


@pytest.mark.parametrize("form", ORDERS)
def test_triangle_strips(tmp_path, form):
    """One strip around four sides, then, behind -1, the two that are left, and a list of its own."""
    around, bottom, top = [0, 1, 2, 3, 6, 7, 4, 5, 0, 1], [0, 2, 4, 6], [1, 3, 5, 7]
    head = header(form, ("vertex", 8, VERTEX), ("tristrips", 2, ["property list int int vertex_indices"]))
    content = head + body(form, points(), faces([[*around, -1, *bottom], [*top, -1]], "i4"))
    assert_box(read(tmp_path, "a.ply", content)[0])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_random_meshes_of_trimesh(tmp_path, seed, encoding):
    mesh = random_mesh(seed)
    mesh.visual.vertex_colors = np.random.default_rng(seed).integers(0, 255, (len(mesh.vertices), 4), np.uint8)
    (tmp_path / "a.ply").write_bytes(trimesh.exchange.ply.export_ply(mesh, encoding=encoding, vertex_normal=True))
    assert read_mesh(tmp_path / "a.ply")[0] == pytest.approx(np.asarray(mesh.triangles), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("form", ORDERS)
def test_a_cloud(tmp_path, form):
    head = header(form, ("vertex", 8, VERTEX), ("face", 0, FACE))
    triangles, found = read(tmp_path, "a.ply", head + body(form, points()))
    assert (len(triangles), found.tolist()) == (0, VERTICES.tolist())


@pytest.mark.parametrize("form", ORDERS)
@pytest.mark.parametrize(("element", "kept"), [("vertex", 5), ("face", 7), ("edge", 0)])
@pytest.mark.parametrize("polygons", [TRIANGLES, MIXED + [[0, 1, 2]] * 3], ids=["one size", "several"])
def test_fewer_elements_than_declared(tmp_path, form, element, kept, polygons):
    head = header(form, ("vertex", 8, VERTEX), ("face", 12, FACE), ("edge", 2, ["property int a"]))
    tables = {"vertex": points(), "face": faces(polygons), "edge": [[("i4", [1])]] * 2}
    found = []
    for name, table in tables.items():
        found.append(table[:kept] if name == element else table)
        if name == element:
            break
    declared = len(tables[element])
    said = rf"a\.ply declares {declared} {element} elements but has {kept}; it is truncated"
    with pytest.raises(InputError, match=said):
        read(tmp_path, "a.ply", head + body(form, *found))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04" + bytes(100), "does not start with ply"),
        (b"ply\nformat ascii 1.0\n", "no line end_header"),
        (b"ply\nend_header\n", "no line format"),
        (header("ascii", ("vertex", 1, VERTEX), ("vertex", 1, VERTEX)), "two elements of one name"),
        (header("binary_middle_endian"), "wrong .ply header in line 2: 'format binary_middle_endian 1.0'"),
        (header("ascii", ("vertex", -1, VERTEX)), "header in line 3: 'element vertex -1'"),
        (header("ascii", ("vertex", 1, ["property half x"])), "header in line 4: 'property half x'"),
        (header("ascii", ("face", 1, ["property list float int a"])), "header in line 4: 'property list float int a'"),
        (header("ascii", notes=["property float x"]), "header in line 3"),
        (header("ascii", notes=["\x1b[31mred"]), "header in line 3: '.x1b"),
        (header("ascii", ("face", 1, FACE)), "no element vertex; its elements are face"),
        (header("ascii", ("vertex", 1, VERTEX[:2])), "without x, y and z; their properties are x, y"),
        (header("ascii", ("vertex", 1, [*VERTEX[:2], "property list uchar float z"])), "without x, y and z"),
        (header("ascii", ("vertex", 1, VERTEX), ("face", 1, VERTEX)), "faces without vertex_indices; .* x, y, z"),
        (header("ascii", ("vertex", 10**9, VERTEX)) + b"0 0 0\n", "declares 1000000000 vertex elements but has 1"),
        (header("ascii", ("vertex", int("9" * 4000), VERTEX)), "declares 9{18} vertex elements but has 0"),
        (header("binary_big_endian", ("vertex", 10**12, VERTEX)) + b"0" * 30, "declares 10+ vertex elements but has 2"),
        (
            header("ascii", ("vertex", 1, VERTEX)) + b"0 0\n",
            "has 2 numbers in line 8, too few for the property z",
        ),
        (header("ascii", ("vertex", 1, VERTEX)) + b"0 0 zero\n", "has 'zero' in line 8, where a number belongs"),
        (
            header("ascii", ("vertex", 8, VERTEX), ("face", 1, FACE)) + body("ascii", points()) + b"4 0 1 2\n",
            "has 4 numbers in line 18, too few for the property vertex_indices of face",
        ),
        (
            header("ascii", ("vertex", 8, VERTEX), ("face", 1, FACE)) + body("ascii", points()) + b"-1 0 1 2\n",
            "has 4 numbers in line 18, too few for the property vertex_indices of face",
        ),
        (
            header("binary_little_endian", ("vertex", 0, VERTEX), ("face", 2, ["property list char int vertex_index"]))
            + b"\x00\xff",
            "has a list of -1 values in face 2",
        ),
    ],
)
def test_refusals(tmp_path, content, said):
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path, "a.ply", content)
    assert str(tmp_path / "a.ply") in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_rows_that_are_walked_one_by_one_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(ply, "_MAX_RAGGED", 8)
    form = "binary_little_endian"
    head = header(form, ("vertex", 8, VERTEX), ("face", len(MIXED), FACE))
    with pytest.raises(InputError, match="declares 9 rows of face; at most 8"):
        read(tmp_path, "a.ply", head + body(form, points(), faces(MIXED)))


def test_areas_of_a_polygon_of_many_corners(tmp_path):
    turn = np.arange(300) / 300 * 2 * np.pi
    ring = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
    head = header("ascii", ("vertex", 300, VERTEX), ("face", 1, ["property list ushort int vertex_indices"]))
    content = head + body("ascii", [[("f4", p)] for p in ring.tolist()], faces([range(300)]))
    assert area(read(tmp_path, "a.ply", content)[0]) == pytest.approx(np.pi, rel=1e-3)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_further_properties_of_vertices_and_faces(tmp_path, form):
    vertex = [*VERTEX, "property int Instance", "property uchar red"]
    face = [*FACE, "property int object_id"]
    head = header(form, ("vertex", 2, vertex), ("face", 2, face))
    if form == "ascii":
        content = head + b"0 1 2 7 250\n3 4 5 -1 3\n3 0 1 0 40\n4 0 1 0 1 50\n"
    else:
        order = "<" if "little" in form else ">"
        rows = np.array([(0, 1, 2, 7, 250), (3, 4, 5, -1, 3)], f"{order}f4, {order}f4, {order}f4, {order}i4, u1")
        faces_ = [(3, (0, 1, 0), 40), (4, (0, 1, 0, 1), 50)]
        content = head + rows.tobytes()
        for count, corners, own in faces_:
            content += bytes([count]) + np.array([*corners, own], f"{order}i4").tobytes()
    found = ply.read_ply_fields(content, tmp_path / "a.ply", {"instance", "object_id", "green"})
    assert found.vertices.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert {name: values.tolist() for name, values in found.of_vertices.items()} == {"instance": [7, -1]}
    assert {name: values.tolist() for name, values in found.of_faces.items()} == {"object_id": [40, 50]}
    assert found.counts.tolist() == [3, 4]
    assert [part.tolist() for part in ply.read_ply(content, tmp_path / "a.ply")] == [
        found.vertices.tolist(), found.corners.tolist(), [3, 4]
    ]  # fmt: skip
