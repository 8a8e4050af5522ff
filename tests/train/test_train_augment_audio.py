"""The variation of sounds beyond the recipe: off unless asked, and each kind does what its name says."""

from __future__ import annotations

import math

import pytest
import torch

from lens_plugins.train.augment import AudioAugment, Draws

QUIET = {"mixup": 0, "frequency_mask": 0, "time_mask": 0, "noise": 0, "roll": 0}
MEAN, STD = AudioAugment.mean, AudioAugment.std
CLIPS = 0.5 + 0.2 * torch.randn(8, 60, 32, generator=torch.Generator().manual_seed(0))  # far from the floor


def only(**values):
    """One kind of variation alone."""
    return AudioAugment(**{**QUIET, **values})


def decibels(change):
    """Change of normalised values as decibels."""
    return change * STD * 10 / math.log(10)


def test_nothing_beyond_the_recipe_happens_unless_asked():
    torch.testing.assert_close(only()(CLIPS, Draws(0, 0, range(8))), CLIPS, rtol=0, atol=0)
    recipe = AudioAugment()
    assert (recipe.gain, recipe.tone, recipe.dull, recipe.hiss, recipe.stretch, recipe.pitch) == ((0, 0), 0, 0, 0, 0, 0)
    assert recipe.pieces == 0
    assert (recipe.frequency_mask, recipe.time_mask, recipe.mixup, recipe.roll) == (12, 48, 0.5, 10)


def test_gain_is_one_number_of_decibels_a_clip():
    change = decibels(only(gain=(-20.0, 5.0))(CLIPS, Draws(0, 0, range(8))) - CLIPS)
    torch.testing.assert_close(change, change[:, :1, :1].expand_as(change), atol=1e-3, rtol=0)
    assert -20 <= change.min() < -5 < change.max() <= 5


def test_nothing_becomes_quieter_than_a_spectrogram_can_be():
    floor = (math.log(torch.finfo(torch.float32).eps) - MEAN) / STD
    muted = only(gain=(-200.0, -190.0))(CLIPS, Draws(0, 0, range(8)))
    torch.testing.assert_close(muted, torch.full_like(muted, floor))


def test_tone_is_smooth_over_frequency_and_steady_in_time():
    change = decibels(only(tone=4.0)(CLIPS, Draws(0, 0, range(8))) - CLIPS)
    torch.testing.assert_close(change, change[:, :1].expand_as(change), atol=1e-3, rtol=0)
    assert 1 < change.std() < 8
    assert change.diff(dim=2).abs().max() < 4  # from bin to bin
    assert not torch.allclose(change[0], change[1], atol=0.5)


def test_dull_clips_lose_what_is_above_some_frequency_only():
    change = decibels(only(dull=1.0)(CLIPS, Draws(0, 0, range(8))) - CLIPS)[:, 0]
    assert (change[:, : 32 // 3].abs() < 1e-3).all()
    assert (change.diff(dim=1) < 1e-3).all()  # the higher, the quieter
    assert (change[:, -1] < -0.1).any()
    some = decibels(only(dull=0.5)(CLIPS.repeat(10, 1, 1), Draws(0, 0, range(80))) - CLIPS.repeat(10, 1, 1))
    assert 0.2 < (some.abs().amax(dim=(1, 2)) > 1e-3).float().mean() < 0.8


def test_hiss_fills_silence_and_leaves_what_is_loud():
    clips = torch.full((8, 60, 32), -2.0)
    clips[:, 20:30] = 3.0
    hissed = only(hiss=1.0)(clips, Draws(0, 0, range(8)))
    assert (hissed >= clips - 1e-4).all()
    silence = decibels((hissed - clips)[:, :20])
    assert (silence.mean(dim=(1, 2)) > 5).all()
    assert decibels((hissed - clips)[:, 20:30]).mean() < 3


def test_stretch_moves_frames_apart_and_keeps_their_spectrum():
    ramp = torch.arange(60.0)[None, :, None].expand(40, 60, 4)
    stretched = only(stretch=0.25)(ramp, Draws(0, 0, range(40)))
    pace = stretched[:, 1, 0]  # frames that one frame goes on
    assert 0.75 <= pace.min() < 0.9 < 1.1 < pace.max() <= 1.25
    torch.testing.assert_close(stretched, stretched[:, :, :1].expand_as(stretched))
    slow = pace < 1
    torch.testing.assert_close(stretched[slow, :, 0], pace[slow, None] * torch.arange(60), atol=1e-3, rtol=0)
    assert stretched.max() <= 59


def test_pitch_shifts_bins_and_keeps_time():
    peak = torch.zeros(40, 5, 33)
    peak[:, :, 16] = 1.0
    shifted = only(pitch=3.0)(peak, Draws(0, 0, range(40)))
    centre = (shifted * torch.arange(33)).sum(dim=2)  # (B, T)
    torch.testing.assert_close(centre, centre[:, :1].expand_as(centre))
    assert 13 <= centre.min() < 15 < 17 < centre.max() <= 19


def test_pieces_are_repeated_until_they_fill_the_clip():
    ramp = torch.arange(60.0)[None, :, None].expand(200, 60, 4)
    cut = only(pieces=1.0, shortest_piece=5)(ramp, Draws(0, 0, range(200)))
    torch.testing.assert_close(cut, cut[:, :, :1].expand_as(cut))
    line = cut[:, :, 0]
    lengths = 1 + (line.max(1).values - line[:, 0]).long()
    for row, length in zip(line, lengths.tolist()):
        torch.testing.assert_close(row, row[0] + torch.arange(60) % length)
    assert lengths.min() >= 5
    assert lengths.min() < 10 < 55 < lengths.max() <= 60
    some = only(pieces=0.3)(ramp, Draws(0, 0, range(200)))
    assert 0.15 < (some != ramp).any(dim=1).any(dim=1).float().mean() < 0.45


@pytest.mark.parametrize(
    "kind", [{"gain": (-9.0, 9.0)}, {"tone": 3.0}, {"hiss": 1.0}, {"stretch": 0.2}, {"pitch": 2.0}, {"pieces": 1.0}]
)
def test_a_sound_varies_alike_in_every_batch(kind):
    vary = only(**kind)
    whole = vary(CLIPS, Draws(0, 0, range(8)))
    torch.testing.assert_close(vary(CLIPS[2:4], Draws(0, 0, [2, 3])), whole[2:4], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(whole, CLIPS, atol=0.05)
    assert whole.isfinite().all()
