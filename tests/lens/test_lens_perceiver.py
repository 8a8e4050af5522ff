import math

import pytest
import torch
import torch.nn.functional as F

from lens_plugins.errors import ConfigError
from lens_plugins.lens.perceiver import Perceiver, PerceiverConfig

CONFIG = PerceiverConfig(32, 6, 24, 2, 3, 1, 8, 4, 16)


def attend_by_hand(attention, x, context):
    out = torch.zeros(*x.shape[:2], attention.query.out_features)
    query, (key, value) = attention.query(x), attention.key_value(context).chunk(2, -1)
    size = query.shape[-1] // attention.heads
    for head in range(attention.heads):
        part = slice(head * size, (head + 1) * size)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(size)
        out[..., part] = F.softmax(scores, -1) @ value[..., part]
    return attention.out(out)


def feed_by_hand(mlp, x):
    value, gate = mlp.up(mlp.norm(x)).split(4 * x.shape[-1], -1)
    return mlp.down(value * F.gelu(gate))


def test_against_the_description():
    torch.manual_seed(0)
    perceiver, context = Perceiver(CONFIG), torch.randn(2, 11, 24)
    x = perceiver.latents.repeat(2, 1, 1)
    for layer in perceiver.layers:
        x = x + attend_by_hand(layer.cross, layer.cross.norm(x), layer.cross.norm_context(context))
        x = x + feed_by_hand(layer.mlp, x)
        for block in layer.latent:
            normed = block.attention.norm(x)
            x = x + attend_by_hand(block.attention, normed, normed)
            x = x + feed_by_hand(block.mlp, x)
    torch.testing.assert_close(perceiver(context), x, atol=1e-5, rtol=1e-5)


def test_any_number_of_tokens_and_no_matter_their_order():
    perceiver = Perceiver(CONFIG).eval()
    for tokens in (1, 5, 200):
        context = torch.randn(1, tokens, 24)
        assert perceiver(context).shape == (1, 6, 32)
        torch.testing.assert_close(perceiver(context), perceiver(context.flip(1)), atol=1e-5, rtol=1e-5)


def test_parts_of_the_feed_forward_stand_as_released():
    mlp = Perceiver(CONFIG).layers[0].mlp
    assert mlp.up.weight.shape == (8 * 32, 32)
    assert mlp.down.weight.shape == (32, 4 * 32)


@pytest.mark.parametrize(("name", "value"), [("depth", 0), ("latents", 0), ("self_per_cross", -1)])
def test_dimensions_are_checked(name, value):
    with pytest.raises(ConfigError, match=f"{name}.*{value}"):
        PerceiverConfig(**(CONFIG.to_dict() | {name: value}))
