"""The torch spectrogram against the textbook, one number at a time."""

import cmath
import math

import numpy as np
import pytest
import torch

from lens_plugins.inputs.fbank import fbank, white_noise

RATE, BINS, WINDOW, SHIFT, SIZE = 16_000, 128, 400, 160, 512


def mel(hertz: float) -> float:
    return 1127 * math.log(1 + hertz / 700)


def weight(k: int, b: int) -> float:
    step = (mel(8000) - mel(20)) / (BINS + 1)
    left, centre, right = (mel(20) + (b + i) * step for i in range(3))
    position = mel(k * RATE / SIZE)
    if left < position <= centre:
        return (position - left) / (centre - left)
    return (right - position) / (right - centre) if centre < position < right else 0.0


def plain(samples: np.ndarray, t: int) -> list[float]:
    frame = [float(x) for x in samples[t * SHIFT : t * SHIFT + WINDOW]]
    mean = sum(frame) / WINDOW
    frame = [x - mean for x in frame]
    frame = [x - 0.97 * frame[max(n - 1, 0)] for n, x in enumerate(frame)]
    frame = [x * (0.5 - 0.5 * math.cos(2 * math.pi * n / (WINDOW - 1))) for n, x in enumerate(frame)]
    roots = [cmath.exp(-2j * math.pi * n / SIZE) for n in range(SIZE)]
    power = [abs(sum(x * roots[n * k % SIZE] for n, x in enumerate(frame))) ** 2 for k in range(SIZE // 2)]
    sums = [sum(weight(k, b) * p for k, p in enumerate(power)) for b in range(BINS)]
    return [math.log(max(s, 2.0**-23)) for s in sums]


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    time = np.arange(1200) / RATE
    noise = np.random.default_rng(0).normal(0, 0.05, 1200)
    return (0.5 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * 3000 * time) + noise + 0.1).astype("f4")


def test_equals_the_plain_loop(samples):
    found = fbank(torch.from_numpy(samples), RATE, BINS)
    assert tuple(found.shape) == (6, BINS)  # 1 + (1200 − 400) // 160
    for t in (0, 3, 5):
        assert found[t].tolist() == pytest.approx(plain(samples, t), abs=1e-3)


def test_five_seconds_are_498_frames():
    assert fbank(torch.zeros(80_000), RATE, BINS).shape == (498, BINS)


def test_exactly_one_band_is_empty(samples):
    # 31.25 Hz between FFT bins: one triangle falls between two of them; kaldi-native-fbank refuses for that
    floor = math.log(2.0**-23)
    assert floor == pytest.approx(-15.9424, abs=1e-4)
    empty = (fbank(torch.from_numpy(samples), RATE, BINS) - floor).abs().amax(0) < 1e-4
    assert int(empty.sum()) == 1


def test_a_batch_of_clips_equals_one_by_one(samples):
    clips = torch.from_numpy(np.stack([samples, samples[::-1].copy()]))
    batch = fbank(clips, RATE, BINS)
    assert torch.allclose(batch[1], fbank(clips[1], RATE, BINS), atol=1e-5)


def test_a_constant_signal_is_silence():
    assert fbank(torch.full((800,), 0.7), RATE, BINS).max() == pytest.approx(-15.9424, abs=1e-3)


def test_the_power_of_white_noise_is_what_its_spectrogram_has():
    noise = torch.randn(60 * RATE, generator=torch.Generator().manual_seed(0))
    measured = fbank(noise, RATE, BINS).exp().mean(dim=0)
    expected = white_noise(RATE, BINS).float()
    heard = expected > 0  # the narrowest bins hold no line of the spectrum
    assert heard.sum() > 120
    heard[0] = False  # a part of it goes with the frame's mean
    torch.testing.assert_close(measured[heard], expected[heard], rtol=0.1, atol=0)
