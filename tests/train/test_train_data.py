"""Batches are decided by (epoch, indices) alone; inputs are read once, within a limit."""

from __future__ import annotations

import pytest
import torch

from lens_plugins.errors import ConfigError
from lens_plugins.inputs import AudioSettings, EegSettings, PointCloudSettings
from lens_plugins.train import TrainConfig
from lens_plugins.train import data as data_module
from lens_plugins.train.augment import Draws
from lens_plugins.train.data import Anchors, InputStore, PairBatches, Schedule, loader
from lens_plugins.train.manifest import read_manifest


@pytest.fixture
def pairs(world):
    return read_manifest(world)[:8]


@pytest.fixture
def anchors():
    images = torch.arange(24.0).view(6, 2, 2)
    return Anchors(images, torch.eye(3), [(0, 1), (2,), (), (1, 0), *[(5,)] * 4], [(0,), (1, 2), (), *[(2,)] * 5])


def test_inputs_are_read_once_within_the_limit(pairs, monkeypatch):
    reads = []
    plain = data_module.read
    monkeypatch.setattr(data_module, "read", lambda path, **kw: reads.append(path.name) or plain(path, **kw))
    size = 300 * 3 * 4
    store = InputStore(pairs, PointCloudSettings(), limit=3.5 * size)
    done = []
    assert store.load_all(done.append) == []
    assert sum(done) == 8
    assert store.size == 3 * size
    reads.clear()
    first = [store[index] for index in range(8)]
    assert reads == [f"{n}.npy" for n in range(3, 8)]
    assert all(torch.equal(store[index], first[index]) for index in range(8))


def test_a_cloud_is_read_whole_for_training():
    assert PointCloudSettings(max_points=256, candidates=300).for_training().max_points == 8192
    assert PointCloudSettings(max_points=9000).for_training().max_points == 9000
    assert EegSettings().for_training() == EegSettings()


def test_anchors_of_a_pair(anchors):
    assert torch.equal(anchors.image(0, 1), anchors.images[1])
    assert torch.equal(anchors.image(0, None), anchors.images[:2].mean(dim=0))
    assert torch.equal(anchors.image(2, 0), torch.zeros(2, 2))
    assert anchors.image_keys == [0, 1, -1, 0, 2, 2, 2, 2]  # the same pictures in any order are the same thing
    torch.testing.assert_close(anchors.center([0, 1, 2]), anchors.images[:3, 0].mean(dim=0))
    assert torch.equal(anchors.center([2]), torch.zeros(2))


def test_a_batch_is_decided_by_epoch_and_indices(pairs, anchors):
    store = InputStore(pairs, PointCloudSettings(), 1e9)
    batches = PairBatches(store, anchors, TrainConfig(), PointCloudSettings(max_points=64), None)
    one, same, later = batches[0, [0, 1, 2]], batches[0, [0, 1, 2]], batches[1, [0, 1, 2]]
    assert torch.equal(one.inputs, same.inputs)
    assert not torch.equal(one.inputs, later.inputs)
    assert one.inputs.shape == (3, 64, 3)
    assert one.image_keys.tolist() == [0, 1, -1]
    assert one.text_keys[[0, 2]].tolist() == [0, -1]
    assert one.text_keys[1] in (1, 2)
    assert torch.equal(one.texts[2], torch.zeros(3))
    drawn = {float(batches[epoch, [0]].images[0, 0, 0]) for epoch in range(12)}
    assert drawn == {0.0, 4.0}  # either view, over the epochs


def test_cuts_by_modality():
    draws = Draws(0, 0, range(3))
    clouds = [torch.randn(50, 3), torch.randn(90, 3), torch.randn(20, 3)]
    assert PointCloudSettings(max_points=16).batch(clouds, draws).shape == (3, 16, 3)
    assert PointCloudSettings(max_points=16).batch(clouds, draws, spare=2).shape == (3, 32, 3)
    assert PointCloudSettings().thinned(16).batch(clouds, draws).shape == (3, 16, 3)
    clips = [torch.arange(3.0)[:, None, None].expand(3, 5, 4)] * 3
    picked = AudioSettings(clips=3).batch(clips, draws, spare=2)
    assert picked.shape == (3, 5, 4)
    assert set(picked.flatten().tolist()) <= {0.0, 1.0, 2.0}
    assert AudioSettings(clips=1).batch([torch.zeros(5, 4)] * 2, draws).shape == (2, 5, 4)
    with pytest.raises(ConfigError, match="points is 16, but its inputs have no points to choose from"):
        AudioSettings().thinned(16)


def test_points_are_all_different_where_there_are_enough():
    clouds = [torch.arange(30.0).view(10, 3), torch.arange(9.0).view(3, 3)]
    cut = PointCloudSettings(max_points=5).batch(clouds, Draws(0, 0, [0, 1]))
    assert cut.shape == (2, 5, 3)
    assert len(cut[0].unique(dim=0)) == 5
    assert len(cut[1].unique(dim=0)) == 3


def test_every_epoch_sees_every_pair_once_in_another_order():
    seen = list(Schedule(10, 5, seed=0, start=0, stop=6))
    assert [epoch for epoch, _ in seen] == [0, 0, 1, 1, 2, 2]
    orders = [seen[2 * e][1] + seen[2 * e + 1][1] for e in range(3)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_a_later_start_and_several_processes_share_one_order():
    whole = list(Schedule(10, 4, seed=3, start=0, stop=8))
    assert list(Schedule(10, 4, seed=3, start=5, stop=8)) == whole[5:]
    shares = [list(Schedule(10, 4, seed=3, start=0, stop=8, process=p, processes=2)) for p in range(2)]
    for (epoch, indices), (_, one), (_, other) in zip(whole, *shares):
        assert sorted(one + other) == sorted(indices)
        assert len(one) == 2
        assert epoch in range(4)
    assert list(Schedule(10, 4, seed=4, start=0, stop=8)) != whole


def test_loading_leaves_the_global_random_state(pairs, anchors):
    store = InputStore(pairs, PointCloudSettings(), 1e9)
    batches = PairBatches(store, anchors, TrainConfig(), PointCloudSettings(max_points=32), None)
    before = torch.get_rng_state()
    assert len(list(loader(batches, Schedule(8, 4, 0, start=0, stop=3), workers=0))) == 3
    assert torch.equal(before, torch.get_rng_state())
