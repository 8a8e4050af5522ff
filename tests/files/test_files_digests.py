import hashlib
import os

import pytest

from lens_plugins.errors import InputError
from lens_plugins.files import digests
from lens_plugins.files.digests import sha256_of


def test_known_digests(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc").startswith("ba7816bf8f01cfea")
    (tmp_path / "big").write_bytes(bytes(3 * 2**20))
    assert sha256_of(tmp_path / "big") == hashlib.sha256(bytes(3 * 2**20)).hexdigest()


def test_a_file_is_read_again_only_when_it_changed(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = sha256_of(path)
    calls = []
    monkeypatch.setattr(digests.hashlib, "sha256", lambda: calls.append(1) or hashlib.new("sha256"))
    assert sha256_of(str(path)) == first
    assert not calls
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert sha256_of(path) == hashlib.new("sha256", b"two").hexdigest()
    assert calls == [1]


def test_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none", tmp_path / "pipe"):
        with pytest.raises(InputError):
            sha256_of(path)
