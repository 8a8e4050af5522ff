import pytest
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from lens_plugins.errors import CheckpointError
from lens_plugins.files.hub import fetch, fetch_optional, is_hub_id


@pytest.mark.parametrize("name", ["TencentARC/ViT-Lens", "a/b", "Salesforce/instructblip-vicuna-7b", "me/a.b_c"])
def test_hub_ids(name):
    assert is_hub_id(name)


@pytest.mark.parametrize(
    "name", ["", "a", "a/b/c", "./a", "/a/b", "~/a", "a\\b/c", "a b/c", "a/b\n", "a/", "x" * 5000 + "/b", "../a"]
)
def test_what_is_none(name):
    assert not is_hub_id(name)


@pytest.fixture
def found(monkeypatch):
    monkeypatch.setattr("lens_plugins.files.hub.hub_is_found", lambda: True)


def answer(monkeypatch, result):
    asked = []

    def download(repository, file, **more):
        asked.append((repository, file, more))
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


@pytest.mark.usefixtures("found")
def test_a_file_and_its_revision(monkeypatch):
    asked = answer(monkeypatch, "/somewhere/x.pt")
    assert str(fetch("a/b", "x.pt", revision="v2")) == "/somewhere/x.pt"
    assert str(fetch_optional("a/b", "x.pt")) == "/somewhere/x.pt"
    assert asked == [("a/b", "x.pt", {"revision": "v2"}), ("a/b", "x.pt", {})]


@pytest.mark.usefixtures("found")
def test_a_repository_without_the_file(monkeypatch):
    answer(monkeypatch, EntryNotFoundError("404"))
    assert fetch_optional("a/b", "x.pt") is None
    with pytest.raises(CheckpointError, match=r"a/b has no file x\.pt"):
        fetch("a/b", "x.pt")


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize("problem", [LocalEntryNotFoundError("offline"), ConnectionError("x"), ValueError("bad id")])
def test_a_hub_that_cannot_be_reached(monkeypatch, problem):
    answer(monkeypatch, problem)
    for ask in (fetch, fetch_optional):
        with pytest.raises(CheckpointError, match=r"a/b/x\.pt cannot be fetched from the hub .*HF_HUB_OFFLINE"):
            ask("a/b", "x.pt")


def test_without_a_network_only_the_cache_is_asked(monkeypatch):
    """huggingface_hub would try five times, which takes half a minute."""
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    monkeypatch.setattr("lens_plugins.files.hub.getproxies", dict)

    def fail(*_):
        raise OSError("no name server")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    asked = answer(monkeypatch, "/cache/x.pt")
    assert str(fetch("a/b", "x.pt", revision="v2")) == "/cache/x.pt"
    assert asked == [("a/b", "x.pt", {"revision": "v2", "local_files_only": True})]


def test_a_hub_whose_name_is_known_is_asked(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: [("an", "address")])
    asked = answer(monkeypatch, "/somewhere/x.pt")
    fetch("a/b", "x.pt")
    assert asked == [("a/b", "x.pt", {})]
