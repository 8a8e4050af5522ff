import numpy as np
import pytest
import torch

from lens_plugins.errors import InputError
from lens_plugins.inputs import sampling
from lens_plugins.inputs.sampling import farthest_point_sample

LINE = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [4, 0, 0], [10, 0, 0], [6, 0, 0]]])


def test_order_on_a_line_is_the_one_worked_out_by_hand():
    # from 0: farthest is 10; then 4 (4 from 0) beats 6 (4 from 10) by its index; then 6 (2 from 4), then 1
    assert farthest_point_sample(LINE, 5).tolist() == [[0, 3, 2, 4, 1]]
    # from 4: farthest is 10 (6 away), then 0 (4 away), then 6 (2 away)
    assert farthest_point_sample(LINE, 4, start=2).tolist() == [[2, 3, 0, 4]]


def test_equals_the_plain_loop_for_each_cloud_of_a_batch():
    points = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 200, 3)).astype(np.float32))
    found = farthest_point_sample(points, 40, start=7)
    assert found.dtype == torch.int64
    for cloud, indices in zip(points, found):
        taken = [7]
        while len(taken) < 40:
            distances = torch.stack([((cloud - cloud[i]) ** 2).sum(-1) for i in taken]).min(0).values
            taken.append(int(distances.argmax()))
        assert indices.tolist() == taken


def test_the_path_for_other_devices_gives_the_same_indices():
    points = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 300, 3)).astype(np.float32))
    assert torch.equal(sampling._sample_batch(points, 50, 3), farthest_point_sample(points, 50, start=3))


def test_double_precision_is_kept():
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [1 + 1e-12, 0, 0]]], dtype=torch.float64)
    assert farthest_point_sample(points, 2).tolist() == [[0, 2]]
    assert farthest_point_sample(points.float(), 2).tolist() == [[0, 1]]


def test_a_cloud_without_enough_distinct_points_repeats_the_first():
    points = torch.tensor([[[1.0, 1, 1], [2, 2, 2], [2, 2, 2], [1, 1, 1]]])
    assert farthest_point_sample(points, 4).tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("points", "n", "start", "said"),
    [
        (LINE, 6, 0, "6 points needs a cloud of at least as many; this has 5"),
        (LINE, 0, 0, "of 0 points"),
        (LINE, 2, 5, "0 to 4, not 5"),
        (LINE[0], 2, 0, r"\(B, P, 3\), not \(5, 3\)"),
        (LINE * float("nan"), 2, 0, "NaN"),
    ],
)
def test_refusals_give_both_numbers(points, n, start, said):
    with pytest.raises(InputError, match=said):
        farthest_point_sample(points, n, start)
