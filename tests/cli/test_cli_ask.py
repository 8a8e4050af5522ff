import json


def test_the_last_word_is_the_question(cli, small, plugged):
    ended = cli("ask", small / "piano.npy", small / "beach.jpg", "what is it?", *plugged, "--json")
    found = json.loads(ended.out)
    assert found["prompt"] == "what is it?"
    assert found["inputs"] == [str(small / "piano.npy"), str(small / "beach.jpg")]
    assert found["fuse"] == "vit"  # the host's own choice


def test_options_may_stand_before_the_files(cli, small, plugged):
    words = [small / "piano.npy", "what is it?"]
    assert cli("ask", *plugged, *words).out == cli("ask", *words, *plugged).out != ""


def test_a_forgotten_question_is_noticed(cli, small, plugged):
    ended = cli("ask", small / "piano.npy", small / "beach.jpg", *plugged)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"error: The question is missing: the last argument, {small / 'beach.jpg'}, is a file. "
        f'An example: lens-plugins ask {small / "beach.jpg"} "What is it for?"\n'
    )


def test_one_bad_file_is_no_answer(cli, small, plugged):
    ended = cli("ask", small / "piano.npy", "gone.ply", "what is it?", *plugged)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: There is no file gone.ply; check its name and folder.\n"


def test_a_file_alone_lacks_a_question_not_a_file(cli, small):
    ended = cli("ask", small / "piano.npy")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: The question is missing: ")
