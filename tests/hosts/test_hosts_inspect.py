import json
import shutil

import pytest
import torch
from transformers import InstructBlipConfig, T5Config

from lens_plugins import load_host
from lens_plugins.catalog import HostKind
from lens_plugins.errors import CheckpointError, ConfigError, Unsupported
from lens_plugins.hosts import inspect as inspecting
from lens_plugins.hosts import instructblip as instructblip_module
from lens_plugins.hosts.inspect import inspect_host, verify_host
from lens_plugins.hosts.source import kind_of
from lens_plugins.testing.small import HOSTS, small_host, small_lens
from lens_plugins.testing.small_seed import small_seed_llama, write_seed_host

PARTS = ("vision_model", "qformer", "language_projection", "language_model")


@pytest.mark.parametrize("name", HOSTS)
def test_parts_are_counted_as_they_are_loaded(host_folder, name):
    report = inspect_host(host_folder(name))
    model = small_host(name)
    counts = {part.name: part.parameters for part in report.parts}
    expected = {part: sum(w.numel() for w in getattr(model, part).parameters()) for part in PARTS}
    assert counts == expected
    assert report.bytes == 4 * sum(expected.values())
    assert report.kind == name.split("-")[0]
    assert report.warnings == []


def test_parts_of_a_seed_host_are_counted_as_they_are_loaded(tmp_path):
    pytest.importorskip("diffusers")
    folder = write_seed_host(tmp_path)
    report, host = inspect_host(folder, dtype="bfloat16"), load_host(folder)
    seed, pipeline = host.model.tokenizer, host.detokenizer.pipeline
    behind = [w for name, w in seed.named_parameters() if not name.startswith("vision_model.")]
    expected = {
        "vision_model": list(seed.vision_model.parameters()),
        "seed_tokenizer": behind,
        "language_model": list(host.language_model.parameters()),
        **{n: list(getattr(pipeline, n).parameters()) for n in ("unet", "vae", "text_encoder", "image_normalizer")},
    }
    sizes = {name: sum(w.numel() for w in weights) for name, weights in expected.items()}
    assert {part.name: part.parameters for part in report.parts} == sizes
    assert {part.name for part in report.parts if part.bytes == 4 * part.parameters} == {"seed_tokenizer"}
    assert report.bytes == 2 * sum(sizes.values()) + 2 * sizes["seed_tokenizer"]
    assert (report.kind, report.model_type, report.to_fetch) == ("seed_llama", "llama", 0)
    assert sum(file.bytes for file in report.files) == sum(f.stat().st_size for f in folder.rglob("*.safetensors"))


def test_a_seed_host_is_inspected_without_weights_and_without_diffusers(tmp_path, monkeypatch):
    folder = write_seed_host(tmp_path)
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    monkeypatch.setattr("lens_plugins._optional.import_module", absent)
    report = inspect_host(folder)
    assert [part.name for part in report.parts] == ["vision_model", "seed_tokenizer", "language_model"]
    assert report.files == []
    assert "lens-plugins[seed]" in report.warnings[0]


def absent(name):
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_bare_llama_stands_among_the_released_parts(tmp_path, monkeypatch):
    small_seed_llama().language_model.save_pretrained(tmp_path)
    monkeypatch.setattr("lens_plugins._optional.import_module", absent)
    monkeypatch.setattr(inspecting, "_hub_sizes", lambda source: {"seed_quantizer.pt": 70})
    monkeypatch.setattr(inspecting, "_cached", lambda source, name: False)
    report = inspect_host(tmp_path)
    parts = {part.name: part.parameters for part in report.parts}
    assert round(parts["vision_model"] / 1e6) == 986
    assert report.to_fetch == 70
    assert [file.name for file in report.files] == [
        "AILab-CVC/seed-tokenizer-2/seed_quantizer.pt",
        "llm/model.safetensors",
    ]


@pytest.mark.parametrize(
    ("remove", "error"),
    [
        ("tokenizer/config.json", "is not a SEED tokenizer: it has no config.json"),
        ("unclip/vae/config.json", "is no unCLIP pipeline: it has no vae/config.json"),
        ("llm/config.json", "The configuration of .*llm cannot be read"),
    ],
)
def test_a_part_without_its_configuration_is_named(tmp_path, remove, error):
    pytest.importorskip("diffusers")
    folder = write_seed_host(tmp_path)
    (folder / remove).unlink()
    with pytest.raises(CheckpointError, match=error):
        inspect_host(folder)


def test_a_pipeline_names_models_of_diffusers_only(tmp_path):
    pytest.importorskip("diffusers")
    folder = write_seed_host(tmp_path)
    file = folder / "unclip" / "unet" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "_class_name": "DDIMScheduler"}))
    with pytest.raises(CheckpointError, match='names no model of diffusers: "DDIMScheduler"'):
        inspect_host(folder)


def test_no_weights_are_needed(host_folder, tmp_path):
    shutil.copy(host_folder("instructblip-llama") / "config.json", tmp_path)
    report = inspect_host(tmp_path)
    assert [part.name for part in report.parts] == list(PARTS)
    assert report.files == []
    assert report.to_fetch == 0


def test_the_real_size_is_told_from_a_configuration(tmp_path):
    """ViT-g and Q-Former of InstructBLIP by its default configuration: 1.0 and 0.19 billion, as published."""
    InstructBlipConfig(text_config=T5Config(num_layers=1, d_model=64).to_dict()).save_pretrained(tmp_path)
    parts = {part.name: part.parameters for part in inspect_host(tmp_path).parts}
    assert round(parts["vision_model"] / 1e6) == 986
    assert round(parts["qformer"] / 1e6) == 186


def test_precision_and_quantization_change_the_bytes(host_folder):
    folder = host_folder("instructblip-llama")
    whole, half, four = (
        inspect_host(folder),
        inspect_host(folder, dtype="float16"),
        inspect_host(folder, quantization="4bit"),
    )
    assert 2 * half.bytes == whole.bytes
    sizes = [{part.name: part.bytes for part in report.parts} for report in (whole, four)]
    assert {name for name in sizes[0] if sizes[0][name] != sizes[1][name]} == {"language_model"}
    model = small_host("instructblip-llama").language_model
    linear = sum(
        m.weight.numel() for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"
    )
    saved = sizes[0]["language_model"] - sizes[1]["language_model"]
    assert saved == round(linear * (32 - 4.5) / 8)


def test_traps_are_warned_of(host_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = host_folder("instructblip-llama")
    assert "bfloat16 on a CPU" in inspect_host(folder, dtype="bfloat16").warnings[0]
    assert "8bit on a CPU saves memory only" in inspect_host(folder, quantization="8bit").warnings[0]
    old = shutil.copytree(folder, tmp_path / "instructblip-vicuna-7b-v0")
    assert "Vicuna v0" in inspect_host(old).warnings[0]


@pytest.mark.parametrize("name", ["blip2_vicuna_instruct", "instruct_blip_vicuna7b_trimmed.pth"])
def test_models_of_lavis_are_told_apart(name):
    with pytest.raises(Unsupported, match=r"is a model of LAVIS.*from_lavis"):
        inspect_host(name)


def test_a_kind_that_tells_no_parts_is_refused(host_folder, monkeypatch):
    monkeypatch.setattr(inspecting, "kind_of", lambda source: HostKind("mute", "lens_plugins.hosts.base:Host", ()))
    with pytest.raises(Unsupported, match="a host of kind 'mute' tells no parts"):
        inspect_host(host_folder("blip2-opt"))


def test_wrong_sources_and_options(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        inspect_host(tmp_path)
    with pytest.raises(ConfigError, match=r"dtype must be .* it is 'int4'"):
        inspect_host(tmp_path, dtype="int4")
    with pytest.raises(ConfigError, match="quantization is '2bit'"):
        inspect_host(tmp_path, quantization="2bit")


def test_files_of_the_hub_are_listed_with_what_would_be_fetched(host_folder, tmp_path, monkeypatch):
    shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}
    config = json.loads((host_folder("blip2-opt") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    answers = {"config.json": config, "model.safetensors.index.json": shards}
    monkeypatch.setattr(inspecting, "find_source", lambda source: "owner/name")
    kind = kind_of(host_folder("blip2-opt"))
    monkeypatch.setattr(inspecting, "kind_of", lambda source: kind)
    monkeypatch.setattr(instructblip_module, "read_config", lambda source: small_host("blip2-opt").config)
    monkeypatch.setattr(inspecting, "read_host_json", lambda source, name: answers[name])
    monkeypatch.setattr(inspecting, "_hub_sizes", lambda source: {"model-1.safetensors": 70, "model-2.safetensors": 30})
    monkeypatch.setattr(inspecting, "_cached", lambda source, name: name == "model-2.safetensors")
    report = inspect_host("owner/name")
    assert [(file.name, file.bytes, file.here) for file in report.files] == [
        ("model-1.safetensors", 70, False),
        ("model-2.safetensors", 30, True),
    ]
    assert report.to_fetch == 70
    monkeypatch.setattr(inspecting, "_hub_sizes", lambda source: {})
    assert inspect_host("owner/name").to_fetch is None


def test_verify_tells_what_fits_and_that_nothing_moved(instructblip):
    lenses = [small_lens("depth"), small_lens("audio", width=48), small_lens("eeg", latents=7)]
    report = verify_host(instructblip, lenses)
    assert [lens.fits for lens in report.lenses] == [True, False, False]
    assert "width 48" in report.lenses[1].reason
    assert "width 32" in report.lenses[1].reason
    assert "7 latents" in report.lenses[2].reason
    assert "4 patches" in report.lenses[2].reason
    assert report.stable
    assert not report.ok
    assert instructblip.lenses == {}
    assert verify_host(instructblip, lenses[:1]).ok


def test_verify_loads_a_folder(host_folder):
    report = verify_host(host_folder("blip2-t5"))
    assert report.ok
    assert len(report.digest) == 64


def test_verify_sees_a_host_that_moves(instructblip, monkeypatch):
    encode = instructblip.vit.encode

    def moving(latents):
        instructblip.vit.norm.bias.data += 1
        return encode(latents)

    monkeypatch.setattr(instructblip.vit, "encode", moving)
    report = verify_host(instructblip, [small_lens("depth")])
    assert not report.stable
    assert not report.ok
    assert load_host(instructblip.model).lenses == {}
