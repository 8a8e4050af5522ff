"""Clouds, groups of near-duplicates and held-out objects."""

from __future__ import annotations

import numpy as np
import pytest
from pocket.data import clouds, split

from lens_plugins.errors import InputError


def box(sides, seed, count=2048):
    """A cloud even on the surface of a box."""
    corner = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    quads = [corner[:, order] + shift for order, shift in FACES]
    triangles = np.array([q[list(i)] for q in quads for i in ((0, 1, 2), (0, 2, 3))]) * np.array(sides)
    points, _ = clouds.sample_surface(triangles, count, np.random.default_rng(seed))
    return clouds.normalise(points)


FACES = [
    (order, np.array(shift, float))
    for order, axis in (([0, 1, 2], 2), ([0, 2, 1], 1), ([2, 0, 1], 0))
    for shift in ([0, 0, 0], [float(axis == i) for i in range(3)])
]


def test_samples_follow_the_area_and_carry_unit_normals():
    small = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]]], float)
    large = small * 3 + np.array([10, 0, 0])
    points, normals = clouds.sample_surface(np.concatenate([small, large]), 1000, np.random.default_rng(0))
    assert (points[:, 0] >= 10).sum() == pytest.approx(900, abs=3)
    np.testing.assert_allclose(np.abs(normals[:, 2]), 1, atol=1e-6)


def test_a_surface_without_area_is_refused():
    with pytest.raises(InputError, match="2 triangles has an area of 0; it must be above 0"):
        clouds.sample_surface(np.zeros((2, 3, 3)), 10, np.random.default_rng(0))


def test_normalised_clouds_are_centred_and_unit():
    cloud = clouds.normalise(np.random.default_rng(0).normal(5, 3, (100, 3)))
    np.testing.assert_allclose(cloud.mean(0), 0, atol=1e-9)
    assert np.linalg.norm(cloud, axis=1).max() == pytest.approx(1)


def test_one_shape_in_two_samples_turned_and_scaled_is_found_and_another_is_not():
    a, b, c = box((1, 2, 3), 0), box((3, 2, 1), 1) * 0.5, box((1, 1, 1), 2)
    pairs = {(i, j): ratio for i, j, ratio in clouds.shape_ratios([a, b, c], 1.2)}
    assert set(pairs) == {(0, 1)}
    assert 0.8 < pairs[0, 1] < 1.2


def test_groups_join_shapes_and_families():
    shapes = {"a": box((1, 2, 3), 0), "b": box((1, 2, 3), 1), "c": box((1, 1, 1), 2), "d": box((3, 1, 1), 3)}
    bases = {"a": "x", "b": "y", "c": "S||square plug", "d": "S||square plug"}
    groups = split.find_groups(dict.fromkeys(shapes, "box"), bases, shapes)
    assert groups["a"] == groups["b"] != groups["c"] == groups["d"]
    apart = split.find_groups({"a": "box", "b": "crate"}, bases, shapes)
    assert apart["a"] != apart["b"]


@pytest.mark.parametrize(
    ("name", "stem", "base"),
    [
        ("Pine under snow", "pineSnow", "S|Ann|pine"),
        ("Vase", "vase2", "S|Ann|vase"),
        ("Car", "concept-sedan-01", "S|Ann|concept-sedan"),
        ("Square type A plug", "anything", "S||square plug"),
    ],
)
def test_base_names_lose_counters_and_variants(name, stem, base):
    assert split.base_name("S", "Ann", name, stem) == base


def test_a_quarter_is_held_out_by_whole_groups_and_stays_so():
    groups = {f"o{i}": f"g{i // 2}" for i in range(40)}
    sides = split.split_groups(groups)
    assert 9 <= sum(side == "test" for side in sides.values()) <= 11
    assert all(sides[f"o{i}"] == sides[f"o{i + 1}"] for i in range(0, 40, 2))
    assert split.split_groups(dict(reversed(groups.items()))) == sides


def test_kept_objects_train_and_a_class_of_large_groups_still_has_a_test():
    groups = {f"o{i}": f"g{i}" for i in range(8)}
    held = [key for key, side in split.split_groups(groups).items() if side == "test"]
    assert len(held) == 2
    kept = split.split_groups(groups, keep=held)
    assert all(kept[key] == "train" for key in held)
    assert sum(side == "test" for side in kept.values()) == 2
    large = split.split_groups({f"o{i}": f"g{i // 4}" for i in range(8)})
    assert sum(side == "test" for side in large.values()) == 4
    assert set(split.split_groups({f"o{i}": "g" for i in range(8)}).values()) == {"train"}
