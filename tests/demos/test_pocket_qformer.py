"""The last run of the pocket host's Q-Former, on random pictures and a random language model: a few steps."""

import json

import numpy as np
import pytest
import torch
from pocket import qformer
from pocket.dialogue import all_texts
from pocket.packs import Pictures
from pocket.qformer import Lessons, Pupil, build_model, qformer_tokenizer, train_pairs
from pocket.seed.language import new_language_model, new_words
from pocket.seed.sizes import Sizes
from pocket.vit import VitPupil, make_views

from lens_plugins.splice import digest

THINGS = ("chair", "lamp", "sofa", "table")
SMALL = Sizes(codes=4, vocabulary=400, language_width=32, language_layers=1, language_heads=2)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qformer")
    rng = np.random.default_rng(0)
    pack = folder / "sweethome"
    pack.mkdir()
    rows = [
        {"object": f"{thing}-{held}", "class": thing, "name": thing, "caption": f"a red {thing}", "view": 0,
         "split": "test" if held else "train", "source": "sweethome", "licence": "CC0-1.0"}
        for thing in THINGS for held in (False, True)
    ]  # fmt: skip
    np.save(pack / "images.npy", rng.integers(0, 256, (len(rows), 128, 128, 4)).astype(np.uint8))
    (pack / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def lessons(work):
    pictures = Pictures.open([work / "sweethome"])
    torch.manual_seed(0)
    vit = VitPupil(torch.nn.functional.normalize(torch.randn(4, 12), dim=-1), 4).eval()
    views = make_views(pictures, work / "views", count=12)
    return vit, Lessons.make(vit, pictures, views, work / "features.npy")


@pytest.fixture(scope="module")
def pupil(work, lessons):
    vit, made = lessons
    texts = all_texts(made.pictures.rows)
    words = new_words(texts, SMALL)
    vocabulary = qformer_tokenizer(texts, work / "vocabulary", size=300)
    model = build_model(vit, new_language_model(words, SMALL), len(vocabulary))
    return Pupil(model, vit, vocabulary, words)


def test_a_pair_goes_through_the_vit_together(lessons):
    _, made = lessons
    lesson = made.draw_joined(0, 3, 7, torch.Generator().manual_seed(0))
    patches = made.features.shape[1] - 1
    assert lesson.features.shape == (3, 1 + 2 * patches, made.features.shape[2])
    assert len(lesson.prompts) == len(lesson.answers) == 3
    apart = made.draw_pairs(0, 3, 7, torch.Generator().manual_seed(0))
    assert apart.features.shape == (6, 1 + patches, made.features.shape[2])
    assert apart.answers == lesson.answers  # the same pairs, wherever they meet
    assert all(" and " in answer for answer in lesson.answers)


@pytest.mark.slow  # the language model is in bfloat16: minutes on a processor without instructions for it
def test_pairs_train_the_qformer_and_nothing_that_is_frozen(work, lessons, pupil):
    vit, made = lessons
    before = digest(vit.vit), [p.clone() for p in pupil.parameters()]
    language = digest(pupil.frozen[1].to(torch.bfloat16))
    train_pairs(pupil, made, work / "pairs", steps=len(qformer.TURNS), batch=4)
    assert digest(vit.vit) == before[0]
    assert digest(pupil.frozen[1]) == language
    assert any((a != b).any() for a, b in zip(before[1], pupil.parameters()))
    logged = json.loads((work / "pairs" / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(qformer.TURNS) < set(logged)  # every place to meet was learnt from
