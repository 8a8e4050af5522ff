"""Plugging, refusing and warning."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lens_plugins import Reply, Request, load_host, read
from lens_plugins.errors import CheckpointError, ConfigError, DoesNotFit, InputError, Unsupported
from lens_plugins.hosts import CodeHost, PrefixHost
from lens_plugins.hosts.layouts.lavis import EVA_VIT
from lens_plugins.hosts.passes import Memory
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


def test_several_replies_come_with_their_scores(instructblip):
    given = small_input("image")
    for options in ({"num_beams": 4}, {"do_sample": True, "num_beams": 1}):
        torch.manual_seed(0)
        replies = instructblip.generate_batch([given, given], num_return_sequences=3, max_new_tokens=5, **options)
        for reply in replies:
            scores = [one.score for one in reply.alternatives]
            assert (len(scores), scores) == (3, sorted(scores, reverse=True))
            assert (reply, reply.score) == (reply.alternatives[0], scores[0])
            assert all(score < 0 for score in scores)
    assert instructblip.generate(given, num_beams=4, max_new_tokens=5).alternatives == ()


def test_an_array_is_read_with_the_lenss_own_settings(instructblip, tmp_path):
    cloud = np.random.default_rng(0).normal(size=(9_000, 3)).astype(np.float32)
    lens = small_lens("point_cloud")
    settings = type(lens.config.input)(max_points=64)
    instructblip.plug(Lens(replace(lens.config, input=settings)).eval().requires_grad_(False))
    np.save(tmp_path / "cloud.npy", cloud)
    expected = instructblip.embed(tmp_path / "cloud.npy")
    assert instructblip.read(cloud, "point_cloud").tensor.shape == (64, 3)
    for given in (cloud, torch.from_numpy(cloud)):
        assert torch.equal(instructblip.embed(given, modality="point_cloud"), expected)
        assert torch.equal(
            instructblip.embed([given, small_input("image")], modality=["point_cloud", None])[:1], expected
        )
        asked = instructblip.generate(given, modality="point_cloud", max_new_tokens=3)
        assert asked == instructblip.generate(tmp_path / "cloud.npy", max_new_tokens=3)
        assert asked == instructblip.generate_batch([given], modality="point_cloud", max_new_tokens=3)[0]
    with pytest.raises(InputError, match=r"read with max_points=8192; the point_cloud lens .* with max_points=64"):
        instructblip.generate(read(cloud, "point_cloud"), max_new_tokens=3)
    with pytest.raises(ConfigError, match="2 modalities for 1 inputs"):
        instructblip.generate(cloud, modality=["point_cloud", "depth"])


def test_an_array_of_sound_must_bring_its_rate(instructblip):
    instructblip.plug(small_lens("audio"))
    sound = np.random.default_rng(0).normal(size=48_000) / 9
    with pytest.raises(InputError, match=r"does not say its sample rate; give \(array, 16000\)"):
        instructblip.generate(sound, modality="audio")
    reply = instructblip.generate((sound, 16_000), max_new_tokens=3)
    assert reply == instructblip.generate({"array": sound, "sampling_rate": 16_000}, max_new_tokens=3)


def test_plain_inputs_are_requests_and_one_request_is_none(instructblip):
    given = small_input("image")
    asked = instructblip.generate_batch([given, [given, given]], prompt="what", max_new_tokens=3)
    assert asked == [instructblip.generate(one, "what", max_new_tokens=3) for one in (given, [given, given])]
    with pytest.raises(InputError, match="Several requests go here, in a list, and this is one str"):
        instructblip.generate_batch("a.ply")


def test_a_long_run_takes_one_batch_at_a_time_and_forgets(instructblip):
    taken = []

    def coming():
        for seed in range(200):
            taken.append(seed)
            yield small_input("image", seed=seed)

    replies = instructblip.generate_iter(coming(), batch_size=2, max_new_tokens=1)
    assert taken == []
    next(replies)
    assert taken == [0, 1]
    memory = Memory()
    for seed in range(80):
        instructblip.look_batch([Request(small_input("image", seed=seed))], memory)
    assert len(memory.features) == 64


def test_options_are_compared_by_value(instructblip, monkeypatch):
    batches = []
    monkeypatch.setattr(
        instructblip, "answer", lambda seen, prompts, **options: batches.append(len(seen)) or [Reply("")] * len(seen)
    )
    long, other = torch.zeros(5_000), torch.zeros(5_000)
    other[2_500] = 1  # where repr leaves out
    requests = [Request(small_input("image"), generation={"x": value}) for value in (long, other, long.clone())]
    instructblip.generate_batch(requests)
    assert batches == [2, 1]


@pytest.mark.parametrize(
    ("prompt", "said"), [(["a", "b"], "prompt has 2 texts"), (3, "prompt is 3, a int"), ("\udc80", "no character")]
)
def test_what_is_no_prompt_is_one_sentence(instructblip, prompt, said):
    for ask in (instructblip.generate, lambda *a: list(instructblip.stream(*a))):
        with pytest.raises(InputError, match=said):
            ask(small_input("image"), prompt)


def test_a_lens_is_plugged_by_where_it_is(instructblip, tmp_path):
    small_lens("depth").save_pretrained(tmp_path / "lens")
    instructblip.plug(str(tmp_path / "lens"))
    assert "depth" in instructblip.lenses
    with pytest.raises(CheckpointError, match="no lens 'pocket-odour'"):
        instructblip.plug("pocket-odour")
    with pytest.raises(CheckpointError, match=r"no lens 'pocket-adio'.* Did you mean 'pocket-audio'"):
        instructblip.plug("pocket-adio")


def test_a_host_is_moved_with_its_lenses(instructblip):
    instructblip.plug(small_lens("depth"))
    assert load_host(instructblip) is instructblip
    assert instructblip.to("cpu") is instructblip
    with pytest.raises(ConfigError, match=r"device cuda:99 is not there: torch .* sees \d+ devices of the type cuda"):
        instructblip.to("cuda:99")
    for how in ({"device": "cuda:99"}, {"device": 99}, {"device_map": "cuda:99"}, {"device_map": {"": "cuda:99"}}):
        with pytest.raises(ConfigError, match="cuda:99 is not there"):
            load_host("no/where", **how)
    with pytest.raises(ConfigError, match="give one of them"):
        load_host("no/where", device="cpu", device_map="auto")


def test_eight_threads_answer_as_one(instructblip):
    instructblip.plug(small_lens("audio"))
    given = [small_input(modality, seed=seed) for seed in range(8) for modality in ("image", "audio")]
    alone = [instructblip.generate(one, max_new_tokens=4) for one in given]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda one: instructblip.generate(one, max_new_tokens=4), given))
    assert together == alone
