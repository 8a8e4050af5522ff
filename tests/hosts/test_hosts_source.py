"""Which folder or repository a name means, its notes, and the kind of host it holds."""

import shutil

import pytest
from transformers import BertConfig, BertModel

from lens_plugins import catalog, load_host
from lens_plugins.errors import CheckpointError, ConfigError
from lens_plugins.hosts import source as source_module
from lens_plugins.hosts.instructblip import Blip2Host
from lens_plugins.hosts.source import HubId, find_source, from_pretrained_options


@pytest.fixture
def folder(host_folder, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(host_folder("instructblip-llama"), tmp_path / "host")


@pytest.mark.parametrize("source", ["./nothing/here", "/nothing/here", "~/nothing", "nothing", "a/b/c"])
def test_what_looks_like_a_path_never_goes_to_the_hub(source, monkeypatch):
    monkeypatch.setattr(source_module, "_file", lambda *_: pytest.fail("asked the hub"))
    with pytest.raises(CheckpointError, match=r"is no folder, no shipped host and no hub id"):
        load_host(source)


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "eva.pth").write_bytes(b"0")
    with pytest.raises(CheckpointError, match="is a file, not a folder"):
        load_host(tmp_path / "eva.pth")


def test_an_unreachable_hub_id_is_one_clear_error():
    with pytest.raises(CheckpointError, match=r"host nobody/no-such-host cannot be loaded: .* give a folder"):
        load_host("nobody/no-such-host")


def test_a_shipped_name_is_a_folder_of_the_package(monkeypatch, host_folder, tmp_path):
    shutil.copytree(host_folder("blip2-t5"), tmp_path / "weights")
    row = catalog.HostRow("pocket-test", "blip2", "weights", "Apache-2.0", "T5")
    monkeypatch.setattr(source_module, "find_host", lambda id_: row)
    monkeypatch.setattr(source_module, "folders", lambda: {"weights": None})
    monkeypatch.setattr(source_module, "folder_of", lambda name: tmp_path / name)
    assert isinstance(load_host("pocket-test"), Blip2Host)


def test_a_folder_without_config_says_what_it_may_be(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json.*from_lavis"):
        load_host(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        ConfigError, match=r"model_type 'bert', which no kind of host drives; known: instructblip, blip-2"
    ):
        load_host(tmp_path)
    bert = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(ConfigError, match=r"A BertModel \(model_type 'bert'\) is no host"):
        load_host(bert)


def test_damaged_json_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        load_host(folder)


def test_notes_are_strict(folder):
    (folder / "lens_plugins.json").write_text('{"defualt_prompt": "x"}')
    with pytest.raises(ConfigError, match="did you mean 'default_prompt'"):
        load_host(folder)
    (folder / "lens_plugins.json").write_text('{"format": 7}')
    with pytest.raises(ConfigError, match="format is 7, this version reads 1"):
        load_host(folder)
    (folder / "lens_plugins.json").write_text('{"kind": "instructblop"}')
    with pytest.raises(ConfigError, match="kind 'instructblop'; known kinds: instructblip"):
        load_host(folder)


def test_a_hub_id_knows_its_revision():
    found = find_source("owner/name", "v2")
    assert (found, found.revision) == ("owner/name", "v2")
    assert from_pretrained_options(found) == {"trust_remote_code": False, "revision": "v2"}
    assert from_pretrained_options(find_source("owner/name")) == {"trust_remote_code": False}


def test_a_revision_reaches_the_hub(monkeypatch):
    asked = []

    def download(repository, name, revision=None):
        asked.append((repository, name, revision))
        raise OSError("not today.")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(CheckpointError, match="host owner/name cannot be loaded: "):
        load_host("owner/name", revision="v2")
    assert asked == [("owner/name", "config.json", "v2")]


def test_a_folder_has_no_revision(folder):
    with pytest.raises(ConfigError, match=r"is a folder, which has no revision 'v2'"):
        find_source(folder, "v2")
    assert not isinstance(find_source(folder), HubId)
