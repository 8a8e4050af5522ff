import json
import shutil

import numpy as np
import pytest
import torch

from lens_plugins.errors import CheckpointError, ConfigError, DoesNotFit, InputError, MissingDependency, Unsupported
from lens_plugins.hosts.seed_llama import detokenizer as module
from lens_plugins.hosts.seed_llama.detokenizer import Detokenizer, Drawing
from lens_plugins.testing.small_seed import small_unclip

QUICK = Drawing(steps=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("unclip")
    small_unclip(root / "clip").save_pretrained(root / "unclip")
    return root / "unclip"


@pytest.fixture(scope="module")
def detokenizer(folder):
    return Detokenizer.load(folder)


@pytest.fixture(scope="module")
def embeds():
    return 3 * torch.randn(5, 20, generator=torch.Generator().manual_seed(0))


def pixels(pictures):
    return np.stack([np.asarray(picture, dtype=np.int16) for picture in pictures])


@pytest.mark.parametrize("together", [2, 32])
def test_neighbours_change_nothing_and_a_seed_repeats(detokenizer, embeds, monkeypatch, together):
    monkeypatch.setattr(module, "_MOST", together)
    seeds = [4, 5, 6, 7, 8]
    together = pixels(detokenizer.draw(embeds, seeds, QUICK))
    alone = pixels([detokenizer.draw(embeds[i : i + 1], [seeds[i]], QUICK)[0] for i in range(5)])
    assert np.abs(together - alone).max() <= 1  # of 255: a float's rounding
    assert np.abs(together[0] - together[1]).max() > 5
    assert np.abs(pixels(detokenizer.draw(embeds[:1], [99], QUICK)) - alone[0]).max() > 5


def test_a_pipeline_that_brings_code_is_not_loaded_and_its_code_not_run(folder, tmp_path, monkeypatch):
    copy, ran = shutil.copytree(folder, tmp_path / "unclip"), tmp_path / "ran"
    (copy / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()")
    (copy / "unet" / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()")
    monkeypatch.syspath_prepend(copy)
    index = json.loads((copy / "model_index.json").read_text())
    for part in (["evil", "UNet"], ["this", "UNet"]):
        (copy / "model_index.json").write_text(json.dumps({**index, "unet": part}))
        with pytest.raises(CheckpointError, match=rf"Its unet is of '{part[0]}'; parts are read of diffusers"):
            Detokenizer.load(copy)
    assert not ran.exists()


@pytest.mark.parametrize("text", ["[]", "{", '{"unet": [1]}', '{"unet": {"a": 1}}', '{"_class_name": 3}'])
def test_a_damaged_index_is_one_sentence(folder, tmp_path, text):
    copy = shutil.copytree(folder, tmp_path / "unclip")
    (copy / "model_index.json").write_text(text)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        Detokenizer.load(copy)


def test_large_pictures_are_drawn_few_at_a_time(detokenizer, embeds, monkeypatch):
    counts = []
    monkeypatch.setattr(detokenizer, "_draw", lambda part, seeds, how: counts.append(len(part)) or [])
    for size, expected in ((768, [4, 1]), (1536, [1] * 5), (None, [5])):
        counts.clear()
        detokenizer.draw(embeds, [0] * 5, Drawing(size=size))
        assert counts == expected


def test_every_argument_counts(detokenizer, embeds):
    one = embeds[:1]
    base = pixels(detokenizer.draw(one, [1], QUICK))
    for how in (Drawing(steps=3), Drawing(steps=2, guidance=3.0), Drawing(steps=2, noise_level=600)):
        assert np.abs(pixels(detokenizer.draw(one, [1], how)) - base).max() > 2, how
    assert detokenizer.draw(one, [1], Drawing(steps=1, size=24))[0].size == (24, 24)
    assert detokenizer.draw(one, [1], QUICK)[0].size == (16, 16)
    assert np.abs(pixels(detokenizer.draw(2 * one, [1], QUICK)) - base).max() > 2


def test_the_image_encoder_is_neither_loaded_nor_needed(folder, embeds, tmp_path, monkeypatch):
    import json

    copy = shutil.copytree(folder, tmp_path / "unclip")
    index = json.loads((copy / "model_index.json").read_text())
    index["image_encoder"] = ["transformers", "CLIPVisionModelWithProjection"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]  # neither folder is there
    (copy / "model_index.json").write_text(json.dumps(index))
    loaded = Detokenizer.load(copy)
    assert sum(p.numel() for p in loaded.pipeline.image_encoder.parameters()) == 1
    first, second = (pixels(d.draw(embeds[:1], [1], QUICK)) for d in (loaded, Detokenizer.load(folder)))
    assert np.array_equal(first, second)


def test_half_precision(folder, embeds):
    half = Detokenizer.load(folder, dtype=torch.bfloat16)
    assert half.pipeline.unet.dtype == half.pipeline.image_normalizer.mean.dtype == torch.bfloat16
    assert half.draw(embeds[:1], [1], Drawing(steps=1))[0].size == (16, 16)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"size": 100}, "size is 100; it must be a positive multiple of 8"),
        ({"size": -8}, "size is -8"),
        ({"noise_level": -1}, "noise_level is -1"),
        ({"candidates": 0}, "candidates is 0; it must be at least 1"),
        ({"guidance": float("nan")}, "guidance is nan"),
    ],
)
def test_what_cannot_be_drawn_with_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Drawing(**fields)


def test_wrong_embeddings_are_refused(detokenizer, embeds):
    with pytest.raises(DoesNotFit, match=r"\(B, 20\), got \(5, 19\)"):
        detokenizer.draw(embeds[:, :19], [0] * 5)
    with pytest.raises(InputError, match="2 seeds for 5 pictures"):
        detokenizer.draw(embeds, [1, 2])
    broken = embeds.clone()
    broken[0, 3] = torch.nan
    with pytest.raises(InputError, match="1 of 100 values of the image embeddings are not finite"):
        detokenizer.draw(broken, [0] * 5)
    with pytest.raises(ConfigError, match=r"noise_level is 1000; .* levels 0 to 999"):
        detokenizer.draw(embeds, [0] * 5, Drawing(noise_level=1000))


def test_absent_weights_name_the_mirror(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"withdrew.*sd2-community/stable-diffusion-2-1-unclip is a community"):
        Detokenizer.load("stabilityai/stable-diffusion-2-1-unclip")


def test_absent_diffusers_name_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(MissingDependency, match=r"Drawing pictures needs .*pip install 'lens-plugins\[seed\]'"):
        Detokenizer.load("anything/at-all")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator")
def test_offload_without_an_accelerator_is_refused(folder):
    with pytest.raises(Unsupported, match="no accelerator"):
        Detokenizer.load(folder, offload=True)


def test_offload_is_the_pipelines_own(folder, monkeypatch):
    made = Detokenizer.load(folder)
    called = []
    monkeypatch.setattr(module.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(made.pipeline, "enable_model_cpu_offload", lambda: called.append(True), raising=False)
    made.offload()
    assert called == [True]
