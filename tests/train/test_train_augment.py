"""Variation is repeatable by (seed, epoch, index), does what its name says and nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lens_plugins.catalog import find_modality, resolve
from lens_plugins.errors import ConfigError
from lens_plugins.inputs import AudioSettings, DepthSettings, ImageSettings, PointCloudSettings, TactileSettings, read
from lens_plugins.train.augment import (
    AudioAugment,
    DepthAugment,
    Draws,
    EegAugment,
    PointCloudAugment,
    TactileAugment,
    _resample,
    _rotation_about,
    _visible,
    augmentation_for,
)

STILL = dataclasses.replace(
    PointCloudAugment(points=512),
    tilt_degrees=0,
    scale=(1.0, 1.0),
    swap_up=0,
    jitter=0,
    half_space=0,
    scan=0,
    outliers=0,
)  # only the heading is left
BATCHES = {
    "point_cloud": torch.randn(6, 400, 3, generator=torch.Generator().manual_seed(0)),
    "audio": torch.randn(6, 100, 32, generator=torch.Generator().manual_seed(0)),
    "tactile": torch.randn(6, 3, 28, 28, generator=torch.Generator().manual_seed(0)),
    "depth": torch.randn(6, 1, 28, 28, generator=torch.Generator().manual_seed(0)),
    "eeg": torch.randn(6, 16, 64, generator=torch.Generator().manual_seed(0)),
}


def usual(modality):
    settings = resolve(find_modality(modality).settings)
    return augmentation_for(modality, settings(max_points=200) if modality == "point_cloud" else settings())


@pytest.mark.parametrize("modality", BATCHES)
def test_equal_draws_give_equal_batches(modality):
    vary = usual(modality)
    batch = BATCHES[modality]
    before = batch.clone()
    once, again = (vary(batch, Draws(1, 2, range(6))) for _ in range(2))
    assert torch.equal(once, again)
    assert torch.equal(batch, before)
    assert once.isfinite().all()
    assert once.dtype == torch.float32
    assert once.shape == ((6, 200, 3) if modality == "point_cloud" else batch.shape)
    for other in (Draws(2, 2, range(6)), Draws(1, 3, range(6)), Draws(1, 2, range(6, 12))):
        assert not torch.allclose(once, vary(batch, other))


@pytest.mark.parametrize("modality", [name for name in BATCHES if name != "audio"])  # audio mixes neighbours
def test_a_sample_varies_alike_in_every_batch(modality):
    vary = usual(modality)
    batch = BATCHES[modality]
    whole = vary(batch, Draws(0, 0, range(6)))
    part = vary(batch[2:4], Draws(0, 0, [2, 3]))
    torch.testing.assert_close(part, whole[2:4], atol=1e-5, rtol=1e-5)


def test_pictures_do_not_vary():
    assert augmentation_for("image", ImageSettings()) is None


def test_the_usual_variation_follows_the_settings():
    assert augmentation_for("audio", AudioSettings(mean=-3.0, std=2.0)) == AudioAugment(mean=-3.0, std=2.0)
    assert augmentation_for("depth", DepthSettings(mean=0.5)).mean == 0.5
    assert augmentation_for("point_cloud", PointCloudSettings(max_points=77)).points == 77
    assert augmentation_for("tactile", TactileSettings()) == TactileAugment()


def test_heading_turns_about_y_only():
    cloud = BATCHES["point_cloud"][:1, :300]
    turned = dataclasses.replace(STILL, points=300)(cloud, Draws(0, 0, [0]))
    unit = cloud - cloud.mean(dim=1, keepdim=True)
    unit = unit / unit.norm(dim=-1).max()
    torch.testing.assert_close(turned[..., 1], unit[..., 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(turned.norm(dim=-1), unit.norm(dim=-1), atol=1e-5, rtol=0)
    assert not torch.allclose(turned, unit, atol=0.1)


def test_rotations_are_right_handed():
    quarter = torch.tensor([torch.pi / 2])
    x, y, z = torch.eye(3)
    for axis, start, end in ((0, y, z), (1, z, x), (2, x, y)):
        torch.testing.assert_close(_rotation_about(axis, quarter)[0] @ start, end, atol=1e-6, rtol=0)


def test_up_axis_is_swapped_as_often_as_asked():
    tall = torch.randn(200, 64, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.01, 1.0, 0.01])
    up = dataclasses.replace(STILL, points=64, swap_up=0.5)(tall, Draws(0, 0, range(200))).std(dim=1).argmax(dim=1)
    shares = torch.bincount(up, minlength=3) / 200
    torch.testing.assert_close(shares, torch.tensor([0.125, 0.5, 0.375]), atol=0.1, rtol=0)


def test_clouds_end_in_the_unit_ball():
    clouds = PointCloudAugment(points=200)(BATCHES["point_cloud"] * 7 + 3, Draws(0, 0, range(6)))
    torch.testing.assert_close(clouds.mean(dim=1), torch.zeros(6, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(clouds.norm(dim=-1).amax(dim=1), torch.ones(6), atol=1e-5, rtol=0)


def test_a_cut_takes_one_side_and_no_more_than_it_may():
    ball = torch.nn.functional.normalize(torch.randn(20, 512, 3, generator=torch.Generator().manual_seed(2)), dim=-1)
    kept = dataclasses.replace(STILL, half_space=1.0)._kept(ball, Draws(0, 0, range(20)))
    share = kept.float().mean(dim=1)
    assert share.min() >= 0.55 - 1 / 512
    assert share.max() <= 1.0
    lost = torch.stack([cloud[~mask].mean(dim=0).norm() for cloud, mask in zip(ball, kept) if mask.sum() < 400])
    assert (lost > 0.5).all()  # what is gone lies together


def test_a_scan_sees_the_near_side_of_a_ball():
    ball = torch.nn.functional.normalize(torch.randn(1, 8000, 3, generator=torch.Generator().manual_seed(2)), dim=-1)
    toward = torch.tensor([[0.0, 0.0, 1.0]])
    seen = _visible(ball, toward, ball[..., 2], grid=24)[0]
    assert seen[ball[0, :, 2] > 0.7].all()
    inner = ball[0, :, :2].norm(dim=-1) < 0.8  # away from the rim, where both sides meet
    assert seen[(ball[0, :, 2] < -0.3) & inner].float().mean() < 0.02


def test_fewer_points_than_asked_are_repeated():
    thin = dataclasses.replace(STILL, fewest=50, most=60)(BATCHES["point_cloud"], Draws(0, 0, range(6)))
    assert thin.shape == (6, 512, 3)
    assert all(50 <= len(cloud.unique(dim=0)) <= 61 for cloud in thin)


def test_audio_masks_look_like_padding():
    quiet = AudioAugment(mixup=0, noise=0, roll=0)
    clips = torch.zeros(40, 100, 32)
    hidden = quiet(clips, Draws(0, 0, range(40))) != 0
    padding = torch.tensor(4.2677393 / 4.5689974)
    torch.testing.assert_close(quiet(clips, Draws(0, 0, range(40)))[hidden].unique(), padding[None])
    columns, rows = hidden.all(dim=1).sum(dim=1), hidden.all(dim=2).sum(dim=1)  # whole bins, whole frames
    assert 0 < columns.max() <= 12
    assert 12 < rows.max() <= 48


def test_audio_mixing_keeps_the_louder_clip():
    mix = AudioAugment(mixup=1, frequency_mask=0, time_mask=0, noise=0, roll=0, mean=0, std=1)
    clips = torch.tensor([0.0, 3.0])[:, None, None].expand(2, 5, 4)
    mixed = mix(clips, Draws(0, 0, [0, 1]))
    share = 1 - (mixed[1].exp() - 1) / (torch.tensor(3.0).exp() - 1)  # power: (1 - s) e³ + s
    assert share.min() >= 0
    assert share.max() <= 0.4


def test_audio_rolls_in_time():
    roll = AudioAugment(mixup=0, frequency_mask=0, time_mask=0, noise=0, roll=10)
    clip = torch.arange(50.0)[None, :, None].expand(30, 50, 2)
    shift = roll(clip, Draws(0, 0, range(30)))[:, 0, 0]
    assert set(((-shift) % 50).tolist()) <= {*range(11), *range(40, 50)}
    assert len(shift.unique()) > 5


def test_tactile_without_range_is_the_identity_up_to_flips():
    plain = TactileAugment(smallest_crop=1.0, degrees=0.0)
    frames = BATCHES["tactile"]
    for frame, varied in zip(frames, plain(frames, Draws(0, 0, range(6)))):
        flips = [frame, frame.flip(1), frame.flip(2), frame.flip(1, 2)]
        assert any(torch.allclose(varied, flipped, atol=1e-4) for flipped in flips)


def test_depth_erases_one_rectangle():
    erase = DepthAugment(smallest_crop=1.0, erase=1.0)
    holes = erase(torch.ones(20, 1, 28, 28), Draws(0, 0, range(20)))[:, 0] == 0
    for hole in holes:
        rows, columns = hole.any(dim=1), hole.any(dim=0)
        assert torch.equal(hole, rows[:, None] & columns[None, :])
        assert 0 < rows.sum() <= 12
        assert 0 < columns.sum() <= 12
    assert (DepthAugment(smallest_crop=1.0, erase=0.0)(torch.ones(3, 1, 8, 8), Draws(0, 0, range(3))) == 1).all()


def still_depth(**values):
    return DepthAugment(smallest_crop=1.0, erase=0.0, **values)


def disc(count=20, size=28):
    """A disc of disparity 5 before nothing."""
    place = torch.linspace(-1, 1, size)
    inside = place[:, None] ** 2 + place**2 < 0.5
    missing = still_depth().missing
    return torch.where(inside, (5 / 75 - 0.0418) / 0.0295, missing).expand(count, 1, size, size).clone(), inside


def changed(varied, maps):
    return (varied - maps).abs() > 1e-3  # resampling in place rounds


def test_depth_defaults_are_the_recipes():
    batch, draws = BATCHES["depth"], Draws(0, 0, range(6))
    side, flip = draws.uniform(low=0.6), draws.uniform().lt(0.5).float() * 2 - 1
    centre = draws.uniform(2, low=-1.0) * (1 - side[:, None])
    cut = _resample(batch, torch.diag_embed(torch.stack([side * flip, side], dim=1)), centre)
    assert torch.equal(DepthAugment(erase=0.0)(batch, Draws(0, 0, range(6))), cut)


def test_depth_missing_is_what_the_reader_makes_of_nothing():
    assert still_depth().missing == pytest.approx(read(np.zeros((30, 30)), "depth").tensor.max().item(), abs=1e-5)


def test_depth_noise_is_even_in_disparity_and_none_where_nothing_is():
    maps, inside = disc()
    varied = still_depth(noise=0.1)(maps, Draws(0, 0, range(20)))
    spread = (varied - maps)[:, 0, inside].std(dim=1)
    assert 0 < spread.max() < 0.12
    assert (varied[:, 0, ~inside] == still_depth().missing).all()


def test_depth_is_lost_at_edges_and_anywhere():
    maps, inside = disc()
    edges = still_depth(edge=1.0)(maps, Draws(0, 0, range(20)))
    lost = changed(edges, maps)[:, 0].any(dim=0)
    assert lost.any()
    assert not lost[8:20, 8:20].any()  # the middle of the disc
    dropped = still_depth(drop=0.2)(maps, Draws(0, 0, range(20)))
    shares = changed(dropped, maps)[:, 0, inside].float().mean(dim=1)
    assert 0 < shares.mean() < 0.2
    assert (dropped[changed(dropped, maps)] == still_depth().missing).all()


def test_depth_gets_a_background_behind_the_thing_only():
    maps, inside = disc()
    walled = still_depth(wall=1.0)(maps, Draws(0, 0, range(20)))
    torch.testing.assert_close(walled[:, 0, inside], maps[:, 0, inside])
    behind = (walled[:, 0, ~inside] * 0.0295 + 0.0418) * 75 / 5  # of the disc's disparity
    assert (behind > 0.15).all()
    assert (behind < 1.25).all()
    half = still_depth(wall=0.5)(maps, Draws(0, 0, range(20)))
    assert 4 <= changed(half, maps).flatten(1).any(dim=1).sum() <= 16


def test_depth_moves_nearer_by_a_factor_of_disparity():
    maps, inside = disc()
    near = still_depth(nearer=(0.5, 2.0))(maps, Draws(0, 0, range(20)))
    factors = (near[:, 0, inside] * 0.0295 + 0.0418) * 75 / 5
    torch.testing.assert_close(factors.std(dim=1), torch.zeros(20), atol=1e-4, rtol=0)
    assert 0.5 <= factors.min() < 0.8
    assert 1.3 < factors.max() <= 2.0
    assert not changed(near, maps)[:, 0, ~inside].any()


def test_eeg_shifts_and_silences():
    vary = EegAugment(noise=0.0, drop_channels=0.5, shift=4)
    ramp = torch.arange(1.0, 65.0).expand(30, 16, 64)
    varied = vary(ramp, Draws(0, 0, range(30)))
    silent = (varied == 0).all(dim=2)
    assert 0 < silent.float().mean() < 0.5
    shift = 32 - varied[:, :, 31][~silent]
    assert shift.abs().max() == 4


def test_unknown_settings_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'jitter'"):
        PointCloudAugment.from_dict({"jiter": 1})
