"""Simulated touch: frames follow from their numbers, the reader takes them, sides are disjoint, materials differ."""

import numpy as np
import pytest
from PIL import Image
from pocket.data.gelsight import GelConfig, frame
from pocket.data.materials import MATERIALS, SEEDS, Surface, make_surface
from pocket.data.pack import read_lines
from pocket.senses import tactile

from lens_plugins.bench.heldout import find_sense
from lens_plugins.errors import ConfigError
from lens_plugins.inputs import read
from lens_plugins.train.manifest import read_manifest


def test_a_frame_follows_from_its_numbers():
    surface = make_surface("gravel", 5)
    np.testing.assert_array_equal(frame(surface, 0), frame(make_surface("gravel", 5), 0))
    assert np.abs(frame(surface, 0).astype(int) - frame(surface, 1)).mean() > 2
    assert np.abs(frame(surface, 0).astype(int) - frame(surface, 0, GelConfig(seed=21))).mean() > 2


def test_the_reader_takes_a_frame():
    shown = frame(make_surface("brick", 0), 0)
    assert shown.shape == (128, 128, 3)
    assert shown.dtype == np.uint8
    assert read(shown, "tactile").tensor.shape == (3, 224, 224)


def test_colour_is_not_felt():
    one, other = make_surface("carpet", 1, "red"), make_surface("carpet", 1, "blue")
    assert np.abs(one.albedo - other.albedo).mean() > 0.1
    np.testing.assert_array_equal(frame(one, 0), frame(other, 0))


def test_slopes_are_lit_by_the_lamp_that_they_face():
    """A roof whose ridge runs down the middle: at the left lamp's side the lower left is brighter in its colour."""
    across = np.tile(-np.abs(np.arange(192) - 95.5), (192, 1)).astype(np.float32)
    sensor = GelConfig(turn=1e-9, shift=1e-9, zoom=(1, 1), depth=(60, 60), noise=0, tilt=0, fall_off=0)
    shown = frame(Surface("roof", 0, "gray", np.ones((192, 192, 3), np.float32), across, 0.0), 0, sensor).astype(float)
    left, right = shown[40:90, 30:54].mean((0, 1)), shown[40:90, 76:100].mean((0, 1))
    assert left[1] - right[1] > 20  # the green lamp stands at 210 degrees, to the left
    assert right[2] - left[2] > 20  # the blue one at 330, to the right


def test_a_sensor_refuses_an_empty_range():
    with pytest.raises(ConfigError, match=r"zoom is 1\.0 to 0\.5"):
        GelConfig(zoom=(1.0, 0.5))


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(tactile, "MATERIALS", {name: MATERIALS[name] for name in ("sand", "metal mesh")})
    monkeypatch.setattr(tactile, "SURFACES", {"train": 2, "val": 1})
    monkeypatch.setattr(tactile, "PER_MATERIAL", 2)


def test_pairs_are_a_manifest(few, tmp_path):
    manifest = tactile.pairs(tmp_path)
    found = read_manifest(manifest, "tactile")
    assert len(found) == 2 * (2 * 4 + 1 * 2)
    assert {pair.split for pair in found} == {"train", "val"}
    first = next(pair for pair in found if "metal-mesh" in pair.id)
    assert first.texts == ("a metal mesh", "metal mesh")
    assert len(first.images) == tactile.PICTURES
    assert read(first.images[0]).tensor.shape == (3, 224, 224)
    assert tactile.pairs(tmp_path) == manifest


def test_nothing_held_out_is_trained_on(few, tmp_path):
    assert tactile.write_heldout(tmp_path, tmp_path / "held") == 2 * tactile.PER_MATERIAL
    seeds = {row["seed"] for row in read_lines(tmp_path / "held" / "index.jsonl")}
    assert not seeds & {seed for side in ("train", "val", "test") for seed in SEEDS[side]}


def test_held_out_cases_come_back(few, tmp_path):
    tactile.write_heldout(tmp_path, tmp_path)
    sense = find_sense("tactile")
    cases, seen = sense.cases(tmp_path), sense.pictures(tmp_path)
    assert [case.label for case in cases] == [case.label for case in seen]
    assert {case.label for case in cases} == {"sand", "metal mesh"}
    row = read_lines(tmp_path / "index.jsonl")[0]
    kept = np.asarray(Image.open(cases[0].source), float)
    assert np.abs(kept - frame(make_surface(row["label"], row["seed"]), 0)).mean() < 6
    assert read(seen[0].source).modality == "image"


def features(shown):
    """How strongly each band of lengths is there, and how much one direction prevails in it."""
    grey = shown.astype(float).mean(-1)
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2((grey - grey.mean()) * np.outer(*[np.hanning(128)] * 2)))) ** 2
    y, x = np.mgrid[-64:64, -64:64]
    radius, found = np.hypot(x, y), []
    for low, high in ((2, 4), (4, 6), (6, 9), (9, 13), (13, 19), (19, 28), (28, 40), (40, 60)):
        ring = (radius >= low) & (radius < high)
        power = spectrum[ring]
        twice = np.exp(2j * np.arctan2(y, x)[ring])
        fourfold = np.abs((power * twice**2).sum()) / power.sum()
        found += [np.log(power.mean()), np.abs((power * twice).sum()) / power.sum(), fourfold]
    slope = np.abs(np.diff(grey, axis=0)) ** 2
    return np.array([*found, np.log(shown.std()), np.log((slope**2).mean() / slope.mean() ** 2)])


def test_materials_can_be_told_apart_by_simple_features():
    """Nearest centroid over every other material, on surfaces that it did not see; chance is 12 %."""
    names = list(MATERIALS)[::2]
    table = np.array(
        [
            [[features(frame(surface, n)) for n in (0, 1)] for surface in map(make_surface, [m] * 6, range(6))]
            for m in names
        ]
    )  # (M, 6, 2, F)
    known, new = table[:, :4].reshape(len(names), 8, -1), table[:, 4:].reshape(len(names), 4, -1)
    mean, spread = known.mean((0, 1)), known.std(1).mean(0)
    centroids = ((known - mean) / spread).mean(1)  # (M, F)
    distance = np.linalg.norm(((new - mean) / spread)[:, :, None] - centroids, axis=-1)  # (M, 4, M)
    right = (distance.argmin(-1) == np.arange(len(names))[:, None]).mean()
    assert right > 0.5, right
