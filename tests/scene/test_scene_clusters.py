import numpy as np
import pytest
from scans_made import box

from lens_plugins.errors import InputError
from lens_plugins.scene import clusters
from lens_plugins.scene.clusters import cluster_points

pytest.importorskip("sklearn")
MIDDLES = [(1, 1, 0.4), (3, 1, 0.4), (2, 3, 0.4)]


def room(floor: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Three boxes on a floor beside a wall, and which box each point is of."""
    parts = [box(middle, side=0.6, count=4000, seed=i) for i, middle in enumerate(MIDDLES)]
    owners = [np.full(len(part), i) for i, part in enumerate(parts)]
    if floor:
        flat = np.random.default_rng(9).uniform(0, 4, (20000, 2))
        parts += [np.c_[flat, np.zeros(len(flat))], np.c_[np.zeros(len(flat)), flat]]
        owners.append(np.full(2 * len(flat), -1))
    return np.concatenate(parts), np.concatenate(owners)


@pytest.mark.parametrize("floor", [True, False])
def test_things_on_a_floor_are_told_apart(floor):
    points, owners = room(floor)
    found = cluster_points(points, "room")
    assert sorted(set(found[owners >= 0]) - {-1}) == [1, 2, 3]
    for box_number in range(3):
        own = found[owners == box_number]
        most = np.bincount(own[own > 0]).argmax()
        assert (own == most).mean() > 0.8  # without a floor, the highest or lowest layer may be taken for one
        assert (found[owners != box_number] == most).mean() < 0.01
    assert (found[owners < 0] == -1).all()


def test_the_same_points_give_the_same_clusters():
    points, _ = room()
    assert (cluster_points(points, "room") == cluster_points(points, "room")).all()


def test_big_rooms_get_a_coarser_grid(monkeypatch):
    monkeypatch.setattr(clusters, "_MOST_CELLS", 3000)
    points, owners = room()
    assert len(set(cluster_points(points, "room")[owners >= 0]) - {-1}) == 3


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (box((0, 0, 0), side=5000, count=500), r"room spans 49\d\d.* metres; a room spans less than 1000"),
        (np.zeros((5, 3)), "room spans 0 metres"),
        (box((0, 0, 0), side=5, count=40), "room falls into 0 clusters of at least 30 cells of 2 cm"),
    ],
)
def test_rooms_without_clusters(points, said):
    with pytest.raises(InputError, match=said):
        cluster_points(points, "room")
