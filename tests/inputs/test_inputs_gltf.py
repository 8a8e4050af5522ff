import base64
import json
import struct
import time

import numpy as np
import pytest
import trimesh
from gltf_files import Gltf
from mesh_files import TRIANGLES, VERTICES, area, assert_box, read

from lens_plugins.errors import InputError
from lens_plugins.inputs import gltf_data, polygons
from lens_plugins.inputs.meshes import read_mesh

CORNER = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]  # area 0.5


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


def triangles_of(folder, scene: Gltf) -> np.ndarray:
    return read(folder, "a.glb", scene.glb())[0]


def box(scene: Gltf | None = None, **more) -> Gltf:
    """The box as one node, with more entries of that node."""
    scene = scene or Gltf()
    return scene.show(scene.primitive(VERTICES, TRIANGLES), **more)


def test_a_box_and_what_is_no_geometry(tmp_path):
    required = [
        "KHR_materials_unlit", "KHR_texture_transform", "KHR_texture_basisu", "EXT_texture_webp", "MSFT_texture_dds",
        "KHR_lights_punctual", "KHR_materials_variants", "EXT_mesh_features", "VRMC_vrm",
    ]  # fmt: skip
    assert_box(triangles_of(tmp_path, box(Gltf(extensionsRequired=required, materials=[{}], cameras=[{}]))))


@pytest.mark.parametrize(
    "name",
    ["EXT_meshopt_compression", "KHR_meshopt_compression", "KHR_gaussian_splatting_compression_spz", "ANY_new_thing"],
)
def test_required_extensions_that_are_not_read_are_named(tmp_path, name):
    with pytest.raises(InputError, match=rf"a\.glb requires the extension {name}, which is not read"):
        triangles_of(tmp_path, box(Gltf(extensionsRequired=[name])))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_indices_of_any_width_and_none(tmp_path, dtype):
    scene = Gltf()
    primitive = scene.primitive(VERTICES)
    assert_box(triangles_of(tmp_path, scene.show({**primitive, "indices": scene.accessor(TRIANGLES.ravel(), dtype)})))
    scene = Gltf()
    assert_box(triangles_of(tmp_path, scene.show(scene.primitive(VERTICES[TRIANGLES].reshape(-1, 3)))))


def test_strides_offsets_and_interleaved_rows(tmp_path):
    scene = Gltf()
    positions = scene.accessor(np.concatenate([VERTICES[:1] * 0, VERTICES]), stride=20)
    scene.tree["accessors"][positions] |= {"byteOffset": 20, "count": 8}
    indices = scene.accessor(TRIANGLES.ravel(), "u2")
    assert_box(triangles_of(tmp_path, scene.show({"attributes": {"POSITION": positions}, "indices": indices})))


@pytest.mark.parametrize(("dtype", "most"), [("i1", 127), ("u1", 255), ("i2", 32767), ("u2", 65535)])
def test_quantised_positions(tmp_path, dtype, most):
    """Normalised ones are parts of the largest value; those that are not are whole numbers."""
    scene = Gltf(extensionsRequired=["KHR_mesh_quantization"])
    stored = np.rint(VERTICES / 3 * most)
    for values, more, scale in ((stored, {"normalized": True}, 3), (VERTICES, {}, 1)):
        positions = scene.accessor(values, dtype, stride=8, **more)
        scene.show(
            {"attributes": {"POSITION": positions}, "indices": scene.accessor(TRIANGLES.ravel(), "u2")},
            scale=[scale] * 3,
        )
    found = triangles_of(tmp_path, scene).reshape(2, 12, 3, 3)
    assert found[1] == pytest.approx(found[0], abs=3 / most)
    assert sorted(area(part) for part in found)[0] == pytest.approx(22, abs=22 / most)


def test_sparse_changes_and_sparse_rows_of_zeros(tmp_path):
    scene = Gltf()
    wrong = VERTICES.copy()
    wrong[[2, 7]] = 9
    sparse = {
        "count": 2,
        "indices": {"bufferView": scene.view(np.array([2, 7], "<u2").tobytes()), "componentType": 5123},
        "values": {"bufferView": scene.view(VERTICES[[2, 7]].astype("<f4").tobytes())},
    }
    positions = scene.accessor(wrong, sparse=sparse)
    indices = scene.accessor(TRIANGLES.ravel(), "u2")
    assert_box(triangles_of(tmp_path, scene.show({"attributes": {"POSITION": positions}, "indices": indices})))
    sparse = {
        "count": 8,
        "indices": {"bufferView": scene.view(np.arange(8, dtype="<u1").tobytes()), "componentType": 5121},
        "values": {"bufferView": scene.view(VERTICES.astype("<f4").tobytes())},
    }
    del scene.tree["accessors"][positions]["bufferView"]
    scene.tree["accessors"][positions]["sparse"] = sparse
    assert_box(triangles_of(tmp_path, scene))
    sparse["indices"]["componentType"], sparse["count"] = 5123, 4
    with pytest.raises(InputError, match=r"changes value \d+ of accessor 0, which has 8"):
        triangles_of(tmp_path, scene)


@pytest.mark.parametrize(
    ("mode", "indices", "expected"),
    [
        (4, [0, 1, 2, 0, 2, 3], 1),
        (5, [0, 1, 3, 2], 1),
        (6, [0, 1, 2, 3], 1),
        (6, [1, 2, 3, 0], 1),
        (5, [0, 1], 0),
        (6, [], 0),
    ],
)
def test_lists_strips_and_fans(tmp_path, mode, indices, expected):
    square = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    scene = Gltf()
    scene.show(scene.primitive(square, indices, mode=mode)).show(scene.primitive(CORNER))
    assert area(triangles_of(tmp_path, scene)) == pytest.approx(expected + 0.5)


def test_corners_that_make_no_whole_triangles_are_refused(tmp_path):
    scene = Gltf()
    scene.show(scene.primitive([[0, 0, 0], [1, 0, 0], [1, 1, 0]], [0, 1, 2, 0, 1]))
    with pytest.raises(InputError, match="triangles of 5 corners in all, no multiple of 3"):
        triangles_of(tmp_path, scene)


def test_points_and_lines(tmp_path):
    scene = Gltf()
    scene.show(scene.primitive(CORNER, [2, 0], mode=0), scene.primitive(VERTICES, mode=1), translation=[0, 0, 5])
    triangles, points = read(tmp_path, "a.glb", scene.glb())
    assert (len(triangles), points.tolist()) == (0, [[0, 1, 5], [0, 0, 5]])
    scene = Gltf()
    with pytest.raises(InputError, match="holds lines and no surface"):
        read(tmp_path, "a.glb", scene.show(scene.primitive(VERTICES, mode=3)).glb())


def test_nodes_turn_scale_and_move_in_that_order(tmp_path):
    half = np.sqrt(0.5)
    scene = Gltf()
    scene.show(scene.primitive(CORNER), translation=[10, 0, 0], rotation=[0, 0, half, half], scale=[2, 3, 4])
    child = {"mesh": 0, "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1]}
    scene.tree["nodes"] = [{**scene.tree["nodes"][0], "children": [1]}, child]
    scene.tree["scenes"] = [{"nodes": [0]}]
    parent, below = triangles_of(tmp_path, scene)
    assert parent == pytest.approx(np.array([[10, 0, 0], [10, 2, 0], [7, 0, 0]]))  # x points along y, y against x
    assert below == pytest.approx(np.array([[10, 0, 4], [10, 2, 4], [7, 0, 4]]))


def test_only_the_default_scene_is_shown(tmp_path):
    scene = box().show({"attributes": {"POSITION": 0}})
    scene.tree["scenes"] = [{"nodes": [1]}, {"nodes": [0]}]
    scene.tree["scene"] = 1
    assert_box(triangles_of(tmp_path, scene))
    for tree in ({"scenes": [{"nodes": [0]}]}, {"nodes": scene.tree["nodes"][:1], "scenes": []}):
        scene.tree |= tree
        del scene.tree["scene" if "scene" in scene.tree else "asset"]
        assert_box(triangles_of(tmp_path, scene))
    scene.tree["meshes"] = scene.tree["meshes"][:1]
    del scene.tree["nodes"], scene.tree["scenes"]
    assert_box(triangles_of(tmp_path, scene))


def test_hidden_nodes_hide_what_is_below_them(tmp_path):
    hidden = {"KHR_node_visibility": {"visible": False}}
    scene = box(extensions=hidden, translation=[50, 0, 0], children=[1]).show({"attributes": {"POSITION": 0}})
    box(scene)
    scene.tree["scenes"] = [{"nodes": [0, 2]}]
    assert_box(triangles_of(tmp_path, scene))


@pytest.mark.parametrize("attributes", ["TRS", "T", "S", "R"])
def test_instances(tmp_path, attributes):
    scene = Gltf(extensionsRequired=["EXT_mesh_gpu_instancing"])
    turned = np.array([[0, 0, 0, 1], [0, 0, np.sqrt(0.5), np.sqrt(0.5)]])
    values = {"TRANSLATION": [[0, 0, 0], [10, 0, 0]], "ROTATION": turned, "SCALE": [[1, 1, 1], [2, 2, 2]]}
    chosen = {name: scene.accessor(rows) for name, rows in values.items() if name[0] in attributes}
    extension = {"EXT_mesh_gpu_instancing": {"attributes": chosen}}
    found = triangles_of(tmp_path, box(scene, extensions=extension, translation=[0, 0, 7])).reshape(2, 12, 3, 3)
    assert_box(found[0] - [0, 0, 7])
    scale, shift = 1 + ("S" in attributes), 10 * ("T" in attributes)
    far = np.array([0, 1, 3] if "R" in attributes else [1, 2, 3]) * scale + [shift, 0, 7]
    assert found[1].reshape(-1, 3).max(0) == pytest.approx(far, abs=1e-6)
    assert area(found[1]) == pytest.approx(22 * scale**2)


def test_instances_of_different_counts(tmp_path):
    scene = Gltf()
    chosen = {"TRANSLATION": scene.accessor([[0, 0, 0]]), "SCALE": scene.accessor([[1, 1, 1], [2, 2, 2]])}
    with pytest.raises(InputError, match="has 1 and 2 values for the same instances"):
        triangles_of(tmp_path, box(scene, extensions={"EXT_mesh_gpu_instancing": {"attributes": chosen}}))


def test_morph_weights_of_the_mesh_and_of_the_node(tmp_path):
    scene = Gltf()
    targets = [{"POSITION": scene.accessor(np.tile([5.0, 0, 0], (8, 1)))}, {"NORMAL": 0}]
    targets += [{"POSITION": scene.accessor(np.tile([0, 0, 1.0], (8, 1)))}]
    scene.show(scene.primitive(VERTICES, TRIANGLES, targets=targets))
    assert_box(triangles_of(tmp_path, scene))  # weights are 0 where nothing is said
    scene.tree["meshes"][0]["weights"] = [2, 0, 0]
    assert_box(triangles_of(tmp_path, scene), shift=10)
    scene.tree["nodes"][0]["weights"] = [-1, 1, 0]
    assert_box(triangles_of(tmp_path, scene), shift=-5)
    scene.tree["nodes"][0]["weights"] = [0, 0, 3]
    assert_box(triangles_of(tmp_path, scene) - [0, 0, 3])


def skinned(weights, joints, inverse=None, dtype="f4") -> Gltf:
    """The box under a skin of two joints, one at x = 0 and one at x = 10; the node's own place does not count."""
    scene = Gltf()
    primitive = scene.primitive(VERTICES, TRIANGLES)
    primitive["attributes"] |= {
        "JOINTS_0": scene.accessor(np.tile(joints, (8, 1)), "u1"),
        "WEIGHTS_0": scene.accessor(np.tile(weights, (8, 1)), dtype, normalized=dtype != "f4"),
    }
    skin = {"joints": [1, 2], **({"inverseBindMatrices": scene.accessor(inverse)} if inverse is not None else {})}
    scene.show(primitive, skin=0, translation=[99, 0, 0])
    scene.tree["nodes"] += [{"translation": [0, 0, 0]}, {"translation": [10, 0, 0]}]
    scene.tree |= {"skins": [skin]}
    return scene


@pytest.mark.parametrize(
    ("weights", "joints", "dtype", "shift"),
    [
        ([1, 0, 0, 0], [1, 0, 0, 0], "f4", 10),
        ([0.5, 0.5, 0, 0], [0, 1, 0, 0], "f4", 5),
        ([2, 2, 0, 0], [0, 1, 0, 0], "f4", 5),  # weights that do not sum up to 1
        ([51, 204, 0, 0], [0, 1, 0, 0], "u1", 8),
        ([0, 0, 0, 0], [1, 0, 0, 0], "f4", 10),
    ],
)
def test_skins_move_vertices_with_their_joints(tmp_path, weights, joints, dtype, shift):
    assert_box(triangles_of(tmp_path, skinned(weights, joints, dtype=dtype)) - [shift, 0, 0])


def test_inverse_bind_matrices_are_stored_column_by_column(tmp_path):
    inverse = np.tile(np.eye(4), (2, 1, 1))
    inverse[1, :3, 3] = -7, 1, 2
    scene = skinned([1, 0, 0, 0], [1, 0, 0, 0], inverse.transpose(0, 2, 1).reshape(2, 16))
    assert_box(triangles_of(tmp_path, scene) - [3, 1, 2])


def test_a_joint_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="names joint 2 of skin 0, which has 2"):
        triangles_of(tmp_path, skinned([1, 0, 0, 0], [2, 0, 0, 0]))
    scene = skinned([1, 0, 0, 0], [1, 0, 0, 0])
    scene.tree["skins"][0]["joints"] = [0, 9]
    with pytest.raises(InputError, match="names 9 of nodes, but has 3 of them"):
        triangles_of(tmp_path, scene)


def chain(count: int) -> Gltf:
    scene = Gltf()
    scene.show(scene.primitive(CORNER))
    scene.tree["nodes"] = [{"mesh": 0, "children": [i + 1], "translation": [0, 0, 1]} for i in range(count - 1)]
    scene.tree["nodes"] += [{"mesh": 0}]
    scene.tree["scenes"] = [{"nodes": [0]}]
    return scene


def test_the_time_of_a_chain_of_nodes_grows_with_its_length(tmp_path):
    start = time.process_time()
    triangles = triangles_of(tmp_path, chain(20_000))
    assert len(triangles) == 20_000
    assert triangles[..., 2].max() == 19_999
    assert time.process_time() - start < 60  # about a second; hours where it grows as the cube


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([{"children": [1]}, {"children": [0], "mesh": 0}], "has node 0 among its own descendants"),
        ([{"mesh": 0}, {"children": [2]}, {"children": [1]}], "has node 1 among its own descendants"),
        ([{"mesh": 0, "children": [0]}], "has node 0 among its own descendants"),
        ([{"children": [1, 1]}, {"mesh": 0}], "has node 1 below nodes 0 and 0"),
        ([{"children": [7]}], "names 7 of nodes, but has 1 of them"),
        ([{"children": [-1]}], "names -1 of nodes, but has 1 of them"),
        ([{"mesh": 3}], "names 3 of meshes, but has 1 of them"),
        ([{"mesh": 0, "matrix": [1, 2]}], r"is not a whole \.glb file"),
        ([{"mesh": 0, "scale": "large"}], r"is not a whole \.glb file"),
    ],
)
def test_damaged_trees_of_nodes(tmp_path, nodes, said):
    scene = chain(2)
    scene.tree["nodes"] = nodes
    with pytest.raises(InputError, match=rf"a\.glb {said}"):
        triangles_of(tmp_path, scene)


def zeros(count: int) -> Gltf:
    accessor = {"componentType": 5126, "count": count, "type": "VEC3"}
    return Gltf(accessors=[accessor]).show({"attributes": {"POSITION": 0}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": 9}, "declares 9 values in accessor 0 but has 8; it is truncated"),
        ({"byteOffset": 12}, "declares 8 values in accessor 0 but has 7; it is truncated"),
        ({"byteOffset": 10**9}, "declares 8 values in accessor 0 but has 0; it is truncated"),
        ({"count": 10**12}, "needs over 120000000 values to be decoded"),
        ({"count": -5}, r"is not a whole \.glb file"),
        ({"type": "SCALAR"}, "has 1 numbers a row in accessor 0; it needs 3"),
        ({"type": "VEC9"}, r"is not a whole \.glb file"),
        ({"componentType": 5124}, r"is not a whole \.glb file"),
        ({"bufferView": 7}, "names 7 of bufferViews, but has 2 of them"),
        ({"bufferView": True}, "names True of bufferViews|declares 8 values"),
    ],
)
def test_accessors_that_declare_more_than_there_is(tmp_path, change, said):
    scene = box()
    scene.tree["accessors"][0] |= change
    with pytest.raises(InputError, match=rf"a\.glb {said}"):
        triangles_of(tmp_path, scene)


def test_zeros_are_bounded_by_the_bytes_held(tmp_path):
    with pytest.raises(InputError, match=r"declares 1000000 zeros in accessor 0 and has \d+ bytes"):
        triangles_of(tmp_path, zeros(10**6))


def test_an_index_of_no_vertex(tmp_path):
    scene = Gltf()
    with pytest.raises(InputError, match=r"names vertex 3 \(counted from 0\) of 3"):
        triangles_of(tmp_path, scene.show(scene.primitive(CORNER, [0, 1, 3])))


def test_buffers_that_are_cut_off(tmp_path):
    content = box().glb()
    with pytest.raises(InputError, match=rf"declares {len(content)} bytes but has {len(content) - 9}; it is truncated"):
        read(tmp_path, "a.glb", content[:-9])
    scene = box()
    scene.tree["buffers"] = [{"byteLength": 1000}]
    with pytest.raises(InputError, match="declares 1000 bytes in buffer 0 but has 168; it is truncated"):
        triangles_of(tmp_path, scene)
    scene.tree["buffers"] = [{"byteLength": 168}, {"byteLength": 96, "extensions": {"EXT_meshopt_compression": {}}}]
    scene.tree["bufferViews"][0]["buffer"] = 1
    with pytest.raises(InputError, match=r"has no data for buffer 1 \(it needs EXT_meshopt_compression\)"):
        triangles_of(tmp_path, scene)


@pytest.mark.parametrize("form", ["base64", "unpadded", "percent"])
def test_buffers_in_their_uri(tmp_path, form):
    scene = box()
    coded = base64.b64encode(scene.data).decode()
    uri = f"data:application/octet-stream;base64,{coded.rstrip('=') if form == 'unpadded' else coded}"
    if form == "percent":
        uri = "data:," + "".join(f"%{byte:02x}" for byte in scene.data)
    tree = scene.tree | {"buffers": [{"byteLength": len(scene.data), "uri": uri}]}
    assert_box(read(tmp_path, "a.gltf", "\ufeff" + json.dumps(tree))[0])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.glb", b"glTF\x02\x00", "does not start with glTF"),
        ("a.glb", b"\0" * 64, "does not start with glTF"),
        ("a.glb", b"glTF" + struct.pack("<IIII", 1, 30, 10, 0) + bytes(10), "is glTF 1; version 2.0 is read"),
        ("a.glb", b"glTF" + struct.pack("<III", 2, 30, 99) + b"JSON" + bytes(10), "declares 99 bytes of JSON in 30"),
        ("a.gltf", b'{"asset": {"version": "1.0"}}', "is glTF 1.0; version 2.0 is read"),
        ("a.gltf", b"[1, 2]", "its JSON is a list"),
        ("a.gltf", b"[" * 100_000, "nested deeper than 64 levels"),
        ("a.gltf", b"{", "cannot be read as JSON"),
        ("a.gltf", b'{"nodes": [7]}', r"is not a whole \.gltf file"),
        ("a.gltf", b'{"scene": 0}', "names 0 of scenes, but has 0 of them"),
    ],
)
def test_what_is_no_gltf(tmp_path, name, content, said):
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path, name, content)
    assert name in str(caught.value)


def test_instances_cannot_multiply_beyond_the_bound(tmp_path, monkeypatch):
    scene = Gltf()
    moves = scene.accessor([[i, 0, 0] for i in range(3)])
    content = box(scene, extensions={"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": moves}}}).glb()
    with monkeypatch.context() as patch:
        patch.setattr(polygons, "MAX_TRIANGLES", 20)
        with pytest.raises(InputError, match=r"over 20 triangles \(24 so far\)"):
            read(tmp_path, "a.glb", content)
    monkeypatch.setattr(gltf_data, "_MAX_VALUES", 300)
    with pytest.raises(InputError, match="needs over 300 values to be decoded"):
        read(tmp_path, "a.glb", content)


def test_json_of_many_values_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(gltf_data, "_MAX_JSON", 20)
    with pytest.raises(InputError, match="over 20 values in its JSON"):
        triangles_of(tmp_path, box())


def test_a_binary_file_under_the_name_of_the_other_form(tmp_path):
    (tmp_path / "a.gltf").write_bytes(trimesh.Scene(trimesh.creation.box()).export(file_type="glb"))
    assert len(read_mesh(tmp_path / "a.gltf")[0]) == 12


def test_a_rotation_of_four_zeros_turns_nothing(tmp_path):
    scene = Gltf()
    scene.show(scene.primitive(CORNER), rotation=[0, 0, 0, 0])
    assert triangles_of(tmp_path, scene)[0].tolist() == CORNER
