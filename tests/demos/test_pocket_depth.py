import json

import numpy as np
import pytest
import torch
from PIL import Image
from pocket.data.pack import write_lines
from pocket.senses import depth
from pocket.vit import vit_config
from test_pocket_packs import write_pack

from lens_plugins.bench.heldout import find_sense
from lens_plugins.inputs import read
from lens_plugins.splice import vit_from_tower
from lens_plugins.train import lens_config_for
from lens_plugins.train.augment import Draws
from lens_plugins.train.manifest import read_manifest


def disc(shift=0):
    """A disc two to three radii away, in thousandths of the radius."""
    down, right = np.mgrid[:128, :128]
    inside = (down - 64) ** 2 + (right - 64 - shift) ** 2 < 40**2
    return np.where(inside, 2000 + 8 * right, 0).astype(np.uint16)


def pack(folder, name, splits, views, with_depth):
    """Objects of which the first views have depth, as the data pipeline writes them."""
    rows, maps = [], []
    for i, split in enumerate(splits):
        row = {"object": f"{name}-{i}", "class": "chair", "name": "deck chair", "split": split, "licence": "CC0-1.0"}
        for view in range(views):
            rows.append({**row, "view": view, "depth": len(maps) if view < with_depth else None})
            if view < with_depth:
                maps.append(disc(view))
    pictures = np.random.default_rng(0).integers(0, 256, (len(rows), 128, 128, 4), np.uint8)
    np.save(write_pack(folder / name, pictures, rows) / "depth.npy", np.stack(maps))


@pytest.fixture
def work(tmp_path):
    (tmp_path / "pack").mkdir()
    pack(tmp_path / "pack", "sweethome", ["train", "test"], 24, 8)
    pack(tmp_path / "pack", "generated", ["train", "test"], 4, 4)
    return tmp_path


@pytest.fixture(scope="module")
def settings():
    from transformers.models.instructblip.modeling_instructblip import InstructBlipVisionModel

    vit = vit_from_tower(InstructBlipVisionModel(vit_config()), "a pocket ViT")
    return lens_config_for("depth", vit, depth.SENSE.lens).input


def test_held_out_objects_made_by_people_are_in_no_split(work):
    pairs = read_manifest(depth.SENSE.pairs(work), "depth")
    splits = {(pair.id.split("/")[0], pair.split) for pair in pairs}
    assert splits == {("sweethome-0", "train"), ("generated-0", "train"), ("generated-1", "val")}
    assert len(pairs) == 6 + 3 + 3
    assert {pair.texts for pair in pairs} == {("chair", "deck chair")}


def test_a_map_is_paired_with_the_picture_of_its_view_and_others(work):
    for pair in read_manifest(depth.SENSE.pairs(work), "depth"):
        own = pair.path.with_name(pair.path.name.replace("depth", "view"))
        assert pair.images[:2] == (own, own)
        assert len({own, *pair.images}) == 3
        assert Image.open(own).size == (112, 112)


def test_maps_are_millimetres_that_the_reader_takes_for_metres(work, settings):
    pair = read_manifest(depth.SENSE.pairs(work), "depth")[0]
    stored = np.asarray(Image.open(pair.path))
    assert stored[64, 64] == pytest.approx(0.75 * (2000 + 8 * 64), abs=1)
    found = read(pair.path, "depth", settings).tensor
    assert found.shape == (1, 112, 112)
    disparity = 0.075 * 518.86 * 128 / 640 / (stored[64, 64] / 1000)
    assert found[0, 56, 56].item() == pytest.approx((disparity / 75 - 0.0418) / 0.0295, abs=0.02)
    assert found[0, 2, 2].item() == pytest.approx(
        depth.SENSE.runs[0].augmentation.missing, abs=1e-4
    )  # nothing is far away


def test_metres_count_whatever_the_width_of_the_map(settings):
    small, large = (Image.fromarray(np.full((h, w), 1500, np.uint16)) for h, w in ((128, 128), (480, 640)))
    means = [read(picture, "depth", settings).tensor.mean().item() for picture in (small, large)]
    assert means[0] == pytest.approx(means[1], abs=1e-4)


def test_training_varies_what_was_read(work, settings):
    pair = read_manifest(depth.SENSE.pairs(work), "depth")[0]
    batch = read(pair.path, "depth", settings).tensor.repeat(4, 1, 1, 1)
    varied = depth.SENSE.runs[0].augmentation(batch, Draws(0, 0, range(4)))
    assert varied.shape == batch.shape
    assert varied.isfinite().all()
    assert varied.min() >= depth.SENSE.runs[0].augmentation.missing - 1e-4
    assert len(varied.flatten(1).unique(dim=0)) == 4
    again = depth.SENSE.runs[0].augmentation(batch, Draws(0, 0, range(4)))
    assert torch.equal(varied, again)


def test_sensor_noise_grows_with_the_square_of_the_distance():
    rng = np.random.default_rng(0)
    spreads = []
    for distance in (1.0, 2.0, 4.0):
        found = depth.measured(np.full((128, 128), distance), rng)
        spreads.append((found[found > 0] - distance).std())
        assert 0.9 < (found > 0).mean() < 0.99
    assert spreads[1] / spreads[0] == pytest.approx(4, rel=0.2)
    assert spreads[2] / spreads[1] == pytest.approx(4, rel=0.2)
    assert spreads[1] == pytest.approx(0.008, rel=0.3)  # metres


def test_sensor_loses_edges_and_invents_nothing():
    clean = depth.metres(disc())
    found = depth.measured(clean, np.random.default_rng(1))
    assert (found[clean == 0] == 0).all()
    rim = (clean > 0) & (np.roll(clean, 1, 0) == 0)
    assert 0.3 < (found[rim] == 0).mean() < 0.8
    assert (depth.measured(np.zeros((8, 8)), np.random.default_rng(1)) == 0).all()


def test_held_out_maps_come_back(work, tmp_path, settings):
    target = tmp_path / "heldout" / "depth"
    (target.parent / "objects").mkdir(parents=True)
    row = {"class": "chair", "words": [], "strip": "000.webp"}
    write_lines(target.parent / "objects" / "index.jsonl", [row])
    Image.new("RGB", (4 * 112, 112)).save(target.parent / "objects" / "000.webp")
    assert depth.SENSE.write_heldout(work, target) == 2
    first = [path.read_bytes() for path in sorted(target.glob("*.png"))]
    rows = [json.loads(line) for line in (target / "index.jsonl").read_text().splitlines()]
    assert [(r["object"], r["view"], r["licence"]) for r in rows] == [("sweethome-1", v, "CC0-1.0") for v in (0, 6)]
    cases, pictures = find_sense("depth").cases(target), find_sense("depth").pictures(target)
    assert [picture.source.size for picture in pictures] == [(112, 112)] * 2
    assert [case.label for case in cases] == ["chair", "chair"]
    assert read(cases[0].source, "depth", settings).tensor.shape == (1, 112, 112)
    depth.SENSE.write_heldout(work, target)
    assert [path.read_bytes() for path in sorted(target.glob("*.png"))] == first
