import json

from lens_plugins.cli.output import answer, complain, one_line, print_json, progress


def test_an_answer_about_one_input():
    found = answer(["audio.x"], ["audio"], "what?", "rain", host="h", seconds=1.23456)
    assert found == {
        "inputs": ["audio.x"], "modality": "audio", "prompt": "what?", "text": "rain", "host": "h", "seconds": 1.235,
    }  # fmt: skip


def test_an_answer_about_several_inputs_lists_their_modalities():
    found = answer(["a.wav", "b.npy"], ["audio", "eeg"], "what?", "rain", host="h", seconds=1, fuse="llm")
    assert (found["modality"], found["fuse"]) == (["audio", "eeg"], "llm")


def test_json_is_one_line_and_keeps_letters(capsys):
    print_json({"text": "une chaise\n« Thonet »"})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "«" in out
    assert json.loads(out) == {"text": "une chaise\n« Thonet »"}


def test_complaints_are_one_line_on_stderr(capsys):
    complain("first\n  second")
    assert capsys.readouterr() == ("", "error: first second\n")
    assert one_line(" a \n b\tc ") == "a b c"


def test_progress_is_for_terminals(capsys):
    with progress("loading"):
        pass
    assert capsys.readouterr() == ("", "")
