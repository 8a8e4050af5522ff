import io

import pytest

from lens_plugins.hosts.base import Host


@pytest.fixture
def chat(cli, plugged, monkeypatch):
    """Run a conversation; what is typed comes from a pipe."""

    def talk(typed, *files):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        words = [word for word in plugged if word not in ("--num-beams", "1")]
        return cli("chat", *files, *words)

    return talk


def test_each_question_has_a_line(chat, cli, small, plugged):
    ended = chat("what is it?\n\nwhat is this?\n", small / "piano.npy")
    assert (ended.code, ended.err) == (0, "")
    asked = [cli("ask", small / "piano.npy", question, *plugged).out for question in ("what is it?", "what is this?")]
    assert [line.split() for line in ended.out.splitlines()] == [line.split() for line in asked]


def test_files_are_looked_at_once(chat, small, monkeypatch):
    looked = []
    look = Host.look
    monkeypatch.setattr(Host, "look", lambda self, *a, **k: looked.append(k) or look(self, *a, **k))
    chat("what?\nwhat?\nwhat?\n", small / "piano.npy")
    # `stream` passes what was seen through `look` again, which gives it back as it is
    assert len(looked) == 4


def test_look_add_and_quit(chat, small):
    ended = chat(f"/look {small / 'piano.npy'}\nwhat?\n/add {small / 'beach.jpg'}\nwhat?\n/quit\nwhat?\n")
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.out.splitlines()) == 2


def test_mistakes_do_not_end_it(chat, small):
    ended = chat(f"what?\n/lok x\n/look 'x\n/look gone.ply\n/look {small / 'piano.npy'}\n/add gone.ply\nwhat?\n")
    assert ended.code == 0
    assert len(ended.out.splitlines()) == 1
    assert ended.err.splitlines() == [
        "error: Nothing is looked at yet; start with: /look FILE",
        "error: There is no command /lok; /help lists them.",
        "error: /look 'x cannot be split into words: No closing quotation.",
        "error: There is no file gone.ply; check its name and folder.",
        "error: There is no file gone.ply; check its name and folder.",
    ]


def test_help_goes_to_stderr(chat):
    ended = chat("/help\n")
    assert ended.out == ""
    assert "/look FILE..." in ended.err


def test_a_bad_first_file_ends_it(chat):
    ended = chat("what?\n", "gone.ply")
    assert (ended.code, ended.out) == (2, "")
