import io
import json

import pytest


def test_one_file_has_a_line_for_each_label(cli, small, literate):
    ended = cli("classify", small / "piano.npy", "--labels", "piano, photo ,a story", *literate)
    assert (ended.code, ended.err) == (0, "")
    scores, labels = zip(*(line.split("  ", 1) for line in ended.out.splitlines()))
    assert set(labels) == {"piano", "photo", "a story"}
    assert list(map(float, scores)) == sorted(map(float, scores), reverse=True)
    assert sum(map(float, scores)) == pytest.approx(1, abs=0.002)


def test_several_files_have_a_line_each_and_modalities_mix(cli, small, literate):
    names = [small / "piano.npy", small / "beach.jpg", f"depth:{small / 'room.png'}"]
    ended = cli("classify", *names, "--labels", "piano,photo", *literate)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert [line.rsplit(": ", 1)[0] for line in lines] == [str(name) for name in names]
    first = lines[0].rsplit(": ", 1)[1].split(", ")
    assert {told.split()[0] for told in first} == {"piano", "photo"}


def test_json_has_every_label(cli, small, literate):
    ended = cli("classify", small / "piano.npy", "--labels", "piano,photo", "--json", *literate)
    found = json.loads(ended.out)
    assert set(found) == {"inputs", "modality", "labels", "host", "seconds"}
    assert (found["inputs"], found["modality"]) == ([str(small / "piano.npy")], "point_cloud")
    assert {each["label"] for each in found["labels"]} == {"piano", "photo"}
    assert found["labels"][0]["score"] >= found["labels"][1]["score"]


def test_a_template_stands_around_labels_and_not_in_the_answer(cli, small, literate):
    words = ["classify", small / "piano.npy", "--labels", "piano,photo", *literate]
    plain, around = cli(*words).out, cli(*words, "--template", "a photo of a {}").out
    assert plain != around
    assert {line.split("  ")[1] for line in around.splitlines()} == {"piano", "photo"}


def test_templates_are_averaged_and_their_order_is_nothing(cli, small, literate):
    words = ["classify", small / "piano.npy", "--labels", "piano,photo", *literate]
    one, other = ("--template", "a {}"), ("--template", "the photo of {}")
    both = cli(*words, *one, *other).out
    assert both == cli(*words, *other, *one).out
    assert both not in (cli(*words, *one).out, cli(*words, *other).out)


def test_the_batch_changes_nothing_and_names_come_from_stdin(cli, small, literate, monkeypatch):
    names = [str(small / "piano.npy"), str(small / "beach.jpg"), str(small / "chair.npy")]
    given = cli("classify", *names, "--labels", "piano,photo", *literate, "--batch-size", "2").out
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(names)))
    assert cli("classify", "-", "--labels", "piano,photo", *literate).out == given


def test_a_broken_file_does_not_keep_the_others(cli, small, literate, tmp_path):
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    ended = cli("classify", tmp_path / "broken.npy", small / "piano.npy", "--labels", "piano,photo", *literate)
    assert ended.code == 2
    assert ended.out.startswith(f"{small / 'piano.npy'}: ")
    assert ended.err.count("\n") == 1


WRONG = {  # words after `classify`, what the complaint says
    "no labels": (["{small}/piano.npy", "--labels", ""], "There are 0 labels; at least 2"),
    "one label": (["{small}/piano.npy", "--labels", "piano"], "There is 1 label, 'piano'; at least 2"),
    "a label twice": (["{small}/piano.npy", "--labels", "a,b, a"], "The label 'a' is given 2 times"),
    "an empty label": (["{small}/piano.npy", "--labels", "a,,b"], "Label 2 of 3 is empty"),
    "a template without a place": (["{small}/piano.npy", "--labels", "a,b", "--template", "a"], "has no {}"),
    "no such file": (["gone.ply", "--labels", "a,b"], "no file gone.ply"),
    "a modality without a lens": (["tactile:{small}/beach.jpg", "--labels", "a,b"], "--lens tactile=PATH"),
    "a text for a file": (["text:a dog", "--labels", "a,b"], "prefix 'text'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_call(cli, small, literate, case):
    words, complaint = WRONG[case]
    ended = cli("classify", *(word.format(small=small) if "{small}" in word else word for word in words), *literate)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert complaint in ended.err


def test_labels_must_be_given_and_a_host_must_know_texts(cli, small, plugged):
    assert "--labels" in cli("classify", small / "piano.npy").err
    host = plugged[: plugged.index("--max-new-tokens")]
    ended = cli("classify", small / "piano.npy", "--labels", "a,b", *host)
    assert (ended.code, ended.out) == (2, "")
    assert "has no text tower" in ended.err
