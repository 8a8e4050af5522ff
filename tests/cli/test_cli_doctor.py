import json
from types import ModuleType

import pytest

from lens_plugins.cli import doctor as module
from lens_plugins.cli.doctor import Finding, examine


@pytest.fixture
def installed(monkeypatch):
    """Pretend that packages are installed, by version; None is absent."""

    def pretend(**versions):
        real = module._version
        monkeypatch.setattr(module, "_version", lambda name: versions[name] if name in versions else real(name))

    return pretend


@pytest.fixture
def broken(monkeypatch):
    """Pretend that importing a package fails as a torchvision built for another torch does."""

    def pretend(name):
        def fail(wanted):
            if wanted == name:
                raise RuntimeError("operator torchvision::nms does not exist")
            return ModuleType(wanted)

        monkeypatch.setattr(module, "import_module", fail)

    return pretend


def by_name():
    return {finding.what: finding for finding in examine()}


def test_everything_is_looked_at(monkeypatch, tmp_path, installed):
    monkeypatch.setenv("LENS_PLUGINS_CACHE", str(tmp_path))
    installed(bitsandbytes=None, diffusers=None, matplotlib=None)
    found = by_name()
    assert {"lens-plugins", "torch", "transformers", "torchvision", "InstructBLIP", "cpu", "cache", "hub"} <= set(found)
    assert found["InstructBLIP"].cure is None
    assert found["cache"].found.startswith(f"{tmp_path}, ")
    assert found["bitsandbytes"] == Finding("bitsandbytes", "absent (only for lens-plugins[quant])")
    assert found["language model"].cure.startswith("lens-plugins doctor --fetch")
    absent = "all-minilm-l6-v2 is absent; classify and search by text fetch it"  # which is nothing to mend
    assert found["text encoder"] == Finding("text encoder", absent)


def test_a_mismatched_torchvision_is_named_with_its_cure(installed, broken):
    installed(torchvision="0.28.0", torch="2.13.0+cpu")
    broken("torchvision")
    found = by_name()["torchvision"]
    assert found.found == "0.28.0, cannot be imported: operator torchvision::nms does not exist"
    assert "another torch than 2.13.0+cpu" in found.cure
    assert "pip uninstall torchvision" in found.cure


def test_an_absent_package_is_to_be_installed(installed, broken):
    broken("none")
    installed(trimesh=None)
    assert by_name()["trimesh"] == Finding("trimesh", "absent", "pip install trimesh")


def test_a_cache_that_cannot_be_written(monkeypatch, broken, tmp_path):
    broken("none")
    monkeypatch.setenv("LENS_PLUGINS_CACHE", str(tmp_path))
    monkeypatch.setattr(module.os, "access", lambda path, how: False)
    assert by_name()["cache"] == Finding(
        "cache", f"{tmp_path} cannot be written", "Name another folder in LENS_PLUGINS_CACHE."
    )


@pytest.mark.parametrize(("cure", "code"), [(None, 0), ("mend it", 2)])
def test_the_exit_code_tells_whether_there_is_something_to_mend(cli, monkeypatch, cure, code):
    monkeypatch.setattr(module, "examine", lambda: iter([Finding("torch", "2.13.0"), Finding("cache", "full", cure)]))
    ended = cli("doctor")
    assert ended.code == code
    assert ("-> mend it" in ended.out) == (code == 2)
    lines = [json.loads(line) for line in cli("doctor", "--json").out.splitlines()]
    assert lines[1] == {"what": "cache", "found": "full", "cure": cure}


def test_fetch_fetches_first(cli, monkeypatch):
    order = []
    monkeypatch.setattr(module, "folder_of", order.append)
    monkeypatch.setattr(module, "examine", lambda: order.append("examine") or iter(()))
    assert cli("doctor", "--fetch").code == 0
    assert order == ["smollm2-135m-instruct", "all-minilm-l6-v2", "examine"]
