"""FrozenViT over transformers' towers and a stand-in for timm's EVA giant."""

import pytest
import torch
from accelerate import cpu_offload
from torch import nn
from transformers import Blip2VisionConfig, InstructBlipVisionConfig
from transformers.models.blip_2.modeling_blip_2 import Blip2VisionModel
from transformers.models.instructblip.modeling_instructblip import InstructBlipVisionModel

from lens_plugins.errors import CheckpointError, DoesNotFit
from lens_plugins.splice import digest, vit_from_timm, vit_from_tower

WIDTH, PATCHES, SIZE = 16, 4, 28
NUMBERS = {
    "hidden_size": WIDTH,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 14,
}
TOWERS = [(InstructBlipVisionModel, InstructBlipVisionConfig), (Blip2VisionModel, Blip2VisionConfig)]


def tower(model=InstructBlipVisionModel, config=InstructBlipVisionConfig):
    torch.manual_seed(0)
    own = model(config(**NUMBERS)).eval().requires_grad_(False)
    for weight in own.parameters():  # as built they are 1e-10, and every feature would be the same
        weight.normal_(0, 0.3)
    return own


@pytest.fixture
def pixels():
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("model", "config"), TOWERS)
def test_a_spliced_picture_is_the_towers_own(model, config, pixels):
    own = tower(model, config)
    vit = vit_from_tower(own)
    assert (vit.width, vit.num_patches, vit.image_size, vit.norm_eps) == (WIDTH, PATCHES, SIZE, 1e-6)
    features = vit.encode(vit.embed_image(pixels))
    torch.testing.assert_close(features, own(pixels).last_hidden_state)
    torch.testing.assert_close(vit.pool(features), own(pixels).last_hidden_state[:, 0])
    assert features.std() > 0.1


def test_fusing_two_inputs_gives_one_pass_that_order_only_permutes(pixels):
    vit = vit_from_tower(tower())
    a, b = vit.embed_image(pixels), torch.randn(2, PATCHES, WIDTH)
    fused, swapped = vit.encode([a, b]), vit.encode([b, a])
    assert fused.shape == (2, 1 + 2 * PATCHES, WIDTH)
    torch.testing.assert_close(fused[:, 0], swapped[:, 0])
    torch.testing.assert_close(fused[:, 1 : 1 + PATCHES], swapped[:, 1 + PATCHES :])
    assert not torch.allclose(fused[:, 0], vit.encode(a)[:, 0], atol=1e-3)


def test_gradients_reach_the_latents():
    latents = torch.randn(1, PATCHES, WIDTH, requires_grad=True)
    vit_from_tower(tower()).encode(latents)[:, 0].sum().backward()
    assert (latents.grad.abs().sum(-1) > 0).all()


def test_offloaded_parameters_are_read_through_their_owner(pixels):
    loaded = tower()
    expected = vit_from_tower(loaded).encode(vit_from_tower(loaded).embed_image(pixels))
    before = digest(loaded)
    cpu_offload(loaded, execution_device=torch.device("cpu"))
    vit = vit_from_tower(loaded)
    assert loaded.embeddings.class_embedding.is_meta
    assert vit.device == torch.device("cpu")
    assert torch.equal(vit.encode(vit.embed_image(pixels)), expected)
    assert loaded.embeddings.class_embedding.is_meta
    assert digest(loaded) == before


def test_half_precision_takes_float32_input(pixels):
    vit = vit_from_tower(tower().to(torch.bfloat16))
    assert vit.dtype == torch.bfloat16
    assert vit.encode(vit.embed_image(pixels)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, PATCHES, 24), r"shape \(B, 4, 16\), got \(1, 4, 24\)"),
        ((1, 7, WIDTH), r"has 7 tokens; .* has positions for 4 patches"),
        ((PATCHES, WIDTH), r"shape \(B, 4, 16\), got \(4, 16\)"),
    ],
)
def test_tokens_that_do_not_fit_are_refused_with_both_numbers(shape, message):
    with pytest.raises(DoesNotFit, match=message):
        vit_from_tower(tower()).encode(torch.zeros(shape))


def test_unequal_batches_and_empty_lists_are_refused():
    vit = vit_from_tower(tower())
    with pytest.raises(DoesNotFit, match=r"one batch size, got 1 and 2"):
        vit.encode([torch.zeros(1, PATCHES, WIDTH), torch.zeros(2, PATCHES, WIDTH)])
    with pytest.raises(DoesNotFit, match=r"0 inputs to encode; it needs at least 1"):
        vit.encode([])


@pytest.mark.parametrize("shape", [(1, 3, 28, 27), (1, 1, 28, 28), (3, 28, 28)])
def test_pictures_of_another_shape_are_refused(shape):
    with pytest.raises(DoesNotFit, match=rf"\(B, 3, 28, 28\), got \({', '.join(map(str, shape))}\)"):
        vit_from_tower(tower()).embed_image(torch.zeros(shape))


class TimmPatches(nn.Module):
    """timm's PatchEmbed in what matters: it flattens by itself and knows its picture size."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.proj, self.img_size = conv, (SIZE, SIZE)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Block(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


class TimmEva(nn.Module):
    def __init__(self, own: InstructBlipVisionModel, extra: int) -> None:
        super().__init__()
        self.patch_embed = TimmPatches(own.embeddings.patch_embedding)
        self.cls_token = own.embeddings.class_embedding
        self.pos_embed = own.embeddings.position_embedding
        self.blocks = nn.ModuleList([Block(layer) for layer in own.encoder.layers])
        self.blocks.extend(nn.Linear(WIDTH, WIDTH) for _ in range(extra))


def test_timms_eva_giant_runs_its_first_blocks_only(pixels):
    own = tower()
    vit = vit_from_timm(TimmEva(own, extra=1), own.post_layernorm, depth=3)
    torch.testing.assert_close(vit.encode(vit.embed_image(pixels)), own(pixels).last_hidden_state)


def test_too_few_blocks_are_refused_with_both_numbers():
    own = tower()
    with pytest.raises(CheckpointError, match=r"has 3 blocks, 39 are needed"):
        vit_from_timm(TimmEva(own, extra=0), own.post_layernorm)


def test_a_norm_of_another_width_is_refused():
    own = tower()
    with pytest.raises(CheckpointError, match=r"final norm is 8 wide, the positions are 16 wide"):
        vit_from_timm(TimmEva(own, extra=0), nn.LayerNorm(8), depth=3)


def test_module_holds_every_part():
    own = tower()
    vit = vit_from_tower(own)
    assert {id(p) for p in vit.module.parameters()} == {id(p) for p in own.parameters()}
    assert isinstance(vit.module.get_submodule("norm"), nn.LayerNorm)
