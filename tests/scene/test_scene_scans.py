import json

import numpy as np
import pytest
from scans_made import box, write_ply, write_scannet, xyz

from lens_plugins.errors import ConfigError, InputError
from lens_plugins.scene import scans
from lens_plugins.scene.data import MAX_INSTANCES, whole_ids
from lens_plugins.scene.scans import read_geometry, scannet_files

POINTS = np.concatenate([box((0, 0, 0), seed=1, count=6), box((3, 0, 0), seed=2, count=6)])
IDS = np.repeat([1, 2], 6)


@pytest.mark.parametrize("field", ["instance", "object_id", "objectId", "instance_label"])
@pytest.mark.parametrize("kind", ["int", "ushort", "float"])
def test_a_field_of_a_ply(tmp_path, field, kind):
    found = read_geometry(write_ply(tmp_path / "room.ply", {**xyz(POINTS), field: (kind, IDS)}))
    assert np.allclose(found.points, POINTS, atol=1e-6)
    assert found.ids.tolist() == IDS.tolist()
    assert found.ids.dtype == np.int64
    assert found.colours is None
    assert len(found.faces) == 0


def test_an_ascii_ply_with_colours_and_a_named_field(tmp_path):
    head = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
    head += "property uchar red\nproperty uchar green\nproperty uchar blue\nproperty int cluster\nend_header\n"
    (tmp_path / "a.ply").write_text(head + "0 0 0 1 2 3 4\n1 0 0 250 251 252 0\n")
    found = read_geometry(tmp_path / "a.ply", field="Cluster")
    assert found.ids.tolist() == [4, -1]
    assert found.colours.tolist() == [[1, 2, 3], [250, 251, 252]]
    with pytest.raises(InputError, match="has no field 'thing' of vertices or faces"):
        read_geometry(tmp_path / "a.ply", field="thing")
    assert read_geometry(tmp_path / "a.ply").ids is None  # cluster is not a usual name


def test_ids_of_faces_go_to_their_corners(tmp_path):
    faces = np.arange(12).reshape(4, 3)
    path = write_ply(tmp_path / "mesh_semantic.ply", xyz(POINTS), faces, of_faces=[5, 5, 7, 0])
    found = read_geometry(path)
    assert found.ids.tolist() == [5] * 6 + [7] * 3 + [-1] * 3
    assert found.faces.tolist() == faces.tolist()


def test_an_npz_with_pointcepts_names(tmp_path):
    np.savez(tmp_path / "room.npz", coord=POINTS, color=np.full((12, 3), 0.5), instance=np.where(IDS == 1, 0, -1))
    found = read_geometry(tmp_path / "room.npz")
    assert np.allclose(found.points, POINTS)
    assert found.ids.tolist() == [0] * 6 + [-1] * 6  # a negative id says that 0 is a thing
    assert (found.colours == 128).all()
    np.savez(tmp_path / "bare.npz", coord=POINTS)
    assert read_geometry(tmp_path / "bare.npz").ids is None


@pytest.mark.parametrize(
    ("values", "zero", "expected"),
    [
        ([0, 1, 2], "auto", [-1, 1, 2]),
        ([0, 1, -1], "auto", [0, 1, -1]),
        ([0, 1, -100], "auto", [0, 1, -1]),
        ([0, 1, 2], "object", [0, 1, 2]),
        ([0, 1, -1], "none", [-1, 1, -1]),
        ([0.0, 3.0, 2.0], "auto", [-1, 3, 2]),
        ([[0], [1], [2]], "object", [0, 1, 2]),
    ],
)
def test_what_ids_mean(values, zero, expected):
    assert whole_ids(np.array(values), "room.ply", zero).tolist() == expected


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([0.5, 1.0, 2.25]), "has 2 of 3 instance ids that are not whole numbers, such as 0.5"),
        (np.array([np.nan, 1.0]), "has 1 of 2 instance ids that are not whole numbers"),
        (np.array([1, 2**40]), f"has instance ids up to 1.09951e[+]12; they must be below {2**31}"),
        (np.arange(1, MAX_INSTANCES + 3), f"has {MAX_INSTANCES + 2} different instance ids; at most {MAX_INSTANCES}"),
        (np.zeros((3, 2), int), r"has shape \(3, 2\) of int64; instance ids are one number a point"),
        (np.array(["a"]), "instance ids are one number a point"),
    ],
)
def test_ids_that_are_none(values, said):
    with pytest.raises(InputError, match=said):
        whole_ids(values, "room.ply", "auto")


def test_a_wrong_word_for_zero():
    with pytest.raises(ConfigError, match="zero is 'nought'; it must be auto, object or none"):
        whole_ids(np.zeros(1), "room.ply", "nought")


def test_scannets_three_files(tmp_path):
    segments = [10, 10, 10, 20, 20, 20, 30, 30, 30, 40, 40, 40]
    mesh = write_scannet(tmp_path, POINTS, segments, [([10, 30], "chair"), ([20], "toilet"), ([99], "gone")])
    found = read_geometry(mesh)
    # ScanNet's own reader numbers objectId + 1; segment 40 is in no group, group 3 has no vertices
    assert found.ids.tolist() == [1] * 3 + [2] * 3 + [1] * 3 + [-1] * 3
    assert found.labels == {1: "chair", 2: "toilet", 3: "gone"}
    assert found.colours[:3].tolist() == [[0] * 3, [1] * 3, [2] * 3]
    assert found.faces.tolist() == np.arange(12).reshape(4, 3).tolist()
    assert [path.name for path in scannet_files(mesh)] == [
        "scene0000_00_vh_clean_2.0.010000.segs.json",
        "scene0000_00.aggregation.json",
    ]


def test_a_segment_of_two_groups_is_the_laters(tmp_path):
    mesh = write_scannet(tmp_path, POINTS, IDS, [([1, 2], "wall"), ([2], "door")])
    assert read_geometry(mesh).ids.tolist() == [1] * 6 + [2] * 6


def test_scannets_mesh_alone_has_no_ids(tmp_path):
    mesh = write_scannet(tmp_path, POINTS, IDS, [])
    for path in tmp_path.glob("*.json"):
        path.unlink()
    assert scannet_files(mesh) is None
    assert read_geometry(mesh).ids is None


@pytest.mark.parametrize("ending", [".aggregation.json", "_vh_clean_2.0.010000.segs.json"])
def test_one_of_scannets_files_is_missing(tmp_path, ending):
    mesh = write_scannet(tmp_path, POINTS, IDS, [([1], "chair")])
    (tmp_path / f"scene0000_00{ending}").unlink()
    with pytest.raises(InputError, match=f"has 1 of its 2 files of instances beside it; scene0000_00{ending}"):
        read_geometry(mesh)


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ("many", "has 0 segGroups; it must be a list of at most 10000"),
        ([7], "segGroups 1: it is a int; it must have objectId, segments and label"),
        ([{"objectId": -1, "segments": [], "label": ""}], "objectId is '-1'; it must be a whole number of 0 or more"),
        ([{"objectId": True, "segments": [], "label": ""}], "objectId is 'True'"),
        ([{"objectId": 0, "segments": ["x"], "label": ""}], "segments of segGroups 1 is a list with something else"),
        ([{"objectId": 0, "segments": 3, "label": ""}], "segments of segGroups 1 is a int; it must be a list of whole"),
        ([{"objectId": 0, "segments": [1], "label": 3}], "label is a int; it must be a text"),
        ([{"objectId": 4, "segments": [1], "label": ""}] * 2, "has the objectId 4 twice; each thing has its own"),
        ([{"objectId": 0}] * 10001, "has 10001 segGroups; it must be a list of at most 10000"),
    ],
)
def test_aggregations_that_are_none(tmp_path, groups, said):
    mesh = write_scannet(tmp_path, POINTS, IDS, [])
    change(tmp_path / "scene0000_00.aggregation.json", segGroups=groups)
    with pytest.raises(InputError, match=said) as caught:
        read_geometry(mesh)
    assert "aggregation.json" in str(caught.value)


def test_segments_of_another_mesh(tmp_path):
    mesh = write_scannet(tmp_path, POINTS, IDS, [])
    segments = tmp_path / "scene0000_00_vh_clean_2.0.010000.segs.json"
    change(segments, segIndices=[1] * 11)
    with pytest.raises(InputError, match=r"has 11 segIndices for the 12 vertices of scene0000_00_vh_clean_2.ply"):
        read_geometry(mesh)
    segments.write_text(json.dumps({"sceneId": "x"}))
    with pytest.raises(InputError, match="has no segIndices; it has sceneId"):
        read_geometry(mesh)
    segments.write_text("[" * 100 + "]" * 100)
    with pytest.raises(InputError, match="is nested deeper than 64 levels"):
        read_geometry(mesh)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"things": POINTS}, "holds the arrays things; one of them must be points"),
        ({"points": POINTS, "instance": IDS[:5]}, "has 5 rows in instance for 12 points; give one for each"),
        ({"points": np.full((3, 3), np.nan)}, "NaN or infinite"),
        ({"points": POINTS[:, :2]}, r"has points of shape \(12, 2\); a scan is \(points, 3\)"),
    ],
)
def test_npz_files_that_are_no_scans(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=said):
        read_geometry(tmp_path / "a.npz")


def test_faces_of_vertices_that_are_not_there(tmp_path):
    path = write_ply(tmp_path / "a.ply", xyz(POINTS), np.array([[0, 1, 12]]))
    with pytest.raises(InputError, match=r"names vertices 0 to 12 .* but has 12; it is damaged or truncated"):
        read_geometry(path)


def test_polygons_are_fans(tmp_path):
    head = "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
    (tmp_path / "a.ply").write_text(head + "0 0 0\n1 0 0\n1 1 0\n0 1 0\n2 2 0\n4 0 1 2 3\n3 2 3 4\n")
    assert read_geometry(tmp_path / "a.ply").faces.tolist() == [[0, 1, 2], [0, 2, 3], [2, 3, 4]]


def test_too_many_points(tmp_path, monkeypatch):
    monkeypatch.setattr(scans, "MAX_POINTS", 11)
    with pytest.raises(InputError, match="has 12 points; at most 11 are read"):
        read_geometry(write_ply(tmp_path / "a.ply", xyz(POINTS)))


def test_files_without_fields(tmp_path):
    np.save(tmp_path / "a.npy", POINTS)
    assert np.allclose(read_geometry(tmp_path / "a.npy").points, POINTS)
    np.savetxt(tmp_path / "a.xyz", POINTS)
    assert np.allclose(read_geometry(tmp_path / "a.xyz").points, POINTS)
    with pytest.raises(InputError, match=r"has no fields; instance ids are a field of a .ply or .npz file, not .npy"):
        read_geometry(tmp_path / "a.npy", field="instance")
    (tmp_path / "a.txt").write_text("1 2 3\n")
    with pytest.raises(InputError, match=r"has the ending '.txt'; a scan ends in .ply"):
        read_geometry(tmp_path / "a.txt")


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_cut_files_are_refused(tmp_path, cut):
    path = write_ply(tmp_path / "a.ply", {**xyz(POINTS), "instance": ("int", IDS)})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(InputError, match=str(path)):
        read_geometry(path)
