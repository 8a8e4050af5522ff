import pytest
import torch

from lens_plugins.lens.geometry import gather_points, nearest_neighbors, spread_and_group, spread_centers


def sorted_by_hand(centers, points, k):
    exact = (centers.double()[:, :, None] - points.double()[:, None]).square().sum(-1)
    return exact.sort(-1).values[..., :k], exact


@pytest.mark.parametrize(("total", "k"), [(8, 8), (9, 2), (100, 7), (1000, 32), (1021, 5), (4096, 32)])
def test_neighbours_are_the_nearest(total, k):
    points = torch.randn(2, total, 3, generator=torch.Generator().manual_seed(total))
    centers = points[:, :5]
    index = nearest_neighbors(centers, points, k)
    nearest, exact = sorted_by_hand(centers, points, k)
    assert index.shape == (2, 5, k)
    torch.testing.assert_close(exact.gather(2, index), nearest)
    assert all(len(set(group.tolist())) == k for cloud in index for group in cloud)


def test_points_far_from_the_origin_keep_their_neighbours():
    """|a|² - 2ab + |b|² would lose these distances in float32: they are 1e-10 of the squared norms."""
    near = torch.randn(1, 500, 3, generator=torch.Generator().manual_seed(0)) * 0.01
    points = near + 100
    index = nearest_neighbors(points[:, :20], points, 8)
    nearest, exact = sorted_by_hand(points[:, :20], points, 8)
    torch.testing.assert_close(exact.gather(2, index), nearest)


def test_points_that_coincide_are_each_taken_once():
    points = torch.zeros(1, 200, 3)
    index = nearest_neighbors(points[:, :3], points, 16)
    assert all(len(set(group.tolist())) == 16 for group in index[0])
    points[0, 100:] = 1
    assert nearest_neighbors(points[:, :1], points, 100).sort().values[0, 0].tolist() == list(range(100))


def test_few_points_are_spread_and_then_repeat_the_first():
    points = torch.randn(2, 5, 3)
    index = spread_centers(points, 8)
    assert index.shape == (2, 8)
    assert all(set(row[:5]) == set(range(5)) and set(row[5:]) == {0} for row in index.tolist())


def test_gathering_keeps_the_shape_of_the_index():
    points = torch.arange(24.0).view(2, 4, 3)
    taken = gather_points(points, torch.tensor([[[3, 0]], [[1, 1]]]))
    assert taken.shape == (2, 1, 2, 3)
    assert taken[0, 0, 0].tolist() == [9, 10, 11]
    assert taken[1, 0, 1].tolist() == [15, 16, 17]


@pytest.mark.parametrize(("total", "count", "k"), [(700, 64, 8), (40, 64, 8), (33, 33, 33)])
def test_spread_and_group_is_sampling_then_neighbours(total, count, k):
    points = torch.randn(2, total, 3, generator=torch.Generator().manual_seed(total))
    index, neighbors = spread_and_group(points, count, k, start=3)
    assert torch.equal(index, spread_centers(points, count, 3))
    assert torch.equal(neighbors, nearest_neighbors(gather_points(points, index), points, k))


def test_spread_and_group_beyond_the_kept_distances_is_the_same(monkeypatch):
    points = torch.randn(1, 300, 3, generator=torch.Generator().manual_seed(0))
    kept = spread_and_group(points, 16, 4)
    monkeypatch.setattr("lens_plugins.lens.geometry._KEPT", 10)
    assert all(torch.equal(a, b) for a, b in zip(kept, spread_and_group(points, 16, 4)))
