import numpy as np
import pytest
import trimesh
from mesh_files import CASES, area, assert_box, outline_area, random_mesh, random_polygon, read

from lens_plugins.errors import InputError, LensPluginsError
from lens_plugins.inputs.meshes import read_mesh, sample_surface

UNIT = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])  # area 0.5
BIG = np.array([[[0.0, 0, 5], [3, 0, 5], [0, 3, 5]]])  # area 4.5


def test_points_are_shared_out_by_area():
    points = sample_surface(np.concatenate([UNIT, BIG]), 1000, 0, "mesh")
    assert (points[:, 2] == 0).sum() == 100  # 0.5 of 5: systematic places miss by at most one, here by none
    assert (points[:, 2] == 5).sum() == 900


def test_points_lie_evenly_inside_their_triangle():
    points = sample_surface(UNIT, 20_000, 0, "mesh")
    assert points.min() >= 0
    assert points[:, :2].sum(1).max() <= 1
    assert points.mean(0) == pytest.approx([1 / 3, 1 / 3, 0], abs=0.01)
    assert ((points[:, 0] < 0.5) & (points[:, 1] < 0.5)).mean() == pytest.approx(0.5, abs=0.02)


def test_the_seed_decides():
    first, again, other = (sample_surface(BIG, 50, seed, "mesh") for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_area_and_nan_are_refused():
    with pytest.raises(InputError, match="1 triangles with an area of 0"):
        sample_surface(UNIT * [1, 0, 0], 10, 0, "mesh")
    with pytest.raises(InputError, match="NaN"):
        sample_surface(UNIT * np.nan, 10, 0, "mesh")


@pytest.mark.parametrize("suffix", ["ply", "obj", "glb", "stl", "off"])
def test_every_format_has_the_triangles_of_the_box(tmp_path, suffix):
    path = tmp_path / f"box.{suffix}"
    trimesh.creation.box((1, 2, 3)).export(path)
    triangles, points = read_mesh(path)
    assert triangles.shape == (12, 3, 3)
    assert len(points) == 0
    assert np.ptp(triangles.reshape(-1, 3), axis=0) == pytest.approx([1, 2, 3])


@pytest.mark.parametrize(("suffix", "encoding"), [("ply", "ascii"), ("ply", "binary"), ("obj", None), ("off", None)])
def test_files_without_faces_are_points(tmp_path, suffix, encoding):
    path = tmp_path / f"cloud.{suffix}"
    corners = [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    if suffix == "ply":
        path.write_bytes(trimesh.PointCloud(corners).export(file_type="ply", encoding=encoding))
    else:
        rows = "\n".join(f"{'v ' if suffix == 'obj' else ''}{x} {y} {z}" for x, y, z in corners)
        path.write_text(rows if suffix == "obj" else f"OFF\n3 0 0\n{rows}\n")
    triangles, points = read_mesh(path)
    assert (len(triangles), points.tolist()) == (0, corners)


def scene() -> trimesh.Scene:
    """One box twice: at the origin, and twice as large ten units along x."""
    box = trimesh.creation.box((1, 1, 1))
    both = trimesh.Scene()
    both.add_geometry(box, node_name="a", geom_name="box")
    moved = np.diag([2.0, 2, 2, 1])
    moved[0, 3] = 10
    both.graph.update("b", matrix=moved, geometry="box")
    return both


def test_scene_nodes_are_in_world_space(tmp_path):
    scene().export(tmp_path / "two.glb")
    triangles, _ = read_mesh(tmp_path / "two.glb")
    assert len(triangles) == 24
    corners = triangles.reshape(-1, 3)
    assert corners.min(0) == pytest.approx([-0.5, -1, -1])
    assert corners.max(0) == pytest.approx([11, 1, 1])
    found = sample_surface(triangles, 1000, 0, "two")
    assert (found[:, 0] > 5).mean() == pytest.approx(0.8, abs=0.002)  # 24 of 30 units of area


@pytest.mark.parametrize("suffix", ["ply", "obj", "off", "stl", "glb"])
@pytest.mark.parametrize("seed", range(8))
def test_random_meshes_are_what_trimesh_reads(tmp_path, suffix, seed):
    path = tmp_path / f"mesh.{suffix}"
    random_mesh(seed).export(path)
    expected = trimesh.load_mesh(path, process=False).triangles
    found, _ = read_mesh(path)
    assert found.shape == expected.shape
    assert found == pytest.approx(np.asarray(expected), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("suffix", ["ply", "obj", "off"])
@pytest.mark.parametrize("seed", range(8))
def test_concave_polygons_are_filled_and_no_more(tmp_path, suffix, seed):
    outline = random_polygon(seed)
    count, rows = len(outline), "\n".join(" ".join(map(repr, point)) for point in outline.tolist())
    ring = " ".join(map(str, range(count)))
    content = {
        "ply": ply(count, rows, faces=f"{count} {ring}"),
        "off": f"OFF\n{count} 1 0\n{rows}\n{count} {ring}\n",
        "obj": "v " + rows.replace("\n", "\nv ") + "\nf " + " ".join(str(i + 1) for i in range(count)),
    }[suffix]
    triangles, _ = read(tmp_path, f"mesh.{suffix}", content)
    assert len(triangles) == count - 2
    assert area(triangles) == pytest.approx(outline_area(outline))


def ply(vertices: int, *rows: str, faces: str | None = None) -> str:
    header = ["ply", "format ascii 1.0", f"element vertex {vertices}", *(f"property double {axis}" for axis in "xyz")]
    header += ["element face 1", "property list uint int vertex_indices"] if faces else []
    return "\n".join([*header, "end_header", *rows, *([faces] if faces else []), ""])


BOXES = [
    "glb_sparse.glb", "glb_vis.glb", "obj_bom.obj", "obj_relative_indices_interleaved.obj", "ply_ascii_blank_lines.ply",
    "ply_binary_tris_and_quads.ply", "stl_binary_trailing_bytes.stl",
]  # fmt: skip


@pytest.mark.parametrize("name", BOXES)
def test_boxes_as_programs_write_them(name):
    assert_box(read_mesh(CASES / name)[0])


OTHERS = [  # triangles, area, the corner farthest from the origin's
    ("glb_fanmix.glb", 14, 23, [11, 2, 3]),
    ("glb_gpu.glb", 36, 66, [11, 2, 23]),
    ("glb_morph.glb", 24, 44, [11, 7, 3]),
    ("glb_q2b.glb", 24, 44, [11, 2, 3]),
    ("glb_skin2.glb", 24, 44, [11, 2, 3]),
    ("obj_concave_polygon.obj", 4, 3, [2, 2, 0]),
    ("hm-gltf-chain200.gltf", 201, 100.5, [1, 1, 200]),
    ("fz-timeout-6801-pc_lst.ply", 3, 0.5 + 0.5 + 0.5, [1, 1, 1]),
]


@pytest.mark.parametrize(("name", "count", "expected", "far"), OTHERS, ids=[row[0] for row in OTHERS])
def test_scenes_and_polygons_as_programs_write_them(name, count, expected, far):
    triangles, _ = read_mesh(CASES / name)
    assert len(triangles) == count
    assert area(triangles) == pytest.approx(expected, abs=1e-3)
    assert triangles.reshape(-1, 3).max(0) == pytest.approx(far, abs=1e-4)


def test_a_cloud_with_capital_axes():
    triangles, points = read_mesh(CASES / "ply_capital_XYZ.ply")
    assert (len(triangles), points.shape) == (0, (40, 3))
    assert points[0].tolist() == [2.040919, -2.555665, 0.418099]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ply_ascii_faces_cut_off.ply", "declares 12 face elements but has 7; it is truncated"),
        ("glb_meshopt.glb", "requires the extension EXT_meshopt_compression, which is not read"),
        ("glb_draco.glb", "KHR_draco_mesh_compression"),
        ("glb_draco2.glb", "KHR_draco_mesh_compression"),
    ],
)
def test_files_that_are_refused_by_name(name, said):
    with pytest.raises(LensPluginsError, match=said) as caught:
        read_mesh(CASES / name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.ply", ply(0), "holds no triangles and no points"),
        ("a.obj", "# nothing\n", "holds no triangles and no points"),
        ("a.stl", bytes(84), "holds no triangles and no points"),
        ("a.off", "OFF\n0 0 0\n", "holds no triangles and no points"),
        ("a.gltf", "{}", "holds no triangles and no points"),
        ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", r"names vertex 8 \(counted from 0\) in face 1, but has 3"),
        ("a.ply", ply(3, "0 0 0", "1 0 0", "0 1 0", faces="3 0 1 -1"), "names vertex -1 .* in face 1, but has 3"),
        ("a.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 1.5\n", r"names vertex 1\.5 "),
    ],
)
def test_empty_files_and_wrong_indices_are_refused(tmp_path, name, content, said):
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path, name, content)
    assert str(tmp_path / name) in str(caught.value)


def test_a_cut_off_file_of_any_format_is_refused(tmp_path):
    mesh = trimesh.creation.icosphere(subdivisions=1)
    for suffix in ("ply", "off", "stl", "glb"):
        mesh.export(tmp_path / f"whole.{suffix}")
        content = (tmp_path / f"whole.{suffix}").read_bytes()
        for share in (0.5, 0.75, 0.9):
            with pytest.raises(InputError, match=r"declares \d+ [\w ]+ but has \d+; it is truncated"):
                read(tmp_path, f"cut.{suffix}", content[: int(len(content) * share)])


def test_many_points_beside_a_few_triangles_are_told(tmp_path):
    corners = "0 0 0\n1 0 0\n0 1 0\n" + "5 5 5\n" * 20
    head = "ply\nformat ascii 1.0\nelement vertex 23\nproperty float x\nproperty float y\nproperty float z\n"
    (tmp_path / "a.ply").write_text(
        f"{head}element face 1\nproperty list uchar int vertex_indices\nend_header\n{corners}3 0 1 2\n"
    )
    with pytest.warns(UserWarning, match="has 1 triangles, and 20 points that belong to none of them"):
        assert len(read_mesh(tmp_path / "a.ply")[0]) == 1


def test_corners_stored_as_floats(tmp_path):
    head = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    text = f"{head}element face 1\nproperty list uchar float vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    (tmp_path / "a.ply").write_text(text)
    assert len(read_mesh(tmp_path / "a.ply")[0]) == 1
    (tmp_path / "a.ply").write_text(text.replace("3 0 1 2", "3 0 1 1.5"))
    with pytest.raises(InputError, match="corners are no whole numbers"):
        read_mesh(tmp_path / "a.ply")
