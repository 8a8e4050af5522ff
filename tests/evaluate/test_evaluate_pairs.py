"""Anyone's own pairs: several modalities in one list, labels and texts."""

import json

import numpy as np
import pytest
from PIL import Image
from stub_host import top_k, vector_of

from lens_plugins.errors import InputError
from lens_plugins.evaluate import evaluate
from lens_plugins.hosts.messages import Text


@pytest.fixture
def manifest(tmp_path, rng):
    """Clouds and touch frames; two rows share a text, one has no label, one file is missing."""
    lines = []
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", rng.standard_normal((40, 3)).astype(np.float32))
        label = ("lamp", "chair")[number % 2]
        text = "a thing to sit on" if number in (1, 3) else f"thing {number}"
        lines.append({"modality": "point_cloud", "path": f"{number}.npy", "label": label, "text": text})
    Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "skin.png")
    lines.append({"modality": "tactile", "path": "skin.png", "text": ["rough skin", "a hide"], "split": "val"})
    lines.append({"modality": "point_cloud", "path": "gone.npy", "label": "lamp", "text": "what is gone"})
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    return file


def test_labels_and_texts_are_scored(host, manifest):
    result = evaluate(host, "pairs", manifest)
    vectors = [vector_of(one) for one in host.seen]
    classes = np.stack([vector_of(Text(name)) for name in ("chair", "lamp")])
    right = [1, 0, 1, 0, 1, 0]
    assert result.figures["top1"] == pytest.approx(top_k(vectors[:6], classes, right, 1))
    texts = ["thing 0", "a thing to sit on", "thing 2", "thing 4", "thing 5", "rough skin", "a hide"]
    owners = [{0}, {1, 3}, {2}, {4}, {5}, {6}, {6}]
    scores = np.stack([vector_of(Text(text)) for text in texts]) @ np.stack(vectors).T  # (7, 7)
    for k in (1, 5):
        there = [bool(own & set(np.argsort(-row)[:k])) for own, row in zip(owners, scores)]
        back = [any(n in owners[c] for c in np.argsort(-column)[:k]) for n, column in enumerate(scores.T)]
        assert result.figures[f"text to input R@{k}"] == pytest.approx(100 * np.mean(there))
        assert result.figures[f"input to text R@{k}"] == pytest.approx(100 * np.mean(back))
    assert (result.used, result.expected, result.misses[0].kind) == (7, 8, "missing")
    assert result.confusion.names == ("chair", "lamp")
    assert result.confusion.counts.sum() == 6


def test_a_manifest_of_training_serves_as_it_is(host, tmp_path, rng):
    for number in range(2):
        np.save(tmp_path / f"{number}.npy", rng.standard_normal((40, 3)).astype(np.float32))
    lines = [
        {"modality": "point_cloud", "path": f"{n}.npy", "image": "x.png", "text": f"thing {n}", "split": "val"}
        for n in range(2)
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    assert set(evaluate(host, "pairs", file).figures) == {
        f"{way} R@{k}" for way in ("text to input", "input to text") for k in (1, 5, 10)
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 1: no JSON object"),
        ("[]", "line 1: no JSON object"),
        ('{"modality": "audio", "path": "a.wav"}', "neither label nor text"),
        ('{"modality": "audio", "label": "a"}', "there is no path"),
        ('{"modality": "audio", "path": "a.wav", "label": ""}', "texts that are not empty"),
        ('{"modality": "audio", "path": "a.wav", "labels": "a"}', "'labels' is unknown"),
        ('{"modality": "sound", "path": "a.wav", "label": "a"}', "line 1: .*no modality 'sound'"),
        ('{"modality": "audio", "path": "a.wav", "label": "a"}', "1 labels and 0 texts; 2 of either"),
        ('{"path": "a.wav", "label": "a"}', "line 1: modality is None; known: "),
        ('{"modality": "audio", "path": "a.wav", "text": 5}', "line 1: label and text must be texts"),
        ('{"modality": "audio", "path": "a.wav", "text": {"a": 1}}', "line 1: label and text must be texts"),
        ('{"modality": "audio", "path": "a.wav", "label": ["a"]}', "line 1: label and text must be texts"),
        ('{"modality": "audio", "path": "a.wav", "label": "caf\udce9"}', "line 1: byte 53 is not UTF-8"),
        ("", "0 pairs"),
    ],
)
def test_bad_lines_are_named(host, tmp_path, line, reason):
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(Exception, match=reason) as told:
        evaluate(host, "pairs", file)
    assert told.value.exit_code == 2


def test_a_folder_is_no_manifest(host, tmp_path):
    with pytest.raises(InputError, match="is a directory"):
        evaluate(host, "pairs", tmp_path)


def test_a_byte_order_mark_and_line_separators_inside_texts_are_read(host, manifest):
    plain = evaluate(host, "pairs", manifest).figures
    lines = manifest.read_text().replace("thing 0", "thing\u20280").replace("\n", "\r\n")
    manifest.write_text(lines.replace("thing\u20280", "thing 0"), encoding="utf-8-sig", newline="")
    assert evaluate(host, "pairs", manifest).figures == plain
    manifest.write_text(lines, encoding="utf-8", newline="")
    assert evaluate(host, "pairs", manifest).used == 7
