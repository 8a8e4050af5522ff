"""Meshes, views and depth of a cube with two materials."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pocket.data import captions, meshes, render
from test_pocket_data_sweethome import CUBE, MTL

from lens_plugins.errors import InputError

pytest.importorskip("vtkmodules", reason="rendering needs VTK (the extra 'pocket')")


@pytest.fixture
def cube(tmp_path):
    Image.new("RGB", (8, 8), (160, 100, 40)).save(tmp_path / "wood.png")
    (tmp_path / "cube.mtl").write_text(MTL)
    (tmp_path / "cube.obj").write_text(CUBE.replace("f 1/1 2/2\n", ""))
    return meshes.read_obj(tmp_path / "cube.obj")


def test_faces_keep_their_materials_and_textures(cube):
    parts = {part.material.name: part for part in cube.parts}
    assert set(parts) == {"paint", "wood"}
    assert len(parts["paint"].triangles) == len(parts["wood"].triangles) == 6
    assert parts["paint"].material.colour == (0.8, 0.1, 0.1)
    assert parts["wood"].material.texture.name == "wood.png"  # the file says WOOD.png
    assert parts["wood"].uv.shape == (len(parts["wood"].points), 2)
    assert cube.triangles().shape == (12, 3, 3)
    assert captions.material_word(cube) == "wooden"


def test_a_mesh_turns(cube):
    turned = cube.turned(np.array([[0, 0, 2], [0, 1, 0], [-1, 0, 0]]))
    low, high = turned.bounds()
    np.testing.assert_allclose([*low, *high], [-2, -1, -1, 2, 1, 1], atol=1e-6)


def test_a_file_without_faces_is_refused(tmp_path):
    (tmp_path / "empty.obj").write_text("v 0 0 0\n")
    with pytest.raises(InputError, match=r"empty\.obj holds 0 faces; a model needs at least 1"):
        meshes.read_obj(tmp_path / "empty.obj")


def test_views_show_the_side_that_faces_the_camera(cube):
    front = render.Camera(azimuth=0, elevation=0, fov=0.6, distance=4.0)
    side = render.Camera(azimuth=90, elevation=0, fov=0.6, distance=4.0)
    studio, rng = render.Studio(), np.random.default_rng(0)
    (red, depth), (brown, nothing) = studio.shoot(cube, [front, side], rng, depths=1)
    assert red.shape == (128, 128, 4)
    assert nothing is None
    assert red[0, 0, 3] == 0
    assert red[64, 64, 3] == 255
    r, g, b, _ = red[64, 64].astype(int)
    assert r > 3 * g  # the painted face, z = 1
    assert r > 3 * b
    r, g, b, _ = brown[64, 64].astype(int)
    assert r > g > b  # the textured face, x = 1: the picture's colour, not Kd's black
    assert r > 60
    assert (depth == 0).mean() > 0.3
    radius = np.sqrt(3)
    assert depth[64, 64] == pytest.approx(1000 * (4.0 - 1 / radius), rel=0.01)


def test_cameras_follow_the_shape():
    rng = np.random.default_rng(1)
    around = render.cameras(np.array([1.0, 1, 1]), 24, rng)
    plate = render.cameras(np.array([1.0, 0.05, 1]), 24, rng)
    socket = render.cameras(np.array([1.0, 1, 0.1]), 24, rng)
    behind = [sum(abs(view.azimuth) > 90 for view in views) for views in (around, socket)]
    assert 9 <= behind[0] <= 15
    assert behind[1] < behind[0]
    assert min(view.elevation for view in plate) >= 25
    assert min(view.elevation for view in around) >= -5
