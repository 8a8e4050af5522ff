import base64
import json
import struct

import numpy as np
import pytest
import trimesh

from lens_plugins.errors import InputError
from lens_plugins.inputs import meshes
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


def gltf(folder, uri: str | None = None):
    """box.gltf with its buffers beside it; the first buffer's uri replaced where one is given."""
    folder.mkdir(exist_ok=True)
    files = trimesh.Scene(trimesh.creation.box()).export(file_type="gltf")
    tree = json.loads(files.pop("model.gltf"))
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if uri:
        tree["buffers"][0]["uri"] = uri
    (folder / "box.gltf").write_text(json.dumps(tree))
    return folder / "box.gltf"


def test_gltf_reads_buffers_of_its_own_folder(tmp_path):
    path = gltf(tmp_path / "scene")
    assert len(read_mesh(path)[0]) == 12
    (tmp_path / "scene" / "sub dir").mkdir()
    (tmp_path / "scene" / "gltf_buffer_0.bin").rename(tmp_path / "scene" / "sub dir" / "0.bin")
    assert len(read_mesh(gltf(tmp_path / "scene", "sub%20dir/0.bin"))[0]) == 12


@pytest.mark.parametrize(
    "uri",
    ["../secret.bin", "..%2Fsecret.bin", "/etc/passwd", "file:///etc/passwd", "http://localhost/x", "//host/x", "link"],
)
def test_gltf_never_leaves_its_folder(tmp_path, uri):
    (tmp_path / "secret.bin").write_bytes(bytes(1000))
    path = gltf(tmp_path / "scene", uri)
    (tmp_path / "scene" / "link").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(InputError, match=r"box\.gltf names the file .* not inside its own folder"):
        read_mesh(path)


@pytest.mark.parametrize("uri", ["http://[", "a%00b"])
def test_gltf_with_a_broken_uri(tmp_path, uri):
    with pytest.raises(InputError, match=r"box\.gltf is not a whole \.gltf file"):
        read_mesh(gltf(tmp_path / "scene", uri))


def test_gltf_names_a_missing_buffer(tmp_path):
    with pytest.raises(InputError, match=r"There is no file .*gone\.bin"):
        read_mesh(gltf(tmp_path / "scene", "gone.bin"))


def glb(tree: dict) -> bytes:
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    return b"glTF" + struct.pack("<III", 2, 20 + len(text), len(text)) + b"JSON" + text


CORNERS = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
CYCLE = {
    "asset": {"version": "2.0"},
    "buffers": [{"byteLength": 36, "uri": f"data:;base64,{base64.b64encode(CORNERS).decode()}"}],
    "bufferViews": [{"buffer": 0, "byteLength": 36}],
    "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
    "nodes": [{"name": "a", "children": [1]}, {"name": "b", "children": [0], "mesh": 0}],
    "scenes": [{"nodes": [0]}],
}


def ply(vertices: int, *rows: str, format: str = "ascii") -> bytes:
    header = [
        "ply",
        f"format {format} 1.0",
        f"element vertex {vertices}",
        *(f"property float {axis}" for axis in "xyz"),
        "end_header",
    ]
    return "\n".join([*header, *rows, ""]).encode()


@pytest.mark.parametrize(
    ("suffix", "content", "said"),
    [
        (".ply", ply(10**9, "0 0 0"), "declares 1000000000 of vertex in"),
        (".ply", ply(int("9" * 4000), "0 0 0"), "declares 9+ of vertex in"),
        (".ply", ply(5, "0 0 0", "1 1 1"), r"is not a whole \.ply file|declares 5 points but has 2"),
        (".ply", ply(0), "holds no triangles and no points|is not a whole"),
        (".ply", b"PK\x03\x04" + bytes(100), r"is not a whole \.ply file"),
        (".obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", r"is not a whole \.obj file"),
        (".obj", b"# nothing\n", "holds no|is not a whole"),
        (".stl", bytes(80) + struct.pack("<I", 4_000_000_000) + bytes(50), "holds no|is not a whole"),
        (".off", b"OFF\n8 12 0\n0 0 0\n", r"is not a whole \.off file"),
        (".glb", b"glTF\x02\x00", "does not start with glTF"),
        (".glb", glb({"accessors": [{"count": 10**12}]}), "declares 1000000000000 values in its accessors; at most"),
        (".glb", glb({"accessors": [{"count": 10**8}]}), r"accessors of 100000000 to 100000000 values in \d+ bytes"),
        (".glb", glb({"accessors": [{"count": -5}]}), "accessors of -5 to -5 values"),
        (".glb", glb({"accessors": [7]}), r"is not a whole \.glb file"),
        (".glb", glb(CYCLE), r"is not a whole \.glb file"),
        (".gltf", b"[1, 2]", "its JSON is a list"),
        (".gltf", b"[" * 100_000, r"is not a whole \.gltf file"),
    ],
)
def test_damaged_and_lying_files_are_refused(tmp_path, suffix, content, said):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_mesh(path)
    assert str(path) in str(caught.value)


def test_instances_cannot_multiply_beyond_the_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(meshes, "MAX_TRIANGLES", 20)
    scene().export(tmp_path / "two.glb")
    with pytest.raises(InputError, match=r"over 20 triangles \(24 so far\)"):
        read_mesh(tmp_path / "two.glb")
