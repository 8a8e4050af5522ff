"""The laws of the key tables of LAVIS and open_clip, on states in their layouts."""

import pytest
import torch

from lens_plugins.hosts.layouts import lavis, open_clip
from lens_plugins.keymap import KeyMap, KeyMismatch
from lens_plugins.testing import laws
from lens_plugins.testing.small import small_host
from lens_plugins.testing.small_clip import small_clip

EXTRA = {"blocks.39.mlp.fc1.weight": torch.ones(2, 2), "norm.weight": torch.ones(2), "head.bias": torch.ones(2)}


def lavis_states(name: str):
    """A small host in LAVIS's words: the ViT's file and the trimmed one."""
    model = small_host(name)
    for layer in model.vision_model.encoder.layers:
        layer.self_attn.qkv.bias.data[32:64] = 0  # LAVIS has no key bias
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("language_model.")}
    table = lavis.INSTRUCTBLIP_QFORMER if name.startswith("instructblip") else lavis.BLIP2_QFORMER
    table += lavis.projection({"llama": "llm_proj", "t5": "t5_proj", "opt": "opt_proj"}[name.split("-")[1]])
    vit, rest = lavis.EVA_VIT.inverse(), table.inverse()
    eyes = {k: v for k, v in state.items() if vit.row_of(k) is not None}
    others = {k: v for k, v in state.items() if k not in eyes}
    return model, vit.convert(eyes), rest.convert(others), table


@pytest.mark.parametrize("name", ["instructblip-llama", "instructblip-t5", "blip2-opt", "blip2-t5"])
def test_the_laws_hold(name):
    _, eyes, trimmed, table = lavis_states(name)
    trimmed["Qformer.bert.embeddings.position_ids"] = torch.arange(4)[None]
    for rows, state in ((lavis.EVA_VIT, eyes | EXTRA), (table, trimmed)):
        laws.there_and_back(rows, state)
        laws.no_two_rows_match_one_key(rows, state)
        laws.every_row_is_used(rows, [state])


def test_only_block_39_norm_and_head_are_left_out():
    _, eyes, _, _ = lavis_states("instructblip-llama")
    assert lavis.EVA_VIT.convert(eyes | EXTRA).keys() == lavis.EVA_VIT.convert(eyes).keys()
    for key in ("blocks.40.mlp.fc1.weight", "fc_norm.weight", "rel_pos_bias", "blocks.0.attn.qkv.bias"):
        with pytest.raises(KeyMismatch, match="1 unexpected"):
            lavis.EVA_VIT.convert(eyes | {key: torch.ones(2)})


def test_block_38_is_the_last_one_read():
    assert lavis.EVA_VIT.row_of("blocks.38.mlp.fc1.weight").target is not None
    assert lavis.EVA_VIT.row_of("blocks.39.mlp.fc1.weight").target is None
    assert isinstance(lavis.projection("llm_proj"), KeyMap)


def test_the_laws_hold_for_open_clip():
    state = dict(small_clip().state_dict())
    one = torch.zeros(1)
    buffers = dict.fromkeys(("attn_mask", "input_resolution", "context_length", "vocab_size"), one)
    theirs = open_clip.OPEN_CLIP.inverse().convert(state) | buffers
    assert {"visual.conv1.weight", "transformer.resblocks.1.attn.in_proj_bias", "text_projection"} < theirs.keys()
    del state["logit_scale"]
    bare = open_clip.VITLENS.inverse().convert(state)
    assert {"vitlens.image.proj", "vitlens.text.ln_final.weight"} < bare.keys()
    bare |= dict.fromkeys(("vitlens.image.attn_mask", "vitlens.text.attn_mask", "vitlens.text.logit_scale"), one)
    for rows, given in ((open_clip.OPEN_CLIP, theirs), (open_clip.VITLENS, bare)):
        laws.there_and_back(rows, given)
        laws.no_two_rows_match_one_key(rows, given)
        laws.every_row_is_used(rows, [given])
