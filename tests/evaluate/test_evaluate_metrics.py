"""Metrics against cases worked out by hand and by plain numpy."""

import numpy as np
import pytest
import torch

from lens_plugins.evaluate.metrics import CaptionRecall, MeanAveragePrecision, TopK, confusion, recall

EYE = torch.eye(4)


def test_top_k_counts_all_rows_alike_and_by_class():
    """Three rows of class 0, two of them right; one of class 1, wrong."""
    vectors = torch.stack([EYE[0], EYE[0], EYE[2], EYE[3]])
    found = TopK((1,), by_class=True)(vectors, EYE, [0, 0, 0, 1])
    assert found == {"top1": pytest.approx(50.0), "top1 by class": pytest.approx(100 * (2 / 3 + 0) / 2)}


def test_merged_classes_are_replaced_after_the_ranking():
    """Class 2's row is nearest to class 3; the two count as one."""
    vectors = torch.stack([EYE[3], EYE[0]])
    assert TopK((1,))(vectors, EYE, [2, 0]) == {"top1": pytest.approx(50.0)}
    assert TopK((1,), merged=(0, 1, 9, 9))(vectors, EYE, [2, 0]) == {"top1": pytest.approx(100.0)}


def test_more_k_than_classes_is_everything():
    assert TopK((5,))(EYE[:1], EYE[:3], [2]) == {"top5": pytest.approx(100.0)}
    assert TopK((5,)).chance(3, [2]) == {"top5": pytest.approx(100.0)}


@pytest.mark.parametrize("metric", [TopK((1, 3)), TopK((1, 3), merged=(0, 1, 7, 7, 7, 5))])
def test_chance_is_what_random_rankings_reach(metric):
    rng, targets = np.random.default_rng(0), [0, 2, 5, 4]
    runs = []
    for _ in range(4000):
        vectors = torch.from_numpy(rng.standard_normal((4, 6)).astype(np.float32))
        runs.append(list(metric(vectors, torch.eye(6), targets).values()))
    assert list(metric.chance(6, targets).values()) == pytest.approx(np.mean(runs, axis=0), abs=2.0)


def test_chance_of_recall_is_what_random_rankings_reach():
    metric, rng, runs = CaptionRecall(((0,), (0,), (1, 2), (3,)), ks=(1, 2)), np.random.default_rng(0), []
    for _ in range(4000):
        vectors = torch.from_numpy(rng.standard_normal((4, 4)).astype(np.float32))
        runs.append(list(metric(vectors, torch.eye(4), [0, 1, 2, 3]).values()))
    assert list(metric.chance(4, [0, 1, 2, 3]).values()) == pytest.approx(np.mean(runs, axis=0), abs=2.0)


def test_recall_takes_any_right_answer():
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.1, 0.2, 0.9]])
    right = torch.tensor([[False, True, False], [True, True, False]])
    assert recall(scores, right, (1, 2, 3)) == {1: 0.0, 2: 100.0, 3: 100.0}


def test_a_perfect_ranking_has_a_precision_of_one():
    vectors = torch.stack([EYE[0], EYE[1], EYE[1]])
    found = MeanAveragePrecision()(vectors, EYE, [(0,), (1,), (1,)])
    assert found == {"mAP": pytest.approx(100.0), "classes": 2.0}


def test_confusion_counts_right_down_and_nearest_across():
    table = confusion(torch.stack([EYE[0], EYE[1], EYE[1]]), EYE[:3], [0, 0, 1])
    assert table.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
