"""A lens made for a ViT fits it, and a new point lens starts with statistics of real clouds."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from lens_plugins.errors import ConfigError
from lens_plugins.lens.lens import Lens
from lens_plugins.train.recipe import lens_config_for, trainable_lens

LARGE = SimpleNamespace(width=1408, num_patches=256, image_size=224, norm_eps=1e-5, name="EVA")
SHAPES = {"depth": (1, 28, 28), "tactile": (3, 28, 28), "eeg": (128, 512), "audio": (512, 128), "point_cloud": (64, 3)}


@pytest.mark.parametrize("modality", SHAPES)
def test_a_lens_for_a_vit_fits_it(vit, modality):
    config = lens_config_for(modality, vit)
    lens, new = trainable_lens(config, vit, seed=0)
    assert new
    assert lens(torch.randn(2, *SHAPES[modality])).shape == (2, vit.num_patches, vit.width)
    assert config.vit.norm_eps == vit.norm_eps


def without_resampler(vit, modality):
    """A lens like the released ones: a kernel and nothing else."""
    config = lens_config_for(modality, vit)
    return replace(config, embedding=replace(config.embedding, width=vit.width), resampler=None)


def test_a_new_lens_that_cuts_patches_starts_from_the_kernel_of_the_vit(vit):
    own = next(m for m in vit.patch_embedding.modules() if isinstance(m, torch.nn.Conv2d)).weight
    tactile, _ = trainable_lens(without_resampler(vit, "tactile"), vit, seed=0)
    assert torch.equal(tactile.embedding.proj.weight, own.float())
    depth, _ = trainable_lens(without_resampler(vit, "depth"), vit, seed=0)
    assert torch.equal(depth.embedding.proj.weight, own.float().sum(1, keepdim=True))
    with torch.no_grad():
        tactile.embedding.proj.weight.zero_()
    again, new = trainable_lens(tactile, vit, seed=0)  # one that is given keeps what it learnt
    assert not new
    assert again.embedding.proj.weight.abs().max() == 0


@pytest.mark.parametrize("modality", ["depth", "tactile"])
def test_only_a_small_vit_has_its_patches_resampled(vit, modality):
    assert lens_config_for(modality, LARGE).resampler is None
    assert lens_config_for(modality, vit).resampler is not None


@pytest.mark.parametrize("modality", SHAPES)
def test_the_large_recipe_has_the_released_sizes(modality):
    config = lens_config_for(modality, LARGE)
    assert (config.width, config.num_tokens) == (1408, 256)
    if modality == "point_cloud":
        assert (config.embedding.num_groups, config.embedding.trans_dim, config.resampler.depth) == (512, 384, 6)
        assert (config.resampler.latent_heads, config.resampler.latent_dim_head) == (16, 88)
        assert config.input.max_points == 8192


def test_overrides_and_refusals(vit):
    assert lens_config_for("point_cloud", vit, {"num_groups": 5}).embedding.num_groups == 5
    with pytest.raises(ConfigError, match="did you mean 'num_groups'"):
        lens_config_for("point_cloud", vit, {"num_group": 5})
    with pytest.raises(ConfigError, match="no lens for a picture: the host"):
        lens_config_for("image", vit)


def test_equal_seeds_give_equal_lenses_and_leave_the_random_state(lens_config, vit):
    before = torch.get_rng_state()
    one, same, other = (trainable_lens(lens_config, vit, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.resampler.latents, same.resampler.latents)
    assert not torch.equal(one.resampler.latents, other.resampler.latents)
    frozen = Lens(lens_config).half().requires_grad_(False)
    again, new = trainable_lens(frozen, vit, 0)
    assert not new
    assert again is frozen
    assert all(p.requires_grad and p.dtype == torch.float32 for p in again.parameters())


def test_fitted_norms_see_zero_mean_and_unit_variance(lens_config):
    lens = Lens(lens_config)
    clouds = torch.randn(4, 64, 3, generator=torch.Generator().manual_seed(0))
    lens.embedding.fit_norms([clouds[:2], clouds[2:]])
    encoder = lens.embedding.encoder
    groups = lens.embedding.group(clouds)[1]
    weight, bias = encoder.lift_norm.fold(encoder.lift)
    lifted = F.linear(groups, weight, bias).flatten(0, -2)
    torch.testing.assert_close(lifted.mean(dim=0), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(lifted.std(dim=0), torch.ones(16), atol=1e-2, rtol=0)
    assert not torch.equal(encoder.mix_norm.var, torch.ones(64))


def test_other_lenses_have_no_norms_to_fit(vit):
    lens = Lens(lens_config_for("eeg", vit))
    before = {name: tensor.clone() for name, tensor in lens.state_dict().items()}
    lens.embedding.fit_norms([torch.randn(2, 128, 512)])
    assert all(torch.equal(tensor, before[name]) for name, tensor in lens.state_dict().items())
