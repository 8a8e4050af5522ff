import json

import numpy as np
import pytest
from PIL import Image

from lens_plugins.bench.heldout import open_objects
from lens_plugins.bench.rooms import write_rooms
from lens_plugins.errors import InputError
from lens_plugins.evaluate.scene import read_queries
from lens_plugins.pocket.shipped import shipped_folder
from lens_plugins.scene import read_scene

pytestmark = pytest.mark.skipif(shipped_folder("heldout") is None, reason="the held-out cases are in a checkout alone")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    return write_rooms(tmp_path_factory.mktemp("rooms"), rooms=2, objects=6)


def test_a_room_reads_as_scannets(rooms):
    scene = read_scene(rooms / "furnished-00")
    groups = json.loads((rooms / "furnished-00" / "furnished-00.aggregation.json").read_text())["segGroups"]
    assert [(each.id, each.label) for each in scene.instances] == [(g["objectId"] + 1, g["label"]) for g in groups]
    assert [len(each.points) for each in scene.instances] == [2048] * 6
    assert min(len(each.crops) for each in scene.instances) >= 1
    for each in scene.instances:
        assert each.points[:, 2].min() == pytest.approx(0, abs=1e-6)  # they stand on the floor
        assert 0.2 < each.size.max() < 4


def test_masks_and_depth_agree_with_the_points(rooms):
    folder = rooms / "furnished-01"
    scene = read_scene(folder)
    by_masks = read_scene_without_mesh(folder)
    for each in by_masks.instances:
        whole = next(other for other in scene.instances if other.id == each.id)
        # a flat picture faces the camera at the thing's middle: as far off as half its size at most
        assert np.linalg.norm(each.points - whole.centre, axis=1).max() < 1.3 * whole.size.max()


def read_scene_without_mesh(folder):
    hidden = {path: path.with_suffix(".hidden") for path in folder.glob("*.ply")}
    for path, other in hidden.items():
        path.rename(other)
    try:
        return read_scene(folder)
    finally:
        for path, other in hidden.items():
            other.rename(path)


def test_queries_are_other_things_of_the_class(rooms):
    queries = read_queries(rooms)
    assert {query.modality for query in queries} >= {"text", "image", "point_cloud", "depth", "audio", "tactile"}
    held = open_objects()
    clouds = {each.object: each for each in held}
    for query in queries:
        if query.modality != "text":
            assert (rooms / query.query).is_file()
        if query.scene.startswith("furnished"):
            labels = {each.id: each.label for each in read_scene(rooms / query.scene).instances}
            assert list(query.answers) == [own for own, label in labels.items() if label == query.label]
        if query.modality == "point_cloud":
            name = query.query.rpartition("/")[2].removesuffix(".npy")
            assert clouds[name].label == query.label
            asked = np.load(rooms / query.query)
            sizes = np.ptp(asked, axis=0) / np.ptp(asked, axis=0).max()
            for each in read_scene(rooms / query.scene).instances:  # none of the room is that object
                own = each.size / each.size.max()
                assert not np.allclose(np.sort(sizes), np.sort(own), atol=1e-4)


def test_the_same_seed_writes_the_same_rooms(rooms, tmp_path):
    again = write_rooms(tmp_path / "again", rooms=2, objects=6)
    names = sorted(path.relative_to(rooms) for path in rooms.rglob("*") if path.is_file() and path.suffix != ".hidden")
    assert sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file()) == names
    for name in names:
        assert (rooms / name).read_bytes() == (again / name).read_bytes(), name
    other = write_rooms(tmp_path / "other", rooms=2, objects=6, seed=1)
    assert (other / "queries.jsonl").read_bytes() != (rooms / "queries.jsonl").read_bytes()


def test_rooms_of_crops(rooms):
    surfaces = read_scene(rooms / "surfaces-00")
    assert len(surfaces.instances) == 6
    assert Image.open(surfaces.instances[0].crops[0].picture).size[0] > 32
    labels = [query.label for query in read_queries(rooms) if query.scene == "surfaces-00"]
    assert len(set(labels)) == 6


def test_where_no_rooms_are_written(tmp_path):
    (tmp_path / "x").write_text("x")
    with pytest.raises(InputError, match="is not an empty folder; give a new one"):
        write_rooms(tmp_path)
    with pytest.raises(InputError, match="There are 0 rooms of 1 objects; at least 1 room of 2 is needed"):
        write_rooms(tmp_path / "new", rooms=0, objects=1)
