import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pocket import lenses
from pocket.heldout import VIEWS, write_heldout
from pocket.lenses import point_cloud_pairs
from pocket.senses.audio import SENSE
from test_pocket_packs import write_pack

from lens_plugins.bench.heldout import open_objects
from lens_plugins.inputs import read
from lens_plugins.lens.lens import Lens
from lens_plugins.splice import vit_from_tower
from lens_plugins.train.manifest import read_manifest


def objects(folder, pack, splits):
    """A pack of one object a split, 24 views each, as the data pipeline writes it."""
    pictures = np.random.default_rng(0).integers(0, 256, (24 * len(splits), 128, 128, 4), np.uint8)
    rows = [
        {"object": f"{pack}-{i}", "class": "chair", "name": "deck chair", "split": split, "licence": "CC0-1.0"}
        for i, split in enumerate(splits)
    ]
    folder = write_pack(folder / pack, pictures, [{**row, "view": v} for row in rows for v in range(24)])
    clouds = np.random.default_rng(1).normal(size=(len(splits), 8192, 3)).astype(np.float16)
    np.save(folder / "clouds.npy", clouds)
    (folder / "clouds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def work(tmp_path):
    (tmp_path / "pack").mkdir()
    objects(tmp_path / "pack", "sweethome", ["train", "test", "train"])
    objects(tmp_path / "pack", "generated", ["train", "test"])
    return tmp_path


def test_held_out_objects_made_by_people_are_in_no_split(work):
    pairs = read_manifest(point_cloud_pairs(work), "point_cloud")
    assert {pair.id: pair.split for pair in pairs} == {
        "sweethome-0": "train",
        "sweethome-2": "train",
        "generated-0": "train",
        "generated-1": "val",
    }
    assert all(len(pair.images) == 8 and pair.texts == ("chair", "deck chair") for pair in pairs)


def test_pairs_are_files_that_the_product_reads(work):
    pair = read_manifest(point_cloud_pairs(work))[0]
    cloud = np.load(work / "pack" / "sweethome" / "clouds.npy")[0]
    assert np.load(pair.path) == pytest.approx(cloud.astype(np.float32))
    assert read(pair.path).tensor.shape == (8192, 3)
    assert Image.open(pair.images[0]).size == (112, 112)


def test_pairs_are_written_once(work):
    manifest = point_cloud_pairs(work)
    before = manifest.stat().st_mtime_ns
    assert point_cloud_pairs(work).stat().st_mtime_ns == before


def test_held_out_objects_come_back_as_they_were_written(work, tmp_path):
    assert write_heldout(work / "pack" / "sweethome", tmp_path / "heldout") == 1
    (found,) = open_objects(tmp_path / "heldout")
    assert (found.object, found.label, len(found.pictures)) == ("sweethome-1", "chair", VIEWS)
    assert found.case(None).named_in("two armchairs") == ("armchair" in found.words)
    cloud = np.load(work / "pack" / "sweethome" / "clouds.npy")[1]
    assert found.cloud.numpy() == pytest.approx(cloud[:2048].astype(np.float32))


def test_a_sense_may_start_from_weights_that_know_something(tmp_path, monkeypatch):
    from pocket.vit import vit_config
    from transformers.models.instructblip.modeling_instructblip import InstructBlipVisionModel

    def start(lens, work):
        assert work == tmp_path / "work"
        lens.embedding.stem.scale.data.fill_(7)

    def align(pairs, vit, lens, head, output, run):
        aligned.append((run.name, lens.embedding.stem.scale.item(), lens.training))
        return lens

    aligned = []
    monkeypatch.setattr(
        lenses, "pocket_vit", lambda host: vit_from_tower(InstructBlipVisionModel(vit_config()), "random")
    )
    monkeypatch.setattr(lenses, "_align", align)
    sense = replace(
        SENSE, pairs=lambda work: work / "manifest.jsonl", write_heldout=lambda work, target: 0, start=start
    )
    lenses.train_sense(sense, tmp_path / "work", tmp_path / "target")
    assert aligned == [(run.name, 7.0, True) for run in SENSE.runs]
    assert Lens.from_pretrained(tmp_path / "target" / "lens-audio").embedding.stem.scale == 7
