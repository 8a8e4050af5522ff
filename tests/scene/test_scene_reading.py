import numpy as np
import pytest
from PIL import Image
from scans_made import box, write_frames, write_ply, write_scannet, xyz

from lens_plugins.errors import ConfigError, InputError
from lens_plugins.scene import read_scene

RED, BLUE = (220, 20, 20), (20, 20, 220)
EYE = np.eye(4)


def test_a_folder_of_crops(tmp_path):
    room = tmp_path / "room"
    (room / "sofa").mkdir(parents=True)
    (room / ".hidden").mkdir()
    for name in ("lamp.png", "sofa/2.jpg", "sofa/1.jpg", "sofa/3.jpg", ".hidden/x.png", ".x.png"):
        Image.new("RGB", (20, 20), RED).save(room / name)
    (room / "notes.txt").write_text("words")
    found = read_scene(room, crops=2)
    assert (found.name, found.found_by, found.geometry) == ("room", "files", None)
    assert [(each.id, each.label, len(each.crops)) for each in found.instances] == [(1, "lamp", 1), (2, "sofa", 2)]
    assert [crop.picture.name for crop in found.instances[1].crops] == ["1.jpg", "2.jpg"]
    assert found.instances[0].centre is None


def test_a_mesh_with_ids(tmp_path):
    points = np.concatenate([box((1, 2, 3), side=1), box((4, 5, 6), side=2)])
    path = write_ply(tmp_path / "room.ply", {**xyz(points * 1000), "instance": ("int", np.repeat([8, 0], 200))})
    found = read_scene(path, unit="mm", up="y")
    assert (found.found_by, found.up, found.notes) == ("ids", "y", ())
    assert [each.id for each in found.instances] == [8]
    assert np.allclose(found.instances[0].points, points[:200], atol=1e-5)
    assert np.allclose(found.instances[0].centre, (1, 2, 3), atol=0.02)
    assert np.allclose(found.instances[0].size, np.ptp(points[:200], axis=0), atol=1e-5)
    assert [each.id for each in read_scene(path, unit="mm", zero="object").instances] == [0, 8]
    assert read_scene(tmp_path, unit="mm").name == "room.ply"  # the one mesh of a folder


def test_triangles_of_one_instance_alone(tmp_path):
    points = box((0, 0, 0), count=9)
    faces = [[0, 1, 2], [2, 3, 4], [6, 7, 8]]  # the second joins two instances
    path = write_ply(tmp_path / "a.ply", {**xyz(points), "instance": ("int", [1] * 3 + [2] * 6)}, faces)
    found = read_scene(path)
    assert [each.triangles.shape for each in found.instances] == [(1, 3, 3), (1, 3, 3)]
    assert np.allclose(found.instances[1].triangles[0], points[6:], atol=1e-6)


def test_scannet_with_frames_and_masks(tmp_path):
    points = np.concatenate([box((0, 0, 2)), box((1, 0, 3))])
    segments = np.repeat([5, 6], 200)
    write_scannet(tmp_path, points, segments, [([5], "toilet"), ([6], "chair")])
    write_frames(tmp_path, [(EYE, {1: (10, 8, 30, 40, 2.0, RED), 9: (40, 8, 60, 40, 2.0, BLUE)})])
    found = read_scene(tmp_path)
    assert [(each.id, each.label, len(each.points), len(each.crops)) for each in found.instances] == [
        (1, "toilet", 200, 1),
        (2, "chair", 200, 0),
    ]
    assert np.abs(np.asarray(found.instances[0].crops[0].picture).mean((0, 1)) - RED).max() < 90
    assert read_scene(tmp_path / "scene0000_00_vh_clean_2.ply").instances[0].crops == ()  # the mesh alone


def test_masks_of_another_numbering_are_told(tmp_path):
    write_scannet(tmp_path, box((0, 0, 2)), [5] * 200, [([5], "toilet")])
    write_frames(tmp_path, [(EYE, {7: (10, 8, 30, 40, 2.0, RED)})])
    with pytest.raises(InputError, match="has 1 instance ids in its masks, none of them among the 1 of scene0000"):
        read_scene(tmp_path)


def test_a_mesh_with_frames_without_masks(tmp_path):
    points = np.concatenate([box((0, 0, 2), side=1), box((0, 9, 2))])
    write_ply(tmp_path / "room.ply", {**xyz(points), "instance": ("int", np.repeat([1, 2], 200))})
    write_frames(tmp_path, [(EYE, {1: (0, 0, 64, 48, 2.6, RED)})])
    for path in (tmp_path / "instance-filt").iterdir():
        path.unlink()
    (tmp_path / "instance-filt").rmdir()
    found = read_scene(tmp_path)
    assert [len(each.crops) for each in found.instances] == [1, 0]
    assert found.instances[0].crops[0].visible == 200


def test_frames_with_masks_alone(tmp_path):
    room = write_frames(tmp_path / "room", [(EYE, {3: (10, 8, 30, 40, 2.0, RED)})] * 3)
    found = read_scene(room, frames=2)
    assert (found.name, found.found_by) == ("room", "masks")
    assert [each.id for each in found.instances] == [3]
    assert len(found.geometry.points) == len(found.instances[0].points)
    assert found.geometry.ids.tolist() == [3] * len(found.geometry.points)
    assert found.notes == ("2 of the 3 frames are read; --frames reads more.",)


def test_clusters_stand_in_for_ids(tmp_path):
    pytest.importorskip("sklearn")
    points = np.concatenate([box((0, 0, 0), count=3000), box((3, 0, 0), count=4000)])
    found = read_scene(write_ply(tmp_path / "room.ply", xyz(points)))
    assert found.found_by == "clusters"
    assert [each.id for each in found.instances] == [1, 2]
    assert found.instances[0].centre[0] == pytest.approx(3, abs=0.1)  # most points first
    assert "room.ply names no instance ids: geometric clusters (DBSCAN) stand in" in found.notes[0]
    path = write_ply(tmp_path / "ids.ply", {**xyz(points), "instance": ("int", np.full(7000, 4))})
    assert [each.id for each in read_scene(path).instances] == [4]
    assert [each.id for each in read_scene(path, clusters=True).instances] == [1, 2]


def test_clusters_need_the_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    path = write_ply(tmp_path / "room.ply", xyz(box((0, 0, 0))))
    with pytest.raises(Exception, match=r"pip install 'lens-plugins\[scene\]'"):
        read_scene(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"up": "x"}, "up is 'x' and unit 'm'; they must be one of y, z and one of m, cm, mm"),
        ({"unit": "inch"}, "unit 'inch'"),
        ({"crops": 0}, "crops is 0 and frames 100; both must be at least 1"),
        ({"frames": -1}, "crops is 5 and frames -1"),
    ],
)
def test_wrong_options(tmp_path, options, said):
    with pytest.raises(ConfigError, match=said):
        read_scene(tmp_path, **options)


def test_what_is_no_scan(tmp_path):
    with pytest.raises(InputError, match="is no scan, it holds 0 pictures and no cloud or mesh; a scan is a folder"):
        read_scene(tmp_path)
    with pytest.raises(InputError, match="There is no file"):
        read_scene(tmp_path / "absent")
    for name in ("a", "b"):
        write_ply(tmp_path / f"{name}.ply", xyz(box((0, 0, 0))))
    with pytest.raises(InputError, match=r"holds 2 clouds or meshes \(a.ply, b.ply\); name one of them"):
        read_scene(tmp_path)
    path = write_ply(tmp_path / "none.ply", {**xyz(box((0, 0, 0))), "instance": ("int", np.zeros(200))})
    with pytest.raises(InputError, match="has 200 points and 0 instances: every id means none"):
        read_scene(path)
    write_frames(tmp_path / "f", [(EYE, {})])
    with pytest.raises(InputError, match="has 0 instances in the masks of 1 frames"):
        read_scene(tmp_path / "f")


def test_folders_that_cannot_be_listed(tmp_path, monkeypatch):
    (tmp_path / "lamp").mkdir()

    def iterdir(self):
        if self.name == "lamp":
            raise PermissionError(13, "Permission denied")
        return iter([tmp_path / "lamp"])

    monkeypatch.setattr("pathlib.Path.iterdir", iterdir)
    with pytest.raises(InputError, match="lamp cannot be listed: Permission denied"):
        read_scene(tmp_path)
