import json

import numpy as np
import pytest
import torch
from pocket.packs import Pictures, compose, normalise, plain

from lens_plugins.errors import InputError


def write_pack(folder, pictures, rows):
    folder.mkdir()
    np.save(folder / "images.npy", pictures)
    (folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def packs(tmp_path):
    made = []
    for name, count, value in (("first", 3, 10), ("second", 2, 200)):
        pictures = np.full((count, 128, 128, 4), value, np.uint8)
        made.append(write_pack(tmp_path / name, pictures, [{"object": f"{name}{i}"} for i in range(count)]))
    return made


def test_packs_are_read_as_one_in_order(packs):
    pictures = Pictures.open(packs)
    assert [row["pack"] for row in pictures.rows] == ["first"] * 3 + ["second"] * 2
    taken = pictures.take([4, 0])  # (B, 4, H, W)
    assert taken.shape == (2, 4, 128, 128)
    assert [taken[0].mean().item(), taken[1].mean().item()] == pytest.approx([200 / 255, 10 / 255])


def test_batches_cover_everything_once(packs):
    numbers = [n for chunk, _ in Pictures.open(packs).batches(range(5), 2) for n in chunk]
    assert numbers == [0, 1, 2, 3, 4]


def test_an_incomplete_pack_is_named(packs):
    (packs[1] / "images.npy").unlink()
    with pytest.raises(InputError, match="second is incomplete"):
        Pictures.open(packs)


def test_pictures_and_rows_must_agree(tmp_path):
    pack = write_pack(tmp_path / "odd", np.zeros((3, 128, 128, 4), np.uint8), [{"object": "x"}])
    with pytest.raises(InputError, match="3 pictures and 1 index rows"):
        Pictures.open([pack])


def test_plain_shows_the_shade_where_nothing_is():
    rgba = torch.zeros(1, 4, 128, 128)
    rgba[:, :3, 32:96, 32:96] = 0.25
    rgba[:, 3, 32:96, 32:96] = 1
    shown = plain(rgba, 112, 0.93)
    assert shown.shape == (1, 3, 112, 112)
    assert shown[0, :, 2, 2].tolist() == pytest.approx([0.93] * 3, abs=1e-3)
    assert shown[0, :, 56, 56].tolist() == pytest.approx([0.25] * 3, abs=1e-3)


def test_composed_views_follow_the_generator():
    rgba = torch.rand(4, 4, 128, 128)
    one, same, other = (compose(rgba, 112, torch.Generator().manual_seed(seed), 1.0) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert one.shape == (4, 3, 112, 112)
    assert 0 <= one.min() <= one.max() <= 1


def test_normalised_by_clips_constants():
    grey = normalise(torch.full((1, 3, 1, 1), 0.5)).flatten()
    wanted = [(0.5 - 0.48145466) / 0.26862954, (0.5 - 0.4578275) / 0.26130258, (0.5 - 0.40821073) / 0.27577711]
    assert grey.tolist() == pytest.approx(wanted)
