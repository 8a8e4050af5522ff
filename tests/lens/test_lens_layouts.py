from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lens_files import OVERRIDES, SHORT, overrides, released_state, small_config
from lens_files import random_lens as make

from lens_plugins import load_lens
from lens_plugins.errors import CheckpointError, ConfigError, Unsupported
from lens_plugins.inputs import AudioSettings
from lens_plugins.lens.config import LensConfig, presets
from lens_plugins.lens.layouts import CLIP, EVA, infer, recognise, table
from lens_plugins.lens.lens import Lens
from lens_plugins.lens.report import inspect_lens
from lens_plugins.testing import laws

MODALITIES = ("point_cloud", "audio", "depth", "eeg", "tactile")
LAYOUTS = [(family, modality) for family in (EVA, CLIP) for modality in MODALITIES]


@pytest.fixture
def write(tmp_path):
    """Write an object as a `.pt` and give its path."""

    def _write(content, name="lens.pt") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return _write


def assert_same_lens(lens, original):
    assert lens.state_dict().keys() == original.state_dict().keys()
    for name, tensor in original.state_dict().items():
        assert torch.equal(lens.state_dict()[name], tensor), name


@pytest.mark.parametrize(("family", "modality"), LAYOUTS)
def test_laws_of_the_tables(family, modality):
    state = released_state(make(small_config(modality, family)), root="")
    laws.there_and_back(table(family, modality), state)
    laws.no_two_rows_match_one_key(table(family, modality), state)
    resampled = released_state(make(small_config("audio", family)), root="")  # a depth lens may have a resampler too
    laws.every_row_is_used(table(family, modality), [state, resampled])


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize(("family", "modality"), LAYOUTS)
def test_every_layout_gives_the_lens_back(family, modality, wrapped, prefix, write):
    original = make(small_config(modality, family))
    state = {prefix + key: tensor for key, tensor in released_state(original).items()}
    others = {"logit_scale": torch.zeros(()), "text.transformer.x": torch.zeros(2)}
    state |= {prefix + key: tensor for key, tensor in others.items()}
    path = write({"epoch": 3, "name": "run", "state_dict": state} if wrapped else state)
    lens = load_lens(path, modality, **overrides(modality, family))
    assert_same_lens(lens, original)
    assert lens.config.embedding == original.config.embedding
    assert lens.config.resampler == original.config.resampler
    assert lens.config.tower == original.config.tower
    assert lens.config.family == family
    assert lens.source == path
    assert not lens.training
    assert not any(p.requires_grad for p in lens.parameters())


def test_the_modality_is_read_off_the_keys(write):
    for modality in MODALITIES:
        path = write(released_state(make(small_config(modality))))
        assert load_lens(path, **OVERRIDES[modality]).modality == modality


@pytest.fixture
def one_stop(write):
    lenses = {modality: make(small_config(modality, CLIP)) for modality in MODALITIES}
    state = {"vitlens.image.conv1.weight": torch.zeros(1), "vitlens.text.token_embedding.weight": torch.zeros(1)}
    for modality, lens in lenses.items():
        state |= released_state(lens, f"vitlens.{SHORT.get(modality, modality)}.")
    content = {"model_var": "vitlensL", "modality_loaded": ["pc", "audio"], "state_dict": state}
    return write(content, "vitlensL.pt"), lenses


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_one_stop_file_holds_every_lens(one_stop, modality):
    path, lenses = one_stop
    assert_same_lens(load_lens(path, modality, **overrides(modality, CLIP)), lenses[modality])


def test_the_one_stop_file_needs_a_modality(one_stop):
    with pytest.raises(CheckpointError, match=r"several lenses, so say which.*audio, depth, eeg, point_cloud, tactile"):
        load_lens(one_stop[0])
    with pytest.raises(CheckpointError, match="none of modality 'image'"):
        load_lens(one_stop[0], "image")


def test_a_one_stop_file_without_towers_still_holds_the_halves(write):
    original = make(small_config("point_cloud", EVA))
    path = write({"state_dict": released_state(original, "vitlens.pc.")})
    lens = load_lens(path, "point_cloud", **OVERRIDES["point_cloud"])
    assert_same_lens(lens, original)
    assert (lens.tower, lens.config.family) == (None, CLIP)


def test_the_eva_family_ignores_the_runs_own_vit_but_not_strays_in_the_halves(write):
    state = released_state(make(small_config("point_cloud")))
    copies = {"visual.eva_vit.blocks.0.norm1.weight": torch.ones(3), "visual.head.weight": torch.ones(3)}
    load_lens(write(state | copies), **OVERRIDES["point_cloud"])
    with pytest.raises(CheckpointError, match=r"1 unexpected: visual\.visual_adapter\.extra\.weight"):
        load_lens(write(state | {"visual.visual_adapter.extra.weight": torch.ones(1)}), **OVERRIDES["point_cloud"])


def test_in_the_clip_family_every_visual_tensor_belongs_to_the_lens(write):
    state = released_state(make(small_config("eeg", CLIP)))
    with pytest.raises(CheckpointError, match=r"1 unexpected: visual\.stray"):
        load_lens(write(state | {"visual.stray": torch.ones(1)}), **overrides("eeg", CLIP))
    del state["visual.ln_post.bias"], state["visual.transformer.resblocks.1.attn.in_proj_bias"]
    with pytest.raises(CheckpointError, match=r"2 missing: visual\.ln_post\.bias, visual\.transformer\.resblocks\.1"):
        load_lens(write(state), **overrides("eeg", CLIP))


def test_missing_tensors_are_named_in_the_files_own_words(write):
    state = {f"module.{key}": value for key, value in released_state(make(small_config("point_cloud"))).items()}
    lost = ("module.visual.perceiver.layers.1.0.fn.to_out.bias", "module.visual.visual_adapter.pos_embed.2.bias")
    for key in lost:
        del state[key]
    with pytest.raises(CheckpointError, match="2 missing") as caught:
        load_lens(write(state), **OVERRIDES["point_cloud"])
    assert all(key in str(caught.value) for key in lost)


def test_a_layer_lost_from_the_middle_is_missed(write):
    state = released_state(make(small_config("point_cloud")))
    kept = {key: value for key, value in state.items() if not key.startswith("visual.perceiver.layers.0.1.")}
    with pytest.raises(CheckpointError, match=r"6 missing: visual\.perceiver\.layers\.0\.1"):
        load_lens(write(kept), **OVERRIDES["point_cloud"])


def test_the_bigg_family_is_refused_with_the_reason(write):
    wide = {"visual.perceiver.latents": torch.zeros(4, 1664), "visual.visual_adapter.sa1.weight": torch.zeros(1)}
    with pytest.raises(Unsupported, match=r"1664.*PointNet"):
        load_lens(write(wide))
    named = {"model_var": "vitlensG", "state_dict": {"vitlens.pc.visual_adapter.sa1.weight": torch.zeros(1)}}
    with pytest.raises(Unsupported, match="vitlensL"):
        load_lens(write(named))


def test_an_unknown_tokenizer_is_named(write):
    with pytest.raises(CheckpointError, match=r"visual_adapter\.wavelets\.weight"):
        load_lens(write({"visual.visual_adapter.wavelets.weight": torch.zeros(1)}))


@pytest.mark.parametrize("asked", ["audio", "depth", "tactile", "eeg"])
def test_a_modality_that_contradicts_the_file(write, asked):
    path = write(released_state(make(small_config("point_cloud"))))
    with pytest.raises(CheckpointError, match=f"lens for point_cloud, not the {asked} lens"):
        load_lens(path, asked)


def test_a_spectrogram_lens_is_no_depth_lens(write):
    path = write(released_state(make(small_config("audio"))))
    with pytest.raises(CheckpointError, match="24 positions are not a square"):
        load_lens(path, "depth", **OVERRIDES["audio"])


def test_an_unknown_modality_is_a_typo(write):
    path = write(released_state(make(small_config("point_cloud"))))
    with pytest.raises(ConfigError, match="did you mean 'point_cloud'"):
        load_lens(path, "point_clud")


class TestHonesty:
    """What a file does not say is asked for, or said to be assumed."""

    @pytest.fixture
    def plain_clip(self, write):
        """A CLIP tower as open_clip saves one: what a released tactile lens looks like, too."""
        return write(released_state(make(small_config("tactile", CLIP))))

    def test_a_plain_clip_file_is_no_tactile_lens_without_a_word(self, plain_clip):
        with pytest.raises(CheckpointError, match=r"may be a plain CLIP model.*a lens for tactile.*modality='tactile'"):
            load_lens(plain_clip, heads=1)
        assert load_lens(plain_clip, "tactile", heads=1).modality == "tactile"

    def test_nor_a_lens_of_another_kind(self, plain_clip):
        with pytest.raises(CheckpointError, match="holds no lens for a picture: the host's own patch embedding"):
            load_lens(plain_clip, "image", heads=1)
        with pytest.raises(CheckpointError, match="may be a plain CLIP model"):
            load_lens(plain_clip, "audio", heads=1)

    def test_a_one_stop_file_says_by_its_keys_what_it_holds(self, write):
        path = write(released_state(make(small_config("tactile", CLIP)), "vitlens.tactile."))
        assert load_lens(path, heads=1).modality == "tactile"

    def test_a_catalogue_id_says_which_lens_it_means(self, plain_clip, monkeypatch):
        monkeypatch.setattr("lens_plugins.lens.loading.fetch", lambda *_, **__: plain_clip)
        assert load_lens("vitlensL_tactile", heads=1).modality == "tactile"

    def test_heads_of_a_narrow_tower_are_asked_for(self, write):
        path = write(released_state(make(small_config("depth", CLIP))))
        with pytest.raises(ConfigError, match=r"heads of its tower: they share 64 features.*heads=\.\.\. \(16 in ViT"):
            load_lens(path)
        assert load_lens(path, heads=2).tower.config.heads == 2
        for wrong in (3, 0, "two"):
            with pytest.raises(ConfigError, match=r"3 whole heads|heads is"):
                load_lens(path, heads=wrong)

    def test_mel_bins_that_nothing_tells_are_assumed_aloud(self, write, caplog):
        path = write(released_state(make(small_config("audio"))))
        with caplog.at_level("WARNING"):
            assert load_lens(path, **OVERRIDES["audio"]).config.embedding.mel_bins == 128
        assert "24 patches may come from 128 or from 40 or 64. 128 are assumed" in caplog.text
        assert "24 patches" in inspect_lens(path).notes[0]
        caplog.clear()
        for bins, frames in ((128, 24), (64, 44)):
            assert load_lens(path, **OVERRIDES["audio"], mel_bins=bins).config.input.frames == frames
        assert caplog.text == ""

    def test_a_square_of_spectrogram_patches_may_be_a_depth_map(self, write):
        config = small_config("audio")
        config = replace(config, embedding=replace(config.embedding, positions=36), input=AudioSettings(frames=34))
        path = write(released_state(make(config)))
        with pytest.raises(CheckpointError, match=r"does not say which lens.*modality='depth', modality='audio'"):
            load_lens(path, **OVERRIDES["audio"])
        assert load_lens(path, "audio", **OVERRIDES["audio"]).modality == "audio"

    def test_a_number_of_layers_that_the_file_cannot_hold(self, write):
        state = released_state(make(small_config("eeg")))
        state["visual.perceiver.layers.999999999.0.norm.weight"] = torch.ones(24)
        with pytest.raises(CheckpointError, match=r"numbers its layers up to 999999999, but has \d+ tensors"):
            load_lens(write(state), **OVERRIDES["eeg"])


class TestOverrides:
    @pytest.fixture
    def path(self, write):
        return write(released_state(make(small_config("point_cloud"))))

    def test_heads_that_nothing_tells_are_asked_for(self, path):
        with pytest.raises(ConfigError, match=r"share 16 features.*cross_dim_head=.*88.*64"):
            load_lens(path)

    @pytest.mark.parametrize(
        ("wrong", "numbers"),
        [
            ({"latent_dim_head": 24}, ("24", "64")),
            ({"latent_heads": 3}, ("3", "64")),
            ({"latent_heads": 2, "latent_dim_head": 16}, ("2", "16", "64")),
            ({"depth": 5}, ("5", "2")),
            ({"latents": 256}, ("256", "4")),
            ({"trans_dim": 384}, ("384", "24")),
            ({"encoder_dim": 256}, ("256", "12")),
            ({"group_size": 0}, ("group_size", "0")),
            ({"max_points": 4}, ("8", "4")),
        ],
    )
    def test_one_that_contradicts_the_weights(self, path, wrong, numbers):
        with pytest.raises(ConfigError) as caught:
            load_lens(path, **(OVERRIDES["point_cloud"] | wrong))
        assert all(number in str(caught.value) for number in numbers)

    def test_a_misspelt_one(self, path):
        with pytest.raises(ConfigError, match="did you mean 'group_size'"):
            load_lens(path, **OVERRIDES["point_cloud"], groupsize=4)

    def test_heads_may_be_given_by_number(self, path):
        given = {"cross_heads": 1, "latent_heads": 4, "group_size": 8, "num_groups": 16}
        assert load_lens(path, **given).config == load_lens(path, **OVERRIDES["point_cloud"]).config

    def test_preprocessing_is_part_of_the_lens(self, write):
        path = write(released_state(make(small_config("audio"))))
        lens = load_lens(path, **OVERRIDES["audio"], clips=1, channel=0)
        assert (lens.config.input.clips, lens.config.input.channel, lens.config.input.frames) == (1, 0, 24)

    def test_frames_that_give_other_columns(self, write):
        path = write(released_state(make(small_config("audio"))))
        assert load_lens(path, **OVERRIDES["audio"], frames=33).config.input.frames == 33
        with pytest.raises(ConfigError, match="24 to 33 frames, not 34"):
            load_lens(path, **OVERRIDES["audio"], frames=34)


def released_shapes(id_: str) -> dict[str, torch.Tensor]:
    """A released lens's tensors on the meta device: shapes without bytes."""
    embedding, resampler = presets()[id_]
    modality = {"Datacomp_L14_objaverse": "point_cloud", "eva_g14_objaverse": "point_cloud"}.get(id_, "audio")
    with torch.device("meta"):
        lens = make_meta(modality, embedding, resampler)
    return released_state(lens)


def make_meta(modality, embedding, resampler):
    frames = 204 if getattr(embedding, "positions", 0) == 240 else 512
    settings = AudioSettings(frames=frames) if modality == "audio" else None
    return Lens(LensConfig(modality, resampler.width, embedding, resampler, settings, family=EVA))


@pytest.mark.parametrize(
    ("id_", "heads"),
    [
        ("eva_g14_objaverse", (1, 88, 16, 88)),
        ("Datacomp_L14_objaverse", (1, 64, 16, 64)),
        ("eva_g14-audio-asvgg-dur2", (1, 88, 16, 88)),
        ("vitlensL_audio", (1, 64, 16, 64)),
    ],
)
def test_released_dimensions_need_no_override(id_, heads):
    config = infer(recognise(Path(f"{id_}.pt"), released_shapes(id_)), {})
    assert (config.embedding, config.resampler) == presets()[id_]
    resampler = config.resampler
    assert (resampler.cross_heads, resampler.cross_dim_head, resampler.latent_heads, resampler.latent_dim_head) == heads
    if config.modality == "audio":
        expected = (512, 5.0) if id_ == "vitlensL_audio" else (204, 2.0)
        assert (config.input.frames, config.input.clip_seconds) == expected
