"""Plugging, refusing and warning."""

import logging
from pathlib import Path

import pytest
import torch

from lens_plugins import Reply, Request
from lens_plugins.errors import ConfigError, DoesNotFit, InputError, Unsupported
from lens_plugins.hosts import CodeHost, PrefixHost
from lens_plugins.hosts.layouts.lavis import EVA_VIT
from lens_plugins.lens.config import ViTFingerprint
from lens_plugins.lens.lens import Lens
from lens_plugins.lens.tower import TowerConfig
from lens_plugins.testing.small import PATCHES, WIDTH, small_input, small_lens


def test_several_lenses_at_once_and_the_last_of_a_modality_counts(instructblip):
    first, second, sound = small_lens("depth"), small_lens("depth", seed=4), small_lens("audio")
    for lens in (first, sound, second):
        instructblip.plug(lens)
    assert instructblip.lenses == {"depth": second, "audio": sound}
    instructblip.unplug("depth")
    assert instructblip.lenses == {"audio": sound}


def test_lenses_is_a_copy(instructblip):
    instructblip.lenses["depth"] = small_lens("depth")
    assert instructblip.lenses == {}


def test_a_lens_makes_a_difference(instructblip):
    given = small_input("depth")
    instructblip.plug(small_lens("depth"))
    first = instructblip.embed(given)
    instructblip.plug(small_lens("depth", seed=4))
    assert not torch.allclose(first, instructblip.embed(given), atol=1e-3)


def test_a_clip_lens_is_refused_with_both_widths(instructblip):
    lens = small_lens("audio", width=48)
    tower = TowerConfig(48, 1, 2, 64, PATCHES, 20)
    clip = Lens(type(lens.config)(**{**vars(lens.config), "tower": tower, "family": "clip_l14"}))
    with pytest.raises(DoesNotFit, match=r"width 48; .* width 32\. It is of the CLIP ViT-L/14 family"):
        instructblip.plug(clip)


def test_a_tower_of_the_same_width_is_refused_too(instructblip):
    lens = small_lens("audio")
    tower = TowerConfig(WIDTH, 1, 2, 64, PATCHES, 20)
    clip = Lens(type(lens.config)(**{**vars(lens.config), "tower": tower, "family": "clip_l14"}))
    with pytest.raises(DoesNotFit, match="a whole tower of width 32 of its own"):
        instructblip.plug(clip)


def test_a_modality_without_a_lens_names_the_cure(instructblip, tmp_path):
    instructblip.plug(small_lens("depth"))
    with pytest.raises(Unsupported, match=r"no lens for an audio clip; lenses plugged: depth.*load_lens\(FILE"):
        instructblip.generate(small_input("audio"))
    with pytest.raises(Unsupported, match="no lens for a point cloud"):
        instructblip.read(tmp_path / "chair.ply")


def test_arrays_need_a_modality(instructblip):
    with pytest.raises(InputError, match="give modality="):
        instructblip.generate(torch.zeros(5, 3))


def test_a_picture_of_another_size_names_both(instructblip):
    given = small_input("image")
    with pytest.raises(DoesNotFit, match=r"\(B, 3, 28, 28\), got \(1, 3, 14, 14\)"):
        instructblip.generate(type(given)("image", given.tensor[:, :14, :14], None))


def test_a_host_says_what_it_cannot_do(instructblip):
    assert isinstance(instructblip, PrefixHost)
    assert not isinstance(instructblip, CodeHost)
    assert not hasattr(instructblip, "encode_codes")
    with pytest.raises(Unsupported, match=r"cannot write inputs as codes; a SEED-LLaMA host can"):
        instructblip.encode_codes("a.png")
    with pytest.raises(AttributeError, match="no attribute 'genrate'"):
        instructblip.genrate("a.png")


def test_a_place_that_a_kind_lacks_is_refused(instructblip, monkeypatch):
    monkeypatch.setattr(type(instructblip), "places", ("vit", "llm"))
    with pytest.raises(Unsupported, match=r"with fuse='qformer'; it can with 'vit' or 'llm'"):
        instructblip.generate(small_input("image"), fuse="qformer")


def test_batch_size_is_checked(instructblip):
    with pytest.raises(ConfigError, match="batch_size is 0; it must be at least 1"):
        instructblip.generate_batch([Request(small_input("image"))], batch_size=0)


def test_no_requests_no_replies(instructblip):
    assert instructblip.generate_batch([]) == []


def test_requests_keep_their_own_options_and_order(instructblip, monkeypatch):
    calls = []

    def answer(seen, prompts, **options):
        calls.append((list(prompts), options))
        return [Reply(prompt) for prompt in prompts]

    monkeypatch.setattr(instructblip, "answer", answer)
    picture, short = small_input("image"), {"max_new_tokens": 1}
    requests = [Request(picture, "a", generation=short), Request(picture, "b"), Request(picture, "c", generation=short)]
    assert instructblip.generate_batch(requests, max_new_tokens=9, num_beams=1) == ["a", "b", "c"]
    assert calls == [
        (["a", "c"], {"max_new_tokens": 1, "num_beams": 1}),
        (["b"], {"max_new_tokens": 9, "num_beams": 1}),
    ]


def test_embeddings_average_the_clips(instructblip):
    instructblip.plug(small_lens("audio"))
    recording = small_input("audio", clips=3)
    clips = [type(recording)("audio", clip, None) for clip in recording.tensor]
    rows = torch.stack([instructblip.look(clip).features[0][0] for clip in clips])
    expected = torch.nn.functional.normalize(rows.mean(0), dim=-1)
    torch.testing.assert_close(instructblip.embed(recording)[0], expected)


def test_a_lens_from_another_vit_is_named_once(instructblip, monkeypatch, caplog):
    compared = []
    monkeypatch.setattr(  # what it does with a released file is tested beside it
        "lens_plugins.hosts.base.compare_vit", lambda lens, state: compared.append(set(state)) or [("pos_embed", 0.25)]
    )
    lens = small_lens("depth")
    lens.source = Path("trained.pt")
    with caplog.at_level(logging.WARNING):
        instructblip.plug(lens)
        instructblip.plug(lens)
    assert [record.getMessage() for record in caplog.records] == [
        "trained.pt was trained with another ViT than the ViT of instructblip-llama: 1 of the tensors in the file "
        "differ, by up to 0.25 (pos_embed)."
    ]
    assert {"cls_token", "pos_embed", "blocks.1.mlp.fc2.bias", "patch_embed.proj.weight"} <= compared[0]
    assert len(compared) == 1


def test_the_hosts_vit_by_lavis_names_is_the_hosts(instructblip):
    state = instructblip.vit_state()
    own = instructblip.model.vision_model
    assert torch.equal(state["pos_embed"], own.embeddings.position_embedding)
    assert torch.equal(state["blocks.1.attn.qkv.weight"], own.encoder.layers[1].self_attn.qkv.weight)
    assert not {key for key in state if EVA_VIT.row_of(key) is None}


def test_another_epsilon_is_named(instructblip, monkeypatch, caplog):
    lens = small_lens("depth")
    lens.source = Path("trained.pt")
    object.__setattr__(lens.config, "vit", ViTFingerprint(WIDTH, PATCHES, 1e-5))
    monkeypatch.setattr("lens_plugins.hosts.base.compare_vit", lambda lens, state: [])
    with caplog.at_level(logging.WARNING):
        instructblip.plug(lens)
    assert "eps 1e-05; that of the ViT of instructblip-llama has 1e-06" in caplog.text
