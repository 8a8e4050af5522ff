"""A configuration refuses what cannot be trained with, naming the value and what would be right."""

import pytest

from lens_plugins.errors import ConfigError
from lens_plugins.train import TrainConfig


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"steps": 0}, "steps is 0; it must be above 0"),
        ({"batch_size": 1}, "batch_size is 1; a contrast needs 2"),
        ({"lr": -1.0}, "lr is -1.0; it must be above 0"),
        ({"points": 0}, "points is 0; it must be above 0"),
        ({"ema": 1.0}, "ema is 1.0; it must be from 0"),
        ({"betas": (0.9, 1.0)}, r"betas is \(0.9, 1.0\); it must be two numbers"),
        ({"steps": 10, "warmup_steps": 10}, r"warmup_steps is 10; it must be from 0 to below steps \(10\)"),
        ({"max_minutes": 0.0}, "max_minutes is 0.0; it must be above 0"),
        ({"logit_scale": 101.0}, "logit_scale is 101.0; it must be 100 or less"),
        ({"precision": "fp8"}, "precision is 'fp8'; it must be one of auto, fp32, bf16, fp16"),
        ({"views": "all"}, "views is 'all'; it must be one of draw, mean"),
        ({"regression": "patch"}, "regression is 'patch'; it must be one of none, cls, pooled, tokens"),
        ({"num_workers": -1}, "num_workers is -1; it must be 0 or more"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; it must be 0 or more"),
        ({"image_weight": 0.0, "text_weight": 0.0, "regression": "none"}, "are all 0; nothing would be learnt"),
        ({"batchsize": 8}, "no field 'batchsize'; did you mean 'batch_size'"),
        ({"steps": "many"}, "steps is 'many'; it must be a whole number"),
        ({"augment": "no"}, "augment is 'no'; it must be true or false"),
    ],
)
def test_bad_values_are_refused(values, sentence):
    with pytest.raises(ConfigError, match=sentence):
        TrainConfig.from_dict(values)


def test_there_and_back():
    config = TrainConfig(steps=7, betas=(0.8, 0.9), lr=1e-3)
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_what_makes_another_run():
    config = TrainConfig()
    assert config.changed(TrainConfig(max_minutes=3.0, log_every=1, num_workers=2, checkpoint_every=9)) == []
    assert config.changed(TrainConfig(seed=1, lr=1.0)) == ["lr", "seed"]


def test_warm_up_is_a_tenth_unless_told():
    assert TrainConfig(steps=200).warmup == 20
    assert TrainConfig(steps=200, warmup_steps=0).warmup == 0
