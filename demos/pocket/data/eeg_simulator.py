"""A simulator of what an EEG cap records when people look at things. Nothing here comes from a real head.

**Head.** 128 electrodes on a spiral over the upper part of a sphere of radius 1 (x right, y front, z up). A source is a
current dipole inside it; an electrode sees it as in an endless even conductor, m · (r − p) / |r − p|³, against the
average of all electrodes.

**Evoked response**, locked to the picture's onset at sample 0: three waves that any picture evokes (P1 at 100 ms and
N1 at 170 ms over the back of the head, P2 at 230 ms) and, for each class, four of its own: dipoles at places, with
orientations, latencies (100 to 400 ms), widths and signs that the class fixes. That classes differ so much is the
assumption that makes the task solvable; real categories differ less.

**Everything else**: 64 sources all over the head with spectra 1/f^b (b 0.8 to 1.6) that electrodes share, so noise is
correlated in space and time; alpha rhythm at the back; 10 to 20 µV together; white sensor noise; then artefacts: eye
blinks (80 to 160 µV in front), line noise at 50 Hz, slow drift.

**People differ**: where the cap sits, where and how their sources lie, gain and delay of each wave, the frequency of
alpha, the size of everything. **Trials differ** in gain and delay of the whole response.

**Signal-to-noise ratio**: mean power of the evoked response over the mean power of the ongoing activity (background,
alpha, sensor noise; artefacts come on top), both in the band of 5 to 95 Hz, over all channels and the samples that a
lens reads; averaged over people, trials and classes. About a quarter of the evoked power is common to all classes. The
response keeps its size, 6 to 15 µV at the best moment of the best electrode; the ratio sets how much noise there is.
One trial has `SINGLE_TRIAL_DB`; a ratio above it stands for the average of `averaged(ratio)` trials, whose noise and
artefacts are that much smaller.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from lens_plugins.inputs.eeg import BAND_HZ, EegSettings

__all__ = [
    "CHANNELS",
    "EPOCH",
    "LABELS",
    "RATE",
    "SINGLE_TRIAL_DB",
    "Parts",
    "Trial",
    "averaged",
    "band",
    "montage",
    "parts",
    "prepare",
    "simulate",
]

LABELS = (
    "chair", "table", "lamp", "sofa", "bed", "car", "person", "plant", "bottle", "door", "bicycle", "toilet",
)  # fmt: skip
CHANNELS, RATE, EPOCH = 128, 1000, 460  # electrodes, Hz, samples of a trial
AROUND = 410  # samples simulated before and after, so that filters have no edges
LENGTH = AROUND + EPOCH + AROUND
SEEN = slice(AROUND + EegSettings().start, AROUND + EegSettings().stop)  # what a lens reads

SINGLE_TRIAL_DB = -20.0
SOURCES = 64
COMMON = (  # latency and width in ms, cycles in Hz, amplitude, places of the two sides
    (100.0, 22.0, 9.0, 0.8, ((-0.35, -0.65, 0.0), (0.35, -0.65, 0.0))),
    (170.0, 26.0, 8.0, -1.0, ((-0.6, -0.45, -0.1), (0.6, -0.45, -0.1))),
    (230.0, 40.0, 5.0, 0.7, ((-0.1, -0.1, 0.75), (0.1, -0.1, 0.75))),
)
OWN = 4  # waves of a class
_EYES = np.array([(-0.33, 0.85, -0.25), (0.33, 0.85, -0.25)])
_SEED = 20_261_124


@dataclass(frozen=True, order=True)
class Trial:
    """Who looked at what, for which time."""

    subject: int
    label: str
    number: int


@dataclass(frozen=True)
class Parts:
    """The three parts of a recording around one trial, each (128, LENGTH) in microvolts."""

    evoked: np.ndarray
    ongoing: np.ndarray
    artefacts: np.ndarray


@dataclass(frozen=True)
class _Waves:
    """Evoked waves: W of them."""

    places: np.ndarray  # (W, 3)
    moments: np.ndarray  # (W, 3)
    latency: np.ndarray  # (W,) ms
    width: np.ndarray  # (W,) ms, standard deviation of the envelope
    cycles: np.ndarray  # (W,) Hz
    phase: np.ndarray  # (W,)
    size: np.ndarray  # (W,) relative, with sign

    def over_time(self, delay: np.ndarray) -> np.ndarray:  # (W,) ms -> (W, LENGTH)
        time = (np.arange(LENGTH) - AROUND) * 1000 / RATE - (self.latency + delay)[:, None]
        swing = np.cos(2 * np.pi * self.cycles[:, None] * time / 1000 + self.phase[:, None])
        return self.size[:, None] * swing * np.exp(-0.5 * (time / self.width[:, None]) ** 2)


@dataclass(frozen=True)
class _Subject:
    """One person, as the simulator draws them; C electrodes, S sources, A alpha sources."""

    electrodes: np.ndarray  # (C, 3)
    background: np.ndarray  # (S, C) µV
    slopes: np.ndarray  # (S,) exponents of 1/f
    alpha: np.ndarray  # (A, C) µV
    alpha_hz: float
    sensor: float  # µV
    blink: np.ndarray  # (C,) µV
    line: np.ndarray  # (C,) µV
    drift: np.ndarray  # (C,) µV
    ongoing_power: float  # expected, in the band, µV²


def montage() -> np.ndarray:  # (128, 3)
    """Electrodes in a golden spiral from the vertex down to 20 degrees below the widest circle."""
    lowest = np.cos(np.radians(110))
    z = 1 - (np.arange(CHANNELS) + 0.5) / CHANNELS * (1 - lowest)
    turn = np.arange(CHANNELS) * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), z], axis=1)


def averaged(snr_db: float) -> float:
    """How many trials must be averaged for a ratio: noise falls with the square root of their number."""
    return 10 ** ((snr_db - SINGLE_TRIAL_DB) / 10)


def simulate(trial: Trial, snr_db: float) -> np.ndarray:
    """The raw recording around one trial: (128, LENGTH) µV at 1 kHz, the picture's onset at sample AROUND."""
    found = parts(trial, snr_db)
    return found.evoked + found.ongoing + found.artefacts


def prepare(raw: np.ndarray) -> np.ndarray:
    """What lenses read: band-passed 5 to 95 Hz, cut to the trial, each channel z-scored; (128, 460) float32."""
    trial = band(raw)[:, AROUND : AROUND + EPOCH]
    trial = trial - trial.mean(axis=1, keepdims=True)
    return (trial / trial.std(axis=1, keepdims=True)).astype(np.float32)


def parts(trial: Trial, snr_db: float) -> Parts:
    """The parts of `simulate`."""
    rng = _rng(3, trial.subject, LABELS.index(trial.label), trial.number)
    subject = _subject(trial.subject)
    smaller = averaged(snr_db) ** -0.5
    return Parts(_evoked(trial, subject, rng), smaller * _ongoing(subject, rng), smaller * _artefacts(subject, rng))


def _evoked(trial: Trial, subject: _Subject, rng: np.random.Generator) -> np.ndarray:  # (C, LENGTH)
    gain, delay = _lognormal(rng, 0.25), rng.normal(0, 6)
    waves, fields, delays = _of_person(trial.subject, trial.label)
    power = subject.ongoing_power * 10 ** (SINGLE_TRIAL_DB / 10)
    return np.sqrt(power / _evoked_power()) * gain * fields.T @ waves.over_time(delays + delay)


def _ongoing(subject: _Subject, rng: np.random.Generator) -> np.ndarray:  # (C, LENGTH)
    background = _shaped(rng, _slope_spectrum(subject.slopes))
    alpha = _shaped(rng, _alpha_spectrum(subject.alpha_hz, len(subject.alpha)))
    sensor = rng.standard_normal((CHANNELS, LENGTH), np.float32) * np.float32(subject.sensor)
    return subject.background.T @ background + subject.alpha.T @ alpha + sensor


def _artefacts(subject: _Subject, rng: np.random.Generator) -> np.ndarray:  # (C, LENGTH)
    time = np.arange(LENGTH) / RATE
    line = np.sin(2 * np.pi * (50 * time + rng.uniform()))
    drift = rng.normal() * (time - time.mean()) / time[-1] + np.sin(
        2 * np.pi * (rng.uniform(0.05, 0.4) * time + rng.uniform())
    )
    blinks = (rng.uniform() < 0.3) * np.exp(-0.5 * ((time - rng.uniform(0, time[-1])) / rng.uniform(0.05, 0.09)) ** 2)
    return np.outer(subject.line, line) + np.outer(subject.drift, drift) + np.outer(subject.blink, blinks)


# ---- people


@cache
def _subject(number: int) -> _Subject:
    rng = _rng(1, number)
    electrodes = montage() @ _small_turn(rng, np.radians(4)).T
    slopes = rng.uniform(0.8, 1.6, SOURCES)
    background = _fields(_inside(rng, SOURCES, 0.3, 0.85), _directions(rng, SOURCES), electrodes)
    background *= np.array([_lognormal(rng, 0.4) for _ in range(SOURCES)])[:, None]
    at_the_back = np.array([(-0.3, -0.65, 0.3), (0.0, -0.7, 0.35), (0.3, -0.65, 0.3)]) + rng.normal(0, 0.06, (3, 3))
    alpha = _fields(at_the_back, at_the_back + rng.normal(0, 0.3, (3, 3)), electrodes)
    share = rng.uniform(0.1, 0.5)  # of alpha in the whole
    total = rng.uniform(10, 20)
    background *= total * np.sqrt(1 - share**2) / np.sqrt((background**2).sum(axis=0).mean())
    alpha *= total * share / np.sqrt((alpha**2).sum(axis=0).mean())
    sensor, alpha_hz = rng.uniform(0.4, 0.9), rng.uniform(8.5, 11.5)
    blink = np.abs(_fields(_EYES, _EYES, electrodes).sum(axis=0))
    line = rng.uniform(0.3, 2) * np.array([_lognormal(rng, 0.6) for _ in range(CHANNELS)])
    return _Subject(
        electrodes,
        background.astype(np.float32),
        slopes,
        alpha.astype(np.float32),
        alpha_hz,
        sensor,
        rng.uniform(80, 160) * blink / blink.max(),
        line,
        rng.uniform(5, 20) * rng.normal(0, 1, CHANNELS),
        _expected(background, _slope_spectrum(slopes))
        + _expected(alpha, _alpha_spectrum(alpha_hz, 3))
        + sensor**2 * _gain().mean(),
    )


@cache
def _of_person(number: int, label: str) -> tuple[_Waves, np.ndarray, np.ndarray]:
    """The waves of a class in one person: waves, fields (W, C), delays (W,) ms."""
    canonical = _waves(label)
    rng, count = _rng(2, number), len(canonical.size)
    head_gain, head_delay = _lognormal(rng, 0.15), rng.normal(0, 10)
    rng = _rng(2, number, LABELS.index(label))
    places = canonical.places + rng.normal(0, 0.05, (count, 3))
    moments = canonical.moments + rng.normal(0, 0.25, (count, 3))
    gains = head_gain * np.array([_lognormal(rng, 0.2) for _ in range(count)])
    fields = _fields(places, moments, _subject(number).electrodes) * gains[:, None]
    return canonical, fields, head_delay + rng.normal(0, 6, count)


# ---- classes


@cache
def _waves(label: str) -> _Waves:
    """What a class evokes in the average head: the common waves, then its own."""
    rng = _rng(0, LABELS.index(label))
    common = [(lat, wid, hz, 0.0, 0.75 * size, place) for lat, wid, hz, size, sides in COMMON for place in sides]
    slots = 100 + 300 * (np.arange(OWN) + rng.uniform(0, 1, OWN)) / OWN  # spread over 100 to 400 ms
    own = [
        (at, rng.uniform(25, 45), rng.uniform(6, 12), rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.2), place)
        for at, place in zip(slots, _inside(rng, OWN, 0.55, 0.75))
    ]
    latency, width, cycles, phase, size = (
        np.array(column, float) for column in zip(*(row[:5] for row in common + own))
    )
    places = np.array([row[5] for row in common + own], float)
    moments = np.concatenate([places[: len(common)], _directions(rng, OWN)])
    return _Waves(places, moments, latency, width, cycles, phase, size)


@cache
def _evoked_power() -> float:
    """Of the average head, in the band, where a lens reads; mean over classes."""
    powers = []
    for label in LABELS:
        waves = _waves(label)
        trial = _fields(waves.places, waves.moments, montage()).T @ waves.over_time(np.zeros(len(waves.size)))
        powers.append((band(trial)[:, SEEN] ** 2).mean())
    return float(np.mean(powers))


# ---- fields and spectra


def _fields(places: np.ndarray, moments: np.ndarray, electrodes: np.ndarray) -> np.ndarray:
    """(S, 3), (S, 3), (C, 3) -> (S, C): potential of each dipole against the mean electrode, its largest value 1."""
    away = electrodes[None] - places[:, None]  # (S, C, 3)
    seen = (away * moments[:, None]).sum(axis=-1) / np.linalg.norm(away, axis=-1) ** 3
    seen = seen - seen.mean(axis=1, keepdims=True)
    return seen / np.abs(seen).max(axis=1, keepdims=True)


def _slope_spectrum(slopes: np.ndarray) -> np.ndarray:  # (S,) -> (S, F) amplitudes, unit power
    hz = _hz()
    spectrum = np.where(hz > 0.6, np.maximum(hz, 0.6) ** (-slopes[:, None] / 2), 0.0)
    return spectrum / np.sqrt((spectrum**2).sum(axis=1, keepdims=True))


def _alpha_spectrum(centre: float, count: int) -> np.ndarray:  # (A, F) amplitudes, unit power
    bump = np.exp(-0.5 * ((_hz() - centre) / 0.8) ** 2)
    return np.tile(bump / np.sqrt((bump**2).sum()), (count, 1))


def _shaped(rng: np.random.Generator, spectrum: np.ndarray) -> np.ndarray:
    """(S, F) amplitudes -> (S, LENGTH) noise of that spectrum, with the sum of their squares as its power."""
    real, imaginary = rng.standard_normal((2, *spectrum.shape), np.float32)
    return np.fft.irfft(spectrum * (real + 1j * imaginary), LENGTH, axis=1).astype(np.float32) * (LENGTH / 2)


def _expected(fields: np.ndarray, spectrum: np.ndarray) -> float:
    """Power in the band, mean over channels, of sources with these fields (S, C) and spectra (S, F)."""
    return float(((fields**2).mean(axis=1) * (spectrum**2 * _gain() ** 2).sum(axis=1)).sum())


@cache
def _hz() -> np.ndarray:  # (F,)
    return np.fft.rfftfreq(LENGTH, 1 / RATE)


@cache
def _gain() -> np.ndarray:  # (F,)
    """The reader's filter, a Butterworth band-pass of order 4 run both ways."""
    low, high = BAND_HZ
    hz = np.maximum(_hz(), 1e-6)
    return 1 / (1 + ((hz**2 - low * high) / (hz * (high - low))) ** 8)


def band(recording: np.ndarray) -> np.ndarray:  # (C, LENGTH) -> (C, LENGTH)
    """5 to 95 Hz alone."""
    return np.fft.irfft(np.fft.rfft(recording, axis=1) * _gain(), LENGTH, axis=1)


# ---- draws


def _rng(*numbers: int) -> np.random.Generator:
    return np.random.default_rng([_SEED, *numbers])


def _lognormal(rng: np.random.Generator, spread: float) -> float:
    """A factor whose square has the mean 1."""
    return float(np.exp(rng.normal(-(spread**2), spread)))


def _directions(rng: np.random.Generator, count: int) -> np.ndarray:  # (N, 3)
    found = rng.normal(size=(count, 3))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def _inside(rng: np.random.Generator, count: int, inner: float, outer: float) -> np.ndarray:
    """(N, 3) places in the shell between two radii that the cap covers."""
    found = _directions(rng, count)
    found[:, 2] = np.abs(found[:, 2]) - 0.2
    return found * rng.uniform(inner, outer, (count, 1)) / np.linalg.norm(found, axis=1, keepdims=True)


def _small_turn(rng: np.random.Generator, spread: float) -> np.ndarray:  # (3, 3)
    """A rotation by small angles about all three axes."""
    turn = np.eye(3)
    for axis, angle in enumerate(rng.normal(0, spread, 3)):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[first, first] = step[second, second] = np.cos(angle)
        step[second, first], step[first, second] = np.sin(angle), -np.sin(angle)
        turn = step @ turn
    return turn
