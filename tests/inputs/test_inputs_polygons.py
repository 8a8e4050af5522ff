from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_files import area, outline_area, random_polygon

from lens_plugins.errors import InputError
from lens_plugins.inputs import polygons
from lens_plugins.inputs.polygons import triangulate

PATH = Path("a.obj")


def cut(*outlines) -> np.ndarray:
    """The triangles of outlines (n, 2) or (n, 3)."""
    padded = [np.pad(np.asarray(outline, float), ((0, 0), (0, 3 - np.shape(outline)[1]))) for outline in outlines]
    counts = np.array([len(outline) for outline in padded])
    return triangulate(np.concatenate(padded), np.arange(counts.sum()), counts, PATH)


L_SHAPE = [(2, 1), (1, 1), (1, 2), (0, 2), (0, 0), (2, 0)]
ARROW = [(0, 0), (4, 2), (0, 4), (1, 2)]
KEYHOLE = [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)]  # a square with a hole
COMB = [(0, 0), (7, 0), (7, 5), (6, 5), (6, 1), (5, 1), (5, 5), (4, 5), (4, 1), (3, 1), (3, 5), (2, 5), (2, 1), (1, 1),
        (1, 5), (0, 5)]  # fmt: skip
STRAIGHT = [(0, 0), (1, 0), (2, 0), (3, 0), (3, 3), (2, 3), (2, 2), (2, 1), (1, 1), (0, 1)]


@pytest.mark.parametrize(("outline", "expected"), [(L_SHAPE, 3), (ARROW, 6), (KEYHOLE, 12), (COMB, 23), (STRAIGHT, 5)])
def test_concave_polygons_have_their_own_area(outline, expected):
    for turned in (np.roll(outline, shift, 0) for shift in range(len(outline))):
        for way in (turned, turned[::-1]):
            triangles = cut(way)
            assert len(triangles) == len(outline) - 2
            assert area(triangles) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_any_simple_polygon_has_its_own_area(seed):
    outline = random_polygon(seed)
    triangles = cut(outline)
    assert len(triangles) == len(outline) - 2
    assert area(triangles) == pytest.approx(outline_area(outline))


def test_polygons_keep_their_order_and_their_sizes():
    outlines = [random_polygon(seed) for seed in range(30)]
    triangles = cut(*outlines)
    places = np.cumsum([0, *(len(outline) - 2 for outline in outlines)])
    for outline, start, end in zip(outlines, places, places[1:]):
        assert area(triangles[start:end]) == pytest.approx(outline_area(outline))


def test_convex_polygons_are_fans_from_their_first_corner():
    triangles = cut([(0, 0), (1, 0), (2, 1), (1, 2), (0, 2)])
    assert triangles[:, 0].tolist() == [[0, 0, 0]] * 3
    assert triangles[0].tolist() == [[0, 0, 0], [1, 0, 0], [2, 1, 0]]


def test_spirals_and_polygons_that_cross_themselves_end():
    turn = np.linspace(0, 12 * np.pi, 150)
    spiral = np.concatenate(
        [(np.stack([np.cos(turn), np.sin(turn)], 1) * (turn[:, None] + d))[:: 2 * d - 1] for d in (2, 1)]
    )
    assert len(cut(spiral)) == len(spiral) - 2
    tangle = np.random.default_rng(0).normal(size=(40, 2))
    assert len(cut(tangle)) == 38


def test_edges_and_points_have_no_triangles():
    assert len(cut([(0, 0), (1, 0)], L_SHAPE, [(0, 0)])) == 4
    assert triangulate(np.zeros((3, 3)), np.zeros(0, int), np.zeros(0, int), PATH).shape == (0, 3, 3)


@pytest.mark.parametrize("corner", [-1, 3, 10**12, 0.5, np.nan, np.inf])
def test_corners_that_are_no_vertices(corner):
    with pytest.raises(InputError, match=r"a\.obj names vertex .* in face 2, but has 3 vertices"):
        triangulate(np.eye(3), np.array([0, 1, 2, 0, corner, 1]), np.array([3, 3]), PATH)


def test_the_number_of_triangles_and_the_work_are_bounded(monkeypatch):
    monkeypatch.setattr(polygons, "MAX_TRIANGLES", 5)
    with pytest.raises(InputError, match=r"over 5 triangles \(8 so far\)"):
        cut(L_SHAPE, L_SHAPE)
    monkeypatch.setattr(polygons, "_MAX_STEPS", 20)
    with pytest.raises(InputError, match="polygons of 6 corners that are too entangled"):
        cut(L_SHAPE)
