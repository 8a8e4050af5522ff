import io

import pytest

from lens_plugins.hosts.base import Host
from lens_plugins.hosts.seed_llama.chat import SeedChat
from lens_plugins.hosts.seed_llama.images import read_notes
from lens_plugins.testing.small_seed import write_seed_host


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


def test_a_host_that_only_writes_draws_nothing(chat, small, tmp_path):
    ended = chat("what?\n", small / "piano.npy", "-o", tmp_path / "out.png")
    assert (ended.code, ended.out) == (2, "")
    assert "--output is for what a SEED-LLaMA draws" in ended.err


@pytest.fixture(scope="module")
def artist(tmp_path_factory):
    return write_seed_host(tmp_path_factory.mktemp("chat") / "artist")


@pytest.fixture
def remembered(cli, small, artist, monkeypatch):
    """Run a conversation with a host that remembers; gives how it ended, and the histories after each reply."""
    histories = []
    say = SeedChat.say

    def said(self, *words, **options):
        reply = say(self, *words, **options)
        histories.append([*self.history])
        return reply

    def talk(typed, *words):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        monkeypatch.setattr(SeedChat, "say", said)
        lens = f"point_cloud={small / 'point_cloud'}"
        ended = cli("chat", *words, "--host", artist, "--lens", lens, "--max-new-tokens", "8", "--seed", "3")
        return ended, histories

    return talk


def test_a_seed_llama_remembers_what_it_was_shown_and_drew(remembered, small, tmp_path):
    typed = f"what is it?\nmake it red\n/add {small / 'chair.npy'}\nand this?\n"
    words = [small / "beach.jpg", "-o", tmp_path / "out.png", "--generation", "force_image=true"]
    ended, histories = remembered(typed, *words)
    assert (ended.code, ended.err) == (0, "")
    first, second, third = histories[-1]
    assert "<img>" in first[0]  # what was shown, as codes
    assert "<img>" in first[1]  # what was drawn, as codes
    assert second[0] == "make it red"  # shown once
    assert "<img>" in third[0]  # the cloud
    assert [len(history) for history in histories] == [1, 2, 3]
    paths = [tmp_path / f"out-{number}.png" for number in (1, 2, 3)]
    assert [line for line in ended.out.splitlines() if line.endswith(".png")] == [str(path) for path in paths]
    assert [read_notes(path)["prompt"] for path in paths] == ["what is it?", "make it red", "and this?"]


def test_looking_at_something_else_begins_anew(remembered, small):
    ended, histories = remembered(f"hello\n/look {small / 'beach.jpg'}\nwhat?\n", "--generation", "force_image=true")
    assert ended.code == 0
    assert [len(history) for history in histories] == [1, 1]
    assert ended.err == "pictures drawn: 1; --output PICTURE saves them\n" * 2
