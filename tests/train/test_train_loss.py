"""The loss by hand-worked values and by what it must not punish."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from lens_plugins.train import TrainConfig
from lens_plugins.train.loss import AlignmentLoss, Batch, anchor_rows, soft_targets, symmetric_contrast


def batch(images, image_keys, texts=None, text_keys=None) -> Batch:
    count = len(images)
    texts = torch.zeros(count, 0) if texts is None else texts
    keys = torch.full((count,), -1) if text_keys is None else torch.tensor(text_keys)
    return Batch(torch.zeros(count, 1), images, torch.tensor(image_keys), texts, keys)


def test_equal_keys_share_the_target():
    expected = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0.5, 0, 0.5]])
    assert torch.equal(soft_targets(torch.tensor([4, 1, 4])), expected)


def test_contrast_by_hand():
    left = torch.eye(2)
    value = symmetric_contrast(left, left, torch.tensor([0, 1]), torch.tensor(2.0))
    assert float(value) == pytest.approx(math.log(1 + math.exp(-2.0)))


def test_rows_of_one_key_are_no_negatives():
    right = torch.eye(3)
    left = right[[1, 0, 2]]  # the first two, which show the same thing, each found the other's anchor
    scale = torch.tensor(50.0)
    as_one = symmetric_contrast(left, right, torch.tensor([0, 0, 1]), scale)
    as_strangers = symmetric_contrast(left, right, torch.tensor([0, 1, 2]), scale)
    assert float(as_one) == pytest.approx(2 / 3 * 25, abs=1e-3)  # half of the probability is asked of each
    assert float(as_strangers) == pytest.approx(2 / 3 * 50, abs=1e-3)
    level = F.normalize(torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]), dim=-1)
    at_rest = symmetric_contrast(level, right, torch.tensor([0, 0, 1]), scale)
    assert float(at_rest) == pytest.approx(2 / 3 * math.log(2), abs=1e-3)


def test_rows_without_an_anchor_take_no_part():
    generator = torch.Generator().manual_seed(0)
    left, right = (F.normalize(torch.randn(4, 8, generator=generator), dim=-1) for _ in range(2))
    scale = torch.tensor(5.0)
    with_gap = symmetric_contrast(left, right, torch.tensor([0, -1, 1, 2]), scale)
    without = symmetric_contrast(left[[0, 2, 3]], right[[0, 2, 3]], torch.arange(3), scale)
    torch.testing.assert_close(with_gap, without)
    left.requires_grad_()
    none = symmetric_contrast(left, right, torch.tensor([-1, -1, -1, 0]), scale)
    none.backward()
    assert float(none.detach()) == 0
    assert left.grad.abs().sum() == 0


def test_kinds_of_anchor():
    features = torch.arange(24.0).view(1, 4, 6)
    assert torch.equal(anchor_rows(features, "cls"), features[:, :1])
    assert torch.equal(anchor_rows(features, "none"), features[:, :1])
    assert torch.equal(anchor_rows(features, "tokens"), features)
    assert torch.equal(anchor_rows(features, "pooled")[0, 1], features[0, 1:].mean(dim=0))


@pytest.mark.parametrize("kind", ["cosine", "smooth_l1"])
def test_regression_is_zero_on_the_picture_itself_and_skips_pairs_without(kind):
    features = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    config = TrainConfig(regression="pooled", regression_loss=kind)
    loss = AlignmentLoss(config, torch.zeros(8), None)
    images = anchor_rows(features, "pooled") * 3  # length does not count
    images[1] = 0
    parts = loss(features, batch(images, [0, -1, 1]))
    assert float(parts["regression"]) == pytest.approx(0, abs=1e-6)
    flipped = loss(-features, batch(images, [0, -1, 1]))
    assert float(flipped["regression"]) == pytest.approx(2 if kind == "cosine" else float(flipped["regression"]))
    assert float(flipped["regression"]) > 0.5


def test_parts_add_up_by_their_weights():
    features = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0))
    config = TrainConfig(image_weight=0.3, text_weight=0.7, regression_weight=2.0)
    loss = AlignmentLoss(config, torch.zeros(8), torch.nn.Linear(8, 6))
    images = torch.randn(4, 2, 8, generator=torch.Generator().manual_seed(1))
    parts = loss(features, batch(images, [0, 1, 2, 3], torch.randn(4, 6), [0, 0, 1, 1]))
    expected = 0.3 * parts["image"] + 0.7 * parts["text"] + 2.0 * parts["regression"]
    torch.testing.assert_close(parts["loss"], expected)


def test_the_scale_never_passes_100():
    loss = AlignmentLoss(TrainConfig(), torch.zeros(8), None)
    features = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0))
    images = torch.randn(4, 2, 8, generator=torch.Generator().manual_seed(1))
    values = []
    for scale in (100.0, 5000.0):
        loss.log_scales.data.fill_(math.log(scale))
        values.append(float(loss(features, batch(images, [0, 1, 2, 3]))["image"].detach()))
    assert values[0] == pytest.approx(values[1])


def test_the_common_mean_is_taken_off():
    common = torch.full((8,), 10.0)
    rows = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    plain = AlignmentLoss(TrainConfig(), torch.zeros(8), None).compare(rows + common)
    centred = AlignmentLoss(TrainConfig(), common, None).compare(rows + common)
    assert float(plain[0] @ plain[1]) > 0.9
    torch.testing.assert_close(centred, F.normalize(rows, dim=-1), atol=1e-5, rtol=0)
