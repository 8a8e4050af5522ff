import os
from pathlib import Path

import pytest

from lens_plugins.errors import InputError, MissingDependency
from lens_plugins.inputs.files import check_file, parsing, read_bytes


def test_content_and_size(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert (check_file(path), read_bytes(path)) == (5, b"12345")


def test_too_big_gives_both_numbers(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(InputError, match="has 5 bytes; at most 4"):
        read_bytes(tmp_path / "a", 4)


def test_absent_empty_and_directory(tmp_path):
    with pytest.raises(InputError, match=r"There is no file .*gone"):
        check_file(tmp_path / "gone")
    with pytest.raises(InputError, match="is a directory"):
        check_file(tmp_path)
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match=r"is empty \(0 bytes\)"):
        check_file(tmp_path / "a")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is a pipe or a device"):
        check_file(tmp_path / "pipe")


def test_names_that_no_file_can_have():
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(InputError, match="cannot be opened"):
            check_file(Path(name))


def test_no_permission(tmp_path, monkeypatch):
    def refuse(*_, **__):  # root may read everything, so a real mode cannot be relied on
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a").write_bytes(b"12345")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"a may not be read; give yourself permission"):
        check_file(tmp_path / "a")


def test_whatever_a_parser_raises_becomes_one_line():
    with (
        pytest.raises(InputError, match=r"^a\.x is not a whole \.x file \(first line\); save it again\.$"),
        parsing("a.x", ".x file"),
    ):
        raise AssertionError("first line.\nsecond line")
    with pytest.raises(InputError, match=r"\(EOFError\); mend it"), parsing("a.x", ".x file", "mend it"):
        raise EOFError


def test_our_own_errors_pass_through_a_parser():
    with pytest.raises(MissingDependency, match=r"^ours$"), parsing("a.x", ".x file"):
        raise MissingDependency("ours")
