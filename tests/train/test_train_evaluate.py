"""Retrieval counts what is found, by hand-made rows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lens_plugins.train import TrainConfig
from lens_plugins.train.data import Anchors
from lens_plugins.train.evaluate import lens_cls, lens_features, retrieval, top_k
from lens_plugins.train.loss import AlignmentLoss


def test_top_k():
    scores = torch.tensor([[3.0, 2, 1], [1, 2, 3]])
    assert top_k(scores, [{0}, {0}], 1) == 0.5
    assert top_k(scores, [{0}, {0, 2}], 1) == 1.0
    assert top_k(scores, [{1}, {1}], 2) == 1.0
    assert top_k(scores, [{2}, {0}], 5) == 1.0


def test_pairs_find_their_pictures_and_texts():
    images = torch.eye(4)[:, None]  # four pictures, (4, 1, 4)
    anchors = Anchors(images, torch.eye(4)[:3], [(0,), (0,), (1, 2), (3,), ()], [(0,), (0,), (1, 2), (), (2,)])
    loss = AlignmentLoss(TrainConfig(), torch.zeros(4), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        loss.text_head.weight.copy_(torch.eye(4))
    cls = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    measured = retrieval(loss, cls, anchors)
    assert measured["val_image_candidates"] == 3  # two pairs share a picture, one has none
    assert measured["val_image_top1"] == 0.75
    assert measured["val_text_candidates"] == 3
    assert measured["val_text_top1"] == 0.75
    assert measured["val_image_top5"] == measured["val_text_top5"] == 1.0


def test_without_a_head_or_pictures_there_is_nothing_to_measure():
    loss = AlignmentLoss(TrainConfig(), torch.zeros(4), None)
    assert retrieval(loss, torch.ones(1, 4), Anchors(torch.zeros(0, 1, 4), torch.eye(4), [()], [(0,)])) == {}


def test_inputs_of_unequal_size_keep_their_order(vit, lens_config):
    from lens_plugins.lens.lens import Lens

    lens = Lens(lens_config).eval()
    store = [torch.randn(size, 3, generator=torch.Generator().manual_seed(size)) for size in (64, 80, 64, 72, 64)]
    together = lens_cls(lens, vit, store, 5, batch_size=2)
    for row, cloud in zip(together, store):
        torch.testing.assert_close(row, lens_features(lens, vit, cloud[None])[0, 0].detach(), atol=1e-4, rtol=1e-4)


def test_clips_are_averaged(vit):
    class Clips(nn.Module):
        def forward(self, x):
            return x

    latents = torch.randn(2, 3, vit.num_patches, vit.width)
    features = lens_features(Clips(), vit, latents)
    expected = torch.stack([vit.encode(latents[:, clip]) for clip in range(3)]).mean(dim=0)
    assert features.shape == (2, 1 + vit.num_patches, vit.width)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("k", [1, 5])
def test_accuracies_are_shares(k):
    scores = torch.randn(50, 20, generator=torch.Generator().manual_seed(0))
    assert top_k(scores, [{index % 20} for index in range(50)], k) == pytest.approx(k / 20, abs=0.1)
