"""Folders that bring code of their own: it is neither asked about nor run."""

import json
import shutil

import pytest

import lens_plugins as lp
from lens_plugins.errors import CheckpointError, LensPluginsError
from lens_plugins.hosts.text_tower import load_text_tower
from lens_plugins.testing.small import write_text_tower


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """Puts a module and an `auto_map` to it into a JSON file; running it would make a file. Asking fails the test."""

    def ask(*_):
        raise AssertionError("it was asked whether to run the code")

    monkeypatch.setattr("builtins.input", ask)
    sprung = tmp_path / "sprung"

    def put(file, **changes):
        (file.parent / "trap.py").write_text(f"open({str(sprung)!r}, 'w')\nclass Trap: pass\n")
        places = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForVision2Seq", "AutoTokenizer")
        auto_map = {place: ["trap.Trap", None] if place == "AutoTokenizer" else "trap.Trap" for place in places}
        content = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**content, "auto_map": auto_map, **changes}))

    yield put
    assert not sprung.exists()


def load(path):
    """Loading may go well by transformers' own classes, or be refused in one sentence."""
    try:
        lp.load_host(path)
    except LensPluginsError as error:
        assert not set(str(error)) & {"\n"}  # noqa: PT017 - either end is right, but not advice to run the code
        assert "trust_remote_code" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("type_changes", [{}, {"model_type": "of_its_own"}, {"architectures": ["Trap"]}])
def test_config_and_tokenizers(host_folder, tmp_path, trap, type_changes):
    folder = tmp_path / "host"
    shutil.copytree(host_folder("instructblip-llama"), folder)
    trap(folder / "config.json", **type_changes)
    trap(folder / "tokenizer_config.json", tokenizer_class="Trap")
    trap(folder / "qformer_tokenizer" / "tokenizer_config.json", tokenizer_class="Trap")
    load(folder)


def test_a_qformer_tokenizer_alone(host_folder, tmp_path, trap):
    folder = tmp_path / "host"
    shutil.copytree(host_folder("instructblip-llama"), folder)
    trap(folder / "qformer_tokenizer" / "tokenizer_config.json")
    load(folder)


def test_a_text_tower(tmp_path, trap):
    folder = write_text_tower(tmp_path / "tower")
    trap(folder / "config.json", model_type="of_its_own")
    trap(folder / "tokenizer_config.json")
    with pytest.raises(CheckpointError, match="sentence encoder"):
        load_text_tower(folder)


def test_kernels_of_a_repository_are_not_fetched(host_folder, tmp_path):
    folder = tmp_path / "host"
    shutil.copytree(host_folder("instructblip-llama"), folder)
    content = json.loads((folder / "config.json").read_text())
    for place in (content, content["vision_config"]):
        place["_attn_implementation"] = "someone/kernels"
        (folder / "config.json").write_text(json.dumps(content))
        with pytest.raises(CheckpointError, match=r"asks .* for _attn_implementation 'someone/kernels', which is code"):
            lp.load_host(folder)
        del place["_attn_implementation"]
