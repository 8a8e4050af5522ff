import os
import subprocess
import sys

import pytest

from lens_plugins.errors import CheckpointError, LensPluginsError
from lens_plugins.files.writing import replacing


@pytest.fixture(params=[0o022, 0o027])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_the_mode_follows_the_umask(tmp_path, umask):
    for _ in range(2):  # a new file, and one that is replaced
        with replacing(tmp_path / "a") as temporary:
            temporary.unlink()
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_error_keeps_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old")

    def fail():
        with replacing(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_a_full_disk_is_one_sentence(tmp_path):
    (tmp_path / "a").write_text("old")

    def fail():
        with replacing(tmp_path / "a", error=CheckpointError) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match=r"a cannot be written: No space left on device\. Nothing was changed"):
        fail()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_disk_that_is_really_full(tmp_path):
    def fail():
        with replacing(tmp_path / "a") as temporary:
            temporary.unlink()
            temporary.symlink_to("/dev/full")
            temporary.write_text("x" * 10_000)

    with pytest.raises(LensPluginsError, match="No space left on device"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    code = (
        "import os, sys; from lens_plugins.files.writing import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n    temporary.write_text('half'); os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.")
    with replacing(tmp_path / "b"):
        pass
    assert left.exists(), "it belongs to another file"
    with replacing(tmp_path / "a") as temporary, replacing(tmp_path / "a") as second:  # neither takes the other's
        temporary.write_text("first")
        second.write_text("second")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "first", "b": ""}


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LensPluginsError, match="cannot be written"), replacing(tmp_path / "file" / "a"):
        pass
    assert LensPluginsError.exit_code == 2
