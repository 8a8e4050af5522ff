import subprocess
import sys

import pytest

from lens_plugins import __version__
from lens_plugins.cli import main
from lens_plugins.cli.main import run
from lens_plugins.errors import DoesNotFit, InternalError, LensPluginsError


@pytest.fixture
def raising(monkeypatch):
    """A `doctor` that raises what it is told to."""

    def make(error):
        def examine():
            raise error

        monkeypatch.setattr("lens_plugins.cli.doctor.examine", examine)

    return make


def test_version(cli):
    assert cli("--version").out == f"lens-plugins {__version__}\n"


def test_no_command_shows_the_commands(cli):
    ended = cli()
    assert ended.code == 2
    for command in ("caption", "ask", "story", "chat", "lens", "doctor", "train"):
        assert f"\n  {command} " in ended.out + ended.err


@pytest.mark.parametrize(
    ("error", "code"), [(DoesNotFit("width 8;\n not 16"), 2), (InternalError("width 8; not 16"), 1)]
)
def test_our_errors_are_one_line_and_their_own_exit_code(cli, raising, error, code):
    raising(error)
    ended = cli("doctor")
    assert (ended.code, ended.out) == (code, "")
    assert ended.err == "error: width 8; not 16\n"


def test_every_error_has_an_exit_code():
    def below(error):
        return [error, *(deeper for each in error.__subclasses__() for deeper in below(each))]

    assert {error.exit_code for error in below(LensPluginsError)} == {1, 2, 130}


def test_an_unexpected_error_is_one_line_and_names_the_way_to_its_traceback(cli, raising):
    raising(RuntimeError("shape (3, 4)\nbroke"))
    ended = cli("doctor")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "error: unexpected RuntimeError: shape (3, 4) broke - our fault; LENS_PLUGINS_DEBUG=1 shows where it is.\n"
    )


def test_debugging_lets_the_traceback_through(raising, monkeypatch):
    monkeypatch.setenv("LENS_PLUGINS_DEBUG", "1")
    raising(RuntimeError("broke"))
    with pytest.raises(RuntimeError, match="broke"):
        run(["doctor"])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["captoin", "x.ply"], "No such command 'captoin'"),
        (["caption"], "Missing argument 'FILE'"),
        (["caption", "x.ply", "--fuse", "vitt"], "'--fuse'"),
        (["caption", "x.ply", "--num-beams", "0"], "'--num-beams'"),
        (["ask"], "Missing argument 'FILE... QUESTION'"),
        (["ask", "x.ply"], 'The file is missing. An example: lens-plugins ask chair.ply "x.ply"'),
        (["lens", "inspect"], "Missing argument 'FILE'"),
    ],
)
def test_a_wrong_call_is_exit_code_2(cli, words, complaint):
    ended = cli(*words)
    assert (ended.code, ended.out) == (2, "")
    assert complaint in ended.err


def test_main_silences_then_runs(monkeypatch):
    order = []
    monkeypatch.setattr(main, "quieten", lambda: order.append("quieten"))
    monkeypatch.setattr("sys.argv", ["lens-plugins", "--version"])
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert (order, stop.value.code) == (["quieten"], 0)


def test_only_the_module_of_the_command_is_imported():
    code = (
        "import sys; from lens_plugins.cli.main import run; run(['caption', '--help']); "
        "print([name for name in sys.modules if name.startswith('lens_plugins.cli.')], file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert "lens_plugins.cli.caption" in told
    assert "lens_plugins.cli.train" not in told
    assert "lens_plugins.cli.eval" not in told


def test_a_name_like_a_command_is_answered_with_the_command(capsys):
    assert run(["captoin"]) == 2  # all commands are known then
    assert "Did you mean 'caption'" in capsys.readouterr().err
