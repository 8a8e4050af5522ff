import re
import subprocess
import sys

import numpy as np
import pytest
from scans_made import Colours, box, write_ply, xyz
from test_scene_ranking import crop

from lens_plugins.errors import InputError, LensPluginsError
from lens_plugins.inputs.meshes import read_mesh
from lens_plugins.scene import Instance, Scene, read_scene, search_scene, write_rrd
from lens_plugins.scene import write_ply as write_found
from lens_plugins.scene.output import rank_colours
from lens_plugins.scene.scans import read_geometry

HOST = Colours({"text:a": [1, 0, 0]})


@pytest.fixture
def found(tmp_path):
    """A mesh of three things and some floor, and its ranking."""
    points = np.concatenate([box((i, 0, 0), count=30) * (1, 1 + i, 1) for i in range(3)] + [box((9, 9, 0), count=30)])
    shades = {name: ("uchar", np.full(120, 100)) for name in ("red", "green", "blue")}
    columns = {**xyz(points), **shades, "instance": ("int", np.repeat([4, 2, 7, 0], 30))}
    scene = read_scene(write_ply(tmp_path / "room.ply", columns, np.arange(120).reshape(-1, 3)))
    return scene, search_scene(HOST, scene, "text:a")


def test_a_coloured_ply(found, tmp_path):
    scene, ranking = found
    write_found(tmp_path / "out.ply", scene, ranking)
    read = read_geometry(tmp_path / "out.ply")
    assert np.allclose(read.points, scene.geometry.points, atol=1e-6)
    assert read.faces.tolist() == scene.geometry.faces.tolist()
    assert read.ids.tolist() == scene.geometry.ids.tolist()
    shades = rank_colours(3)
    for each in ranking:
        assert (read.colours[read.ids == each.instance.id] == shades[each.rank - 1]).all()
    assert (read.colours[90:] == 35).all()  # a dim shade of the scan's own
    ranks = read_geometry(tmp_path / "out.ply", field="rank", zero="object").ids
    assert ranks.tolist() == np.repeat([next(e.rank for e in ranking if e.instance.id == n) for n in (4, 2, 7)], 30
                                       ).tolist() + [0] * 30  # fmt: skip
    assert read_mesh(tmp_path / "out.ply")[0].shape == (40, 3, 3)  # our other reader takes it too


def test_other_libraries_read_it(found, tmp_path):
    import trimesh

    write_found(tmp_path / "out.ply", *found)
    mesh = trimesh.load(tmp_path / "out.ply", process=False)
    assert mesh.vertices.shape == (120, 3)
    assert mesh.visual.vertex_colors[0, :3].tolist() == read_geometry(tmp_path / "out.ply").colours[0].tolist()


def test_colours_of_ranks():
    assert rank_colours(1).tolist() == [[215, 25, 28]]
    assert rank_colours(5)[[0, 2, 4]].tolist() == [[215, 25, 28], [255, 255, 191], [44, 123, 182]]


def test_a_recording_for_rerun(found, tmp_path):
    pytest.importorskip("rerun")
    scene, _ = found
    things = [*scene.instances[:2], Instance(7, "a|b", scene.instances[2].points, crops=(crop(9, 0, 0),))]
    shown = Scene(scene.name, things, scene.found_by, "z", scene.geometry)
    write_rrd(tmp_path / "out.rrd", shown, search_scene(HOST, shown, "text:a"))
    told = {}
    for command in ("verify", "stats"):  # rerun's own reader
        words = [sys.executable, "-m", "rerun", "rrd", command, str(tmp_path / "out.rrd")]
        told[command] = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    assert "verified without error" in told["verify"].stdout + told["verify"].stderr
    names = re.findall(r"^(/\S+): \d+$", told["stats"].stdout, re.MULTILINE)
    assert {"/scan/points", "/scan/best", "/ranking"} <= set(names)
    assert len([name for name in names if name.startswith("/crops/")]) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_scene_of_crops_has_no_ply(tmp_path):
    scene = Scene("room", [Instance(1, crops=(crop(255, 0, 0),))], "files")
    ranking = search_scene(HOST, scene, "text:a")
    with pytest.raises(InputError, match=r"room has 1 instances and no points, so no .ply can be drawn"):
        write_found(tmp_path / "out.ply", scene, ranking)
    pytest.importorskip("rerun")
    write_rrd(tmp_path / "out.rrd", scene, ranking)
    assert (tmp_path / "out.rrd").stat().st_size > 100


def test_where_nothing_is_written(found, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"out.obj ends in '.obj'; it must end in .ply"):
        write_found(tmp_path / "out.obj", *found)
    with pytest.raises(InputError, match=r"There is no folder .*absent to write out.ply to"):
        write_found(tmp_path / "absent" / "out.ply", *found)
    (tmp_path / "out.ply").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lens_plugins.files.writing.os.replace", full)
    with pytest.raises(LensPluginsError, match=r"out.ply cannot be written: No space left on device"):
        write_found(tmp_path / "out.ply", *found)
    assert (tmp_path / "out.ply").read_text() == "old"
