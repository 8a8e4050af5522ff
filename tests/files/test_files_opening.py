import os
import time
from pathlib import Path

import pytest

from lens_plugins.errors import CheckpointError, InputError, MissingDependency
from lens_plugins.files import opening
from lens_plugins.files.opening import brief, check_file, local_path, open_regular, parsing, read_bytes


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
    with open_regular(tmp_path / "a", empty=True) as file:
        assert file.read() == b""


def test_a_file_below_a_file_is_absent(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(InputError, match="There is no file"):
        check_file(tmp_path / "a" / "b")


def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is a pipe or a device"):
        check_file(tmp_path / "pipe")


def test_a_pipe_that_takes_the_name_after_the_look_is_refused_too(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"1")
    os.mkfifo(tmp_path / "pipe")
    regular = os.stat(tmp_path / "file")
    monkeypatch.setattr(opening.os, "stat", lambda _: regular)
    before = time.monotonic()
    with pytest.raises(CheckpointError, match="is a pipe or a device"):
        check_file(tmp_path / "pipe", error=CheckpointError)
    assert time.monotonic() - before < 5


def test_devices_and_links_to_them_are_refused(tmp_path):
    (tmp_path / "zeros.npy").symlink_to("/dev/zero")
    for path in ("/dev/zero", "/dev/null", tmp_path / "zeros.npy"):
        with pytest.raises(InputError, match="is a pipe or a device"):
            read_bytes(path)


def test_names_that_no_file_can_have():
    for name in ("a\0b", "x" * 5000):
        with pytest.raises(InputError, match="cannot be opened") as caught:
            check_file(Path(name))
        assert len(str(caught.value)) < 500


def test_a_long_name_keeps_both_ends():
    assert brief("a" * 300) == "a" * 300
    assert brief("start" + "x" * 5000 + "end.npy") == "start" + "x" * 145 + "…" + "x" * 143 + "end.npy"


def test_a_tilde_is_home_or_part_of_a_name(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/a.xyz") == tmp_path / "a.xyz"
    assert local_path("~.xyz") == Path("~.xyz")


def test_no_permission(tmp_path, monkeypatch):
    def refuse(*_, **__):  # root may read everything, so a real mode cannot be relied on
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a").write_bytes(b"12345")
    monkeypatch.setattr(opening.os, "open", refuse)
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
