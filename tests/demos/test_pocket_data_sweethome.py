"""Catalogues, and the way from a small made one through the renderer to a pack."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from PIL import Image
from pocket.data import objects, pack, sweethome

from lens_plugins.errors import InputError

CUBE = """mtllib cube.mtl
v -1 -1 -1
v 1 -1 -1
v 1 1 -1
v -1 1 -1
v -1 -1 1
v 1 -1 1
v 1 1 1
v -1 1 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl paint
f 1/1 4/4 3/3 2/2
f 5/1 6/2 7/3 8/4
f 1/1 2/2 6/3 5/4
usemtl wood
f 4/1 8/2 7/3 3/4
f 1/1 5/2 8/3 4/4
f 2/1 3/2 7/3 6/4
f 1/1 2/2
"""
MTL = "newmtl paint\nKd 0.8 0.1 0.1\nd 1\nnewmtl wood\nKd 0.1 0.1 0.1\nmap_Kd WOOD.png\n"
HEADER = "id=Test\r\nlicense=Public domain\r\n"


def _row(number, name, model, extra=""):
    return (
        f"id#{number}=x\r\nname#{number}={name}\r\ntags#{number}=Blend Swap, Seat\r\ncategory#{number}=Living room\r\n"
        f"model#{number}=/test/{model}\r\nwidth#{number}=10\r\nheight#{number}=20\r\ndepth#{number}=30\r\n"
        f"creator#{number}=Ann\r\n{extra}"
    )


def write_catalogue(folder, rows, header=HEADER, models=("cube/cube.obj",)):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (160, 100, 40)).save(folder / "wood.png")
    with zipfile.ZipFile(folder / "Test.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", header + "".join(rows))
        for model in models:
            archive.writestr(f"test/{model}", CUBE)
        archive.writestr("test/cube/cube.mtl", MTL)
        archive.write(folder / "wood.png", "test/cube/wood.png")
    return folder


def test_rows_are_read_with_crlf_tags_rotation_and_licence(tmp_path):
    turn = "modelRotation#2=1 0 0 0 0 1 0 -1 0\r\n"
    rows = [_row(1, "Chair", "cube/cube.obj"), _row(2, "Caf\\u00e9 table", "cube/cube.obj", turn)]
    chair, table = sweethome.read_catalogues(write_catalogue(tmp_path, rows))
    assert (chair.id, chair.name, chair.tags, chair.creator) == ("Test-1-cube", "Chair", ("Seat",), "Ann")
    assert (chair.licence, chair.size) == ("CC0-1.0", (10.0, 20.0, 30.0))
    assert table.name == "Café table"
    assert table.rotation == (1, 0, 0, 0, 0, 1, 0, -1, 0)


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("Creative Commons Attribution 3.0 United States license", "CC-BY-3.0-US"),
        ("Creative Commons Attribution 3.0 Unported license", "CC-BY-3.0"),
    ],
)
def test_licences(text, licence):
    assert sweethome.licence_of("Test", text) == licence


def test_an_unknown_licence_is_refused():
    with pytest.raises(InputError, match="'All rights reserved'"):
        sweethome.licence_of("Test", "All rights reserved")


def test_a_missing_model_is_named_with_both_counts(tmp_path):
    rows = [_row(1, "Chair", "cube/cube.obj"), _row(2, "Sofa", "sofa/sofa.obj")]
    with pytest.raises(InputError, match=r"lists 2 models but lacks the files of 1: test/sofa/sofa\.obj"):
        sweethome.read_catalogues(write_catalogue(tmp_path, rows))


def test_what_is_not_a_catalogue_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds 0 furniture catalogues; expected at least 1"):
        sweethome.read_catalogues(tmp_path)
    (tmp_path / "bad.sh3f").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"bad\.sh3f is not a furniture catalogue"):
        sweethome.read_catalogues(tmp_path)


def test_faces_of_two_corners_are_taken_out(tmp_path):
    list(sweethome.extract(write_catalogue(tmp_path / "a", [_row(1, "Chair", "cube/cube.obj")]), tmp_path / "b"))
    text = (tmp_path / "b/Test/test/cube/cube.obj").read_text()
    assert text.count("\nf ") == 6
    assert "f 1/1 2/2\n" not in text


def test_a_catalogue_becomes_a_pack(tmp_path):
    pytest.importorskip("vtkmodules", reason="rendering needs VTK (the extra 'pocket')")
    package = write_catalogue(tmp_path / "package", [_row(n, "Chair", "cube/cube.obj") for n in (1, 2)])
    models, status = sweethome.read_catalogues(package), pack.Status(tmp_path)
    list(sweethome.extract(package, tmp_path / "models"))
    failed = objects.render_all(models, tmp_path / "models", tmp_path / "rendered", status, workers=1)
    assert failed == {}
    rows = objects.sweethome_rows(models, tmp_path / "rendered")
    assert {row["class"] for row in rows} == {"chair"}
    assert len({row["split"] for row in rows}) == 1  # one mesh twice: both on one side
    count, clouds = objects.pack_sweethome(rows, tmp_path / "rendered", tmp_path / "pack")
    index = pack.read_lines(tmp_path / "pack/index.jsonl")
    images = np.load(tmp_path / "pack/images.npy", mmap_mode="r")
    depth = np.load(tmp_path / "pack/depth.npy")
    assert (count, clouds, len(index)) == (48, 2, 48)
    assert images.shape == (48, 128, 128, 4)
    assert depth.shape == (16, 128, 128)
    assert [row["depth"] for row in index if row["depth"] is not None] == list(range(16))
    shapes = np.load(tmp_path / "pack/clouds.npy").astype(np.float32)
    assert shapes.shape == (2, 8192, 3)
    np.testing.assert_allclose(np.linalg.norm(shapes, axis=-1).max(1), 1, atol=2e-3)
    assert "render 2/2, 0 failed" in (tmp_path / "STATUS").read_text()
    assert json.loads((tmp_path / "pack/clouds.jsonl").read_text().splitlines()[0])["licence"] == "CC0-1.0"


def test_classes_below_five_objects_stay_open():
    rows = [{"class": "chair", "source": "sweethome", "split": s} for s in ["train"] * 4 + ["test"]]
    rows += [{"class": "bus", "source": "sweethome", "split": "train"}] * 4
    table = objects.class_table(rows)
    assert set(table) == {"chair"}
    assert (table["chair"]["sweethome_train"], table["chair"]["sweethome_test"]) == (4, 1)
    assert table["chair"]["headline"] is True
    assert objects.close_set(rows, table)[-1]["class"] is None
