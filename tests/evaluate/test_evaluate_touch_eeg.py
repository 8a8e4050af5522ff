"""Touch-and-Go and ImageNet-EEG on small folders in their real layouts."""

import numpy as np
import pytest
import torch
from PIL import Image
from stub_host import class_vectors, top_k, vector_of, write_json

from lens_plugins import read
from lens_plugins.errors import InputError
from lens_plugins.evaluate import evaluate, find_benchmark
from lens_plugins.evaluate.in_eeg import TEMPLATES
from lens_plugins.evaluate.touch_and_go import MATERIALS
from lens_plugins.inputs import EegSettings

SHOWS = ("an image of {c}.", "a tactile image of {c}.")
FEELS = ("the meterial is {c}.", "this type of material is {c}.")


@pytest.fixture
def touch(tmp_path, rng):
    """Five frames; the last of them undecided in all three ways."""
    rows = []
    for number, (material, hard, rough) in enumerate([(10, 1, 1), (0, 0, 1), (19, 1, 0), (10, 0, 0), (-1, -1, -1)]):
        name = f"20220318_030358/gelsight_frame/{number:010d}.jpg"
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
        rows.append({"gel_path": name, "material_label": material, "hs_label": hard, "sr_label": rough})
    write_json(tmp_path / "test.json", rows)
    write_json(tmp_path / "test_rough.json", rows)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "names", "templates", "right"),
    [
        ("touch-material", MATERIALS, SHOWS, [10, 0, 19, 10]),
        ("touch-hard", ("hard", "soft"), FEELS, [1, 0, 1, 0]),
        ("touch-rough", ("smooth", "rough"), FEELS, [1, 1, 0, 0]),
    ],
)
def test_touch(host, touch, name, names, templates, right):
    result = evaluate(host, name, touch)
    vectors = [vector_of(one) for one in host.seen]
    classes = class_vectors(names, templates)
    assert result.figures["top1"] == pytest.approx(top_k(vectors, classes, right, 1))
    assert result.chance["top1"] == pytest.approx(100 / len(names))
    assert (result.used, result.rows, result.misses) == (4, 4, [])  # undecided frames are no misses


def test_ruber_and_meterial_are_misspelt_as_the_original_has_them(host, touch):
    told = []
    embed = host.embed
    host.embed = lambda inputs, space=None: (told.extend(inputs), embed(inputs, space))[1]
    evaluate(host, "touch-material", touch)
    evaluate(host, "touch-hard", touch)
    texts = {one.text for one in told if hasattr(one, "text")}
    assert "a tactile image of ruber." in texts
    assert "a tactile image of rubber." not in texts
    assert "the meterial is soft." in texts
    assert "the material is soft." not in texts
    told.clear()
    evaluate(host, "touch-material-spelt", touch)
    evaluate(host, "touch-hard-spelt", touch)
    evaluate(host, "touch-rough-spelt", touch)
    texts = {one.text for one in told if hasattr(one, "text")}
    assert {"a tactile image of rubber.", "the material is soft.", "the material is rough."} <= texts
    assert not any("ruber" in text or "meterial" in text for text in texts)


def test_rough_counts_frames_of_four_recordings():
    assert find_benchmark("touch-rough").expected == 8085
    assert any("four recordings" in note for note in find_benchmark("touch-rough").notes)


@pytest.fixture
def eeg(tmp_path, rng):
    """Seven trials, of which one is too short and one too long; two splits."""
    lengths = (500, 449, 450, 600, 601, 512, 500)
    labels = (0, 1, 2, 0, 1, 2, 1)
    trials = [
        {"eeg": torch.from_numpy(rng.standard_normal((128, length))), "image": 0, "label": label, "subject": 4}
        for length, label in zip(lengths, labels)
    ]
    synsets = ["n02106662", "n02124075", "n02281787"]
    torch.save({"dataset": trials, "labels": synsets, "images": ["a", "b"]}, tmp_path / "eeg_5_95_std.pth")
    splits = [{"train": [6], "val": [5, 6], "test": [0, 1, 2, 3, 4]}]
    torch.save({"splits": splits}, tmp_path / "block_splits_by_image_all.pth")
    names = ["German shepherd, alsatian", ["Egyptian cat", "cat"], "lycaenid"]
    write_json(tmp_path / "imagenet_cls_mapping.json", dict(zip(synsets, names)))
    return tmp_path, trials


def test_in_eeg(host, eeg):
    """Trials of 450 to 600 samples; samples 20 to 460 stretched to 512; first name of each synset."""
    folder, trials = eeg
    result = evaluate(host, "in-eeg", folder)
    classes = class_vectors(["German shepherd", "Egyptian cat", "lycaenid"], TEMPLATES)
    right = [trials[number]["label"] for number in (0, 2, 3)]
    assert result.used == result.rows == 3
    assert result.figures["top1"] == pytest.approx(top_k([vector_of(x) for x in host.seen], classes, right, 1))
    wanted = read(trials[2]["eeg"].float(), "eeg", EegSettings()).tensor
    np.testing.assert_array_equal(host.seen[1].tensor, wanted)
    ends = trials[2]["eeg"].float()[:, [20, 449]]
    torch.testing.assert_close(host.seen[1].tensor[:, [0, -1]], ends)
    assert evaluate(host, "in-eeg-val", folder).used == 2


def test_in_eeg_says_that_blocks_tell_the_class(host, eeg):
    folder, _ = eeg
    assert any("block of its own" in said for said in evaluate(host, "in-eeg", folder).remarks())


def test_a_pickle_with_objects_is_refused(host, eeg):
    folder, _ = eeg
    torch.save({"dataset": [object()], "labels": []}, folder / "eeg_5_95_std.pth")
    with pytest.raises(InputError, match="holds more than tensors"):
        evaluate(host, "in-eeg", folder)


def test_lists_of_other_fields_are_one_sentence(host, touch):
    write_json(touch / "test.json", [{"gel": "x"}])
    with pytest.raises(InputError, match=r"Touch-and-Go, material .*material_label.*other fields"):
        evaluate(host, "touch-material", touch)


def test_prompts_spelt_right_or_an_unknown_count_reproduce_nothing(host, touch):
    host.lenses["tactile"].source = "vitlensL_tactile.pt"
    for name in ("touch-material", "touch-material-spelt"):
        assert not evaluate(host, name, touch, templates=["{c}"]).reproduces
    assert "Prompts are spelt right here" in evaluate(host, "touch-material-spelt", touch).text()


@pytest.mark.parametrize("label", [2.7, -2, 20, "wood"])
def test_a_touch_label_that_is_no_class_is_refused(host, touch, label):
    write_json(touch / "test.json", [{"gel_path": "a.jpg", "material_label": label}])
    with pytest.raises(InputError, match=r"material_label of a\.jpg is .*0 to 19, -1 undecided"):
        evaluate(host, "touch-material", touch)


def test_a_trial_from_the_end_or_of_no_class_is_refused(host, eeg):
    folder, trials = eeg
    torch.save({"splits": [{"test": [0, -2]}]}, folder / "block_splits_by_image_all.pth")
    with pytest.raises(InputError, match=r"split test has trial -2; trials are 0 to 6"):
        evaluate(host, "in-eeg", folder)
    torch.save({"splits": [{"test": [0, 2]}]}, folder / "block_splits_by_image_all.pth")
    trials[2]["label"] = 3
    synsets = ["n02106662", "n02124075", "n02281787"]
    torch.save({"dataset": trials, "labels": synsets}, folder / "eeg_5_95_std.pth")
    with pytest.raises(InputError, match=r"the class of trial 2 is 3; .* 0 to 2"):
        evaluate(host, "in-eeg", folder)
