import json

import numpy as np
import pytest

from lens_plugins.evaluate.names import BENCHMARKS


@pytest.fixture
def modelnet(tmp_path):
    """Four clouds in ModelNet40's layout, one of them listed and not there."""
    root, rng = tmp_path / "modelnet40_normal_resampled", np.random.default_rng(0)
    names = ["chair_0890", "night_stand_0201", "sofa_0681", "sofa_0682"]
    for name in names[:3]:
        folder = root / name.rpartition("_")[0]
        folder.mkdir(parents=True)
        np.savetxt(folder / f"{name}.txt", rng.standard_normal((60, 6)), fmt="%.6f", delimiter=",")
    (root / "modelnet40_test.txt").write_text("\n".join(names))
    return tmp_path


def test_modelnet40_by_command(cli, modelnet, literate, tmp_path):
    words = ["eval", "modelnet40", "--data", modelnet, *literate, "--template", "a {}", "--cache", tmp_path / "cache"]
    ended = cli(*words, "--json", tmp_path / "out.json", "--confusion", tmp_path / "new" / "confusion.png")
    assert ended.code == 0
    assert "3 used of 2468 expected" in ended.out
    assert "ours  published  difference   chance" in ended.out
    assert "1 missing; the first: sofa/sofa_0682.txt" in ended.out
    assert "texts: 40 of 40\ninputs: 4 of 4" in ended.err
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["used"], found["expected"], found["cached"]) == (3, 2468, 0)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["confusion.png"]  # nothing half-written beside it
    assert (tmp_path / "new" / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert found["published"][0]["figures"] == {"top1": 80.6, "top5": 95.8}
    assert cli(*words, "--json", tmp_path / "again.json").code == 0
    again = json.loads((tmp_path / "again.json").read_text())
    assert (again["cached"], again["figures"]) == (3, found["figures"])


def test_pairs_of_two_modalities(cli, small, literate, tmp_path):
    lines = [
        {"modality": "point_cloud", "path": str(small / "piano.npy"), "label": "piano"},
        {"modality": "point_cloud", "path": str(small / "chair.npy"), "label": "photo"},
        {"modality": "image", "path": str(small / "beach.jpg"), "label": "story"},
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    ended = cli("eval", "pairs", "--data", tmp_path / "pairs.jsonl", *literate)
    assert ended.code == 0
    assert "Own pairs" in ended.out
    assert "top1 by class" in ended.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--template", "a chair"], "has no {}"),
        (["--confusion", "x.txt"], "a picture is written as"),
        (["--show", "x.png"], "eval draws no inputs"),
        (["--set", "audio.clips=2"], "modelnet40 reads point_cloud alone"),
    ],
)
def test_wrong_calls_are_one_sentence(cli, modelnet, literate, words, told):
    ended = cli("eval", "modelnet40", "--data", modelnet, *literate, *words)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err


def test_a_wrong_folder_is_told_before_a_host_is_loaded(cli, tmp_path):
    ended = cli("eval", "esc50", "--data", tmp_path, "--host", "no-such-host")
    assert ended.code == 2
    assert "There is no esc50_label.json" in ended.err


@pytest.mark.parametrize("option", ["--confusion", "--json"])
def test_what_cannot_be_written_is_told_before_a_host_is_loaded(cli, modelnet, tmp_path, option):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    words = ["eval", "modelnet40", "--data", modelnet, "--host", "no-such-host"]
    for target, told in (("file/c.png", "its folder cannot be made"), ("folder.png", "is a folder")):
        ended = cli(*words, option, tmp_path / target)
        assert (ended.code, ended.out) == (2, "")
        assert option in ended.err
        assert told in ended.err
    ended = cli(*words, "--confusion", tmp_path / "a.png", "--json", tmp_path / "a.png")
    assert (ended.code, "give two files" in ended.err) == (2, True)


def test_a_picture_that_no_task_draws_is_refused_before_a_host_is_loaded(cli, tmp_path):
    (tmp_path / "pairs.jsonl").write_text(
        "".join(f'{{"modality": "audio", "path": "{n}.wav", "text": "{n}"}}\n' for n in (1, 2))
    )
    words = ["--data", tmp_path / "pairs.jsonl", "--host", "no-such-host", "--confusion", tmp_path / "c.png"]
    ended = cli("eval", "pairs", *words)
    assert (ended.code, "has no single class for each input" in ended.err) == (2, True)


def test_every_benchmark_has_a_command_with_an_example(cli):
    listed = cli("eval", "--help").out
    for name, named in BENCHMARKS.items():
        assert name in listed
        told = cli("eval", name, "--help").out
        assert named.title in " ".join(told.split())
        assert f"lens-plugins eval {name} --data" in told


def test_captions_of_two_systems_and_another_ones_answers(cli, small, literate, tmp_path, monkeypatch):
    from types import SimpleNamespace

    import torch

    from lens_plugins.evaluate import caption_metrics

    monkeypatch.setattr(
        caption_metrics, "_sentences", lambda: SimpleNamespace(encode=lambda texts: torch.ones(len(texts), 1))
    )
    lines = [
        {"path": str(small / "piano.npy"), "modality": "point_cloud", "references": ["a piano"], "label": "piano",
         "picture": str(small / "beach.jpg"), "id": "p"},
        {"path": str(small / "chair.npy"), "modality": "point_cloud", "references": ["a photo"], "label": "photo",
         "picture": str(small / "beach.jpg"), "id": "c"},
    ]  # fmt: skip
    (tmp_path / "things.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "other.jsonl").write_text('{"id": "c", "text": "A photo."}\n')
    words = ["--data", tmp_path / "things.jsonl", *literate, "--num-beams", "1", "--max-new-tokens", "4"]
    ended = cli(
        "eval", "captions", *words, "--system", "lens", "--system", "picture", "--system", "nearest",
        "--answers", f"Other={tmp_path / 'other.jsonl'}", "--json", tmp_path / "out.json",
        "--page", tmp_path / "p.html",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "out.json").read_text())
    assert [one["Other"] for one in found["said"]] == ["", "A photo."]
    assert [one["nearest"] for one in found["said"]] == ["a photo", "a piano"]
    assert found["scores"]["Other"]["named"] == 50
    assert found["scores"]["Other"]["bleu1"] == pytest.approx(100 * np.exp(1 - 4 / 2) * 1, rel=1e-5)
    assert (tmp_path / "p.html").read_text().count("<tr>") == 3
    assert "names it" in ended.out
    wrong = cli("eval", "captions", *words, "--page", tmp_path / "p.png")
    assert (wrong.code, wrong.out) == (2, "")


def test_a_host_that_embeds_with_towers_is_scored(cli, modelnet, tmp_path):
    from lens_plugins.testing.small_clip import write_clip

    folder = write_clip(tmp_path / "clip", "vitlensL")
    ended = cli("eval", "modelnet40", "--data", modelnet, "--host", folder, "--cache", tmp_path / "cache")
    assert ended.code == 0, ended.err
    assert "3 used of 2468 expected" in ended.out
