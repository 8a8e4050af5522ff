import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lens_plugins.errors import ConfigError, DoesNotFit
from lens_plugins.lens.tower import Tower, TowerConfig

CONFIG = TowerConfig(32, 2, 4, 48, 9, 12)


def test_a_picture_takes_the_way_it_takes_in_transformers():
    """Patch tokens of a picture through the tower are transformers' own image embedding."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        projection_dim=12,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=42,
        patch_size=14,
        hidden_act="gelu",
        attn_implementation="eager",
    )
    clip = CLIPVisionModelWithProjection(config).eval()
    theirs = clip.vision_model if hasattr(clip, "vision_model") else clip
    tower = Tower(CONFIG).eval()
    own = {f"encoder.{name}": tensor for name, tensor in theirs.encoder.state_dict().items()}
    own |= {f"norm_in.{name}": tensor for name, tensor in theirs.pre_layrnorm.state_dict().items()}
    own |= {f"norm_out.{name}": tensor for name, tensor in theirs.post_layernorm.state_dict().items()}
    own["class_token"] = theirs.embeddings.class_embedding
    own["positions"] = theirs.embeddings.position_embedding.weight
    own["projection.weight"] = clip.visual_projection.weight
    tower.load_state_dict(own)
    pixels = torch.randn(2, 3, 42, 42)
    patches = theirs.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tower.encode(patches), clip(pixels).image_embeds, atol=1e-5, rtol=1e-5)


def test_latents_that_do_not_fit():
    with pytest.raises(DoesNotFit, match=r"\(B, 9, 32\), not \(1, 8, 32\)"):
        Tower(CONFIG).encode(torch.zeros(1, 8, 32))


def test_heads_are_whole():
    with pytest.raises(ConfigError, match="32 is not 5 whole heads"):
        TowerConfig(32, 2, 5)
