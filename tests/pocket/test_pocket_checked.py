"""Shipped weights are those of their rows, wherever they lie, and no row changes without a new version."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from lens_plugins import catalog
from lens_plugins.errors import CheckpointError, ConfigError
from lens_plugins.pocket import shipped

VERSIONS = json.loads((Path(__file__).parent / "versions.json").read_text("utf-8"))
IDS = sorted({row.id for row in shipped.ROWS})


def digest_of(id_: str) -> str:
    """One digest of all files of a host or lens, as they lie there."""
    files = sorted((row.file, (shipped.WEIGHTS / row.file).read_bytes()) for row in shipped.ROWS if row.id == id_)
    return hashlib.sha256(b"".join(name.encode() + hashlib.sha256(data).digest() for name, data in files)).hexdigest()


@pytest.mark.parametrize("id_", IDS)
def test_weights_change_only_with_a_new_version(id_):
    """`versions.json` keeps every version that ever shipped. A new one gets a line of its own; no line changes."""
    (version,) = {row.version for row in shipped.ROWS if row.id == id_}
    known = VERSIONS[id_]
    assert version in known, f"{id_} has a new version {version}: add its digest {digest_of(id_)} to versions.json"
    assert digest_of(id_) == known[version], f"the weights of {id_} changed, but its version is still {version}"
    assert len(set(known.values())) == len(known)


@pytest.mark.parametrize("row", shipped.ROWS, ids=lambda row: row.file)
def test_a_row_says_what_lies_there(row):
    data = (shipped.WEIGHTS / row.file).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (row.size, row.sha256)


def test_every_file_of_weights_that_is_loaded_has_a_row():
    folders = {row.file.partition("/")[0] for row in shipped.ROWS}
    files = {
        path.relative_to(shipped.WEIGHTS).as_posix()
        for folder in folders
        for path in (shipped.WEIGHTS / folder).rglob("*")
        if path.suffix in (".safetensors", ".bin", ".pt")
    }
    assert files == {row.file for row in shipped.ROWS}


def test_rows_and_the_catalogue_name_the_same():
    sources = {row.source for row in catalog.HOSTS if "/" not in row.source}
    sources |= {row.source for row in catalog.LENSES if row.family == "pocket"}
    assert sources == set(IDS)
    assert sources <= catalog.folders().keys()


@pytest.fixture
def moved(tmp_path, monkeypatch):
    """A copy of two lenses somewhere else, an installation without weights, and an empty cache."""
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "installation")
    monkeypatch.setenv(shipped.ELSEWHERE, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("LENS_PLUGINS_CACHE", str(tmp_path / "cache"))
    own = Path(shipped.__file__).parent / "weights"
    for name in ("lens-eeg", "lens-depth"):
        shutil.copytree(own / name, tmp_path / "elsewhere" / name)
    return tmp_path


def test_what_the_wheel_leaves_out_is_found_elsewhere(moved, monkeypatch):
    assert catalog.folder_of("pocket-eeg") == moved / "elsewhere" / "lens-eeg"
    with pytest.raises(CheckpointError, match=r"pocket-audio is neither in .*elsewhere nor in this .*set LENS_PLUGINS"):
        catalog.folder_of("pocket-audio")
    monkeypatch.delenv(shipped.ELSEWHERE)
    with pytest.raises(CheckpointError, match="heldout is not in this installation: the wheel leaves it out, so set"):
        shipped.shipped("heldout")


def test_a_damaged_file_is_one_sentence_with_both_digests(moved):
    catalog.folder_of("pocket-eeg")
    file = moved / "elsewhere" / "lens-eeg" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    row = next(row for row in shipped.ROWS if row.id == "pocket-eeg")
    found = hashlib.sha256(data).hexdigest()
    with pytest.raises(CheckpointError, match=f"{found}, that of pocket-eeg version {row.version} is {row.sha256}"):
        catalog.folder_of("pocket-eeg")
    file.unlink()
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        catalog.folder_of("pocket-eeg")


def test_a_whole_file_is_read_once(moved, monkeypatch):
    catalog.folder_of("pocket-eeg")
    catalog.folder_of("pocket-depth")
    read = []
    monkeypatch.setattr(shipped, "sha256_of", lambda path, error: read.append(path.parent.name) or "")
    catalog.folder_of("pocket-eeg")
    assert read == []
    file = moved / "elsewhere" / "lens-eeg" / "model.safetensors"
    file.touch()
    with pytest.raises(CheckpointError):
        catalog.folder_of("pocket-eeg")
    assert read == ["lens-eeg"]


@pytest.mark.parametrize("stamps", ["{", "[]", None])
def test_a_cache_that_cannot_be_used_does_no_harm(moved, stamps):
    cache = moved / "cache"
    if stamps is None:
        cache.write_text("a file where a folder should be")
    else:
        cache.mkdir()
        (cache / "checked-weights.json").write_text(stamps)
    assert catalog.folder_of("pocket-eeg").is_dir()


def test_an_unknown_folder_is_one_sentence():
    with pytest.raises(ConfigError, match="There is no model folder 'x'; known: all-minilm-l6-v2, pocket-audio, "):
        catalog.folder_of("x")


def test_two_packages_of_one_name_are_named(monkeypatch):
    point = next(iter(catalog.folders().values()))
    catalog.folders.cache_clear()
    monkeypatch.setattr(catalog, "entry_points", lambda group: [point, point])
    try:
        with pytest.raises(ConfigError, match="Two packages bring a folder 'all-minilm-l6-v2': lens-plugins and lens"):
            catalog.folders()
    finally:
        catalog.folders.cache_clear()
