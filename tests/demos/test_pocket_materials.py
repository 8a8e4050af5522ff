"""Materials made by formula: the same from a seed, different from each other, on the side that their seed says."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image
from pocket.data import attribution, materials, pack
from pocket.dialogue import COLOURS, colour_of


@pytest.mark.parametrize("material", materials.MATERIALS)
def test_a_surface_follows_from_its_seed(material):
    one, same, other = (materials.make_surface(material, seed) for seed in (3, 3, 4))
    assert one.height.shape == (materials.MAP, materials.MAP)
    assert one.albedo.shape == (*one.height.shape, 3)
    assert one.height.dtype == one.albedo.dtype == np.float32
    assert np.isfinite(one.height).all()
    assert one.albedo.min() >= 0
    assert one.albedo.max() <= 1
    np.testing.assert_array_equal(one.height, same.height)
    np.testing.assert_array_equal(materials.picture(one, 1), materials.picture(same, 1))
    assert np.abs(one.height - other.height).mean() > 0.05


def test_views_of_a_surface_differ():
    surface = materials.make_surface("brick", 0)
    first, second = (materials.picture(surface, view) for view in (0, 1))
    assert first.shape == (128, 128, 3)
    assert first.dtype == np.uint8
    assert np.abs(first.astype(int) - second).mean() > 5


def test_seeds_of_the_sides_are_disjoint():
    everything = [seed for seeds in materials.SEEDS.values() for seed in seeds]
    assert len(everything) == len(set(everything))


def test_every_colour_is_a_word_of_the_dialogue():
    for kind in materials.MATERIALS.values():
        for colour in kind.colours:
            assert colour in COLOURS
            assert colour_of(kind.caption.format(colour)) == colour


def test_the_pack_holds_train_and_test(tmp_path, monkeypatch):
    monkeypatch.setattr(materials, "TRAIN", 2)
    monkeypatch.setattr(materials, "TEST", 1)
    kept = {name: materials.MATERIALS[name] for name in ("brick", "sand")}
    monkeypatch.setattr(materials, "MATERIALS", kept)
    assert materials.pack_materials(tmp_path / "materials") == 2 * 3 * materials.VIEWS
    rows = pack.read_lines(tmp_path / "materials" / "index.jsonl")
    images = np.load(tmp_path / "materials" / "images.npy")
    assert images.shape == (len(rows), 128, 128, 4)
    assert (images[..., 3] == 255).all()
    assert {(row["name"], row["split"]) for row in rows} == {(n, s) for n in kept for s in ("train", "test")}
    assert not {r["object"] for r in rows if r["split"] == "train"} & {
        r["object"] for r in rows if r["split"] == "test"
    }
    assert "12 pictures of materials, drawn by formula" in attribution.attribution([], rows, 1)


def test_photographed_textures_are_cut_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(materials, "TEXTURES", {"smallRedBricks": "brick"})
    file = io.BytesIO()
    Image.new("RGB", (300, 200), (180, 30, 25)).save(file, "JPEG")
    with zipfile.ZipFile(tmp_path / "program.jar", "w") as archive:
        archive.writestr(f"{materials.CATALOGUE}resources/textures/smallRedBricks.jpg", file.getvalue())
    rows = list(materials.textures(tmp_path / "program.jar"))
    assert len(rows) == materials.CROPS
    row, shown = rows[0]
    assert row["caption"] == "a red brick wall"
    assert row["licence"] == "CC-BY-3.0"
    assert shown.shape == (128, 128, 3)
