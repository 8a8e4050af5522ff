"""Sources, options, strictness: what loads, and what each wrong thing is told."""

import json
import logging
import shutil
import types

import pytest
import torch
from accelerate import cpu_offload
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lens_plugins import catalog, load_host
from lens_plugins.errors import CheckpointError, ConfigError, DoesNotFit, Unsupported
from lens_plugins.hosts.instructblip import Blip2Host, InstructBlipHost, InstructBlipVideoHost
from lens_plugins.hosts.minigpt4 import MiniGPT4Host
from lens_plugins.splice import FrozenViT, digest
from lens_plugins.testing.small import HOSTS, small_host, small_input, small_lens, write_host


@pytest.fixture
def folder(host_folder, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(host_folder("instructblip-llama"), tmp_path / "host")


@pytest.mark.parametrize("name", HOSTS)
def test_a_folder_becomes_the_host_of_its_kind_with_the_weights_in_it(host_folder, name):
    host = load_host(str(host_folder(name)))
    kinds = {"instructblipvideo": InstructBlipVideoHost, "instructblip": InstructBlipHost, "minigpt4": MiniGPT4Host}
    assert type(host) is kinds.get(name.split("-")[0], Blip2Host)
    assert digest(host.model) == digest(small_host(name))
    assert not host.model.training
    assert not any(weight.requires_grad for weight in host.model.parameters())


def test_weights_come_as_float32_whatever_the_file_has(tmp_path):
    folder = write_host(tmp_path, "instructblip-llama")
    small_host("instructblip-llama").to(torch.bfloat16).save_pretrained(folder)
    host = load_host(folder)
    assert {weight.dtype for weight in host.model.parameters()} == {torch.float32}


def test_half_precision_on_a_cpu_is_warned_of(host_folder, caplog):
    with caplog.at_level(logging.WARNING):
        host = load_host(host_folder("instructblip-llama"), dtype="bfloat16")
    assert "multiplies many times slower than float32" in caplog.text
    assert host.language_model.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["float31", torch.int8, "int8"])
def test_an_unknown_dtype_is_refused(host_folder, dtype):
    with pytest.raises(ConfigError, match=r"one of float32, float16, bfloat16; it is .(float31|int8)"):
        load_host(host_folder("instructblip-llama"), dtype=dtype)


def test_options_for_loading_do_not_go_with_a_loaded_model():
    with pytest.raises(ConfigError, match="are for loading"):
        load_host(small_host("blip2-opt"), dtype="float32")


def spoil(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_missing_tensor_is_named(folder):
    spoil(folder, lambda state: state.pop("qformer.encoder.layer.0.output.dense.weight"))
    with pytest.raises(CheckpointError, match=r"1 missing keys: qformer\.encoder\.layer\.0\.output\.dense\.weight"):
        load_host(folder)


def test_an_unexpected_tensor_is_named(folder):
    spoil(folder, lambda state: state.update({"vision_model.extra": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"1 unexpected keys: vision_model\.extra"):
        load_host(folder)


def test_a_misshapen_tensor_is_refused(folder):
    spoil(folder, lambda state: state.update({"query_tokens": torch.zeros(1, 9, 24)}))
    with pytest.raises(CheckpointError, match=r"1 mismatched keys: query_tokens \(1, 9, 24\), expected \(1, 3, 24\)"):
        load_host(folder)


def test_damaged_weights_are_refused(folder):
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_host(folder)


@pytest.mark.parametrize("place", [".", "qformer_tokenizer"])
def test_a_missing_tokenizer_names_its_folder(folder, place):
    (folder / place / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=rf"{'host' if place == '.' else place} has no tokenizer: none of"):
        load_host(folder)


def test_a_tokenizer_whose_vocabulary_is_damaged(folder):
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"].update(vocab={"<s>": vocabulary["<s>"]}, unk_token="[UNK]")
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match=r"host cannot be loaded: WordLevel error.*vocabulary\. Check the name"):
        load_host(folder)


def test_a_panic_of_the_tokenizer_is_a_damaged_file(folder, monkeypatch):
    panic = type("PanicException", (BaseException,), {})

    def load(source, options):
        raise panic("no entry found for key")

    monkeypatch.setattr("lens_plugins.hosts.instructblip.InstructBlipHost.load", load)
    with pytest.raises(CheckpointError, match=r"cannot be loaded: no entry found for key\. Check"):
        load_host(folder)


def test_a_mismatched_tokenizer_names_both_numbers(folder, host_folder):
    host = load_host(folder)
    host.qformer_tokenizer.add_tokens(["short" + str(n) for n in range(40)])
    host.qformer_tokenizer.save_pretrained(folder / "qformer_tokenizer")
    (folder / "lens_plugins.json").write_text(json.dumps({"format": 1, "default_prompt": "short39"}))
    with pytest.raises(CheckpointError, match=r"the Q-Former of host: it makes id 5\d, the model has 40 embeddings"):
        load_host(folder)


def test_a_processor_of_another_size_names_both(folder):
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 224, "width": 224}}))
    with pytest.raises(CheckpointError, match="makes pictures of 224 pixels; its ViT reads 28"):
        load_host(folder)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_the_folders_own_processor_is_used(folder, name):
    raw = {"size": {"height": 28, "width": 28}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 2}
    (folder / name).write_text(json.dumps(raw if name.startswith("pre") else {"image_processor": raw}))
    settings = load_host(folder).image_settings
    assert (settings.size, settings.resize, settings.interpolation) == (28, "squash", "bilinear")
    assert (settings.mean, settings.std) == ((0.5,) * 3, (0.25,) * 3)


def test_the_norms_own_epsilon_survives_saving(tmp_path):
    model = small_host("instructblip-llama")
    model.config.vision_config.post_layernorm_eps = 1e-5
    folder = write_host(tmp_path, "instructblip-llama")
    model.save_pretrained(folder)
    host = load_host(folder)
    assert host.vit.norm_eps == 1e-5
    assert host.model.vision_model.encoder.layers[0].layer_norm1.eps == 1e-6


@pytest.fixture
def external(host_folder, tmp_path, monkeypatch):
    """A host whose language model, with tied embeddings, lies elsewhere."""
    model = small_host("instructblip-llama")
    config = model.config.text_config
    config.tie_word_embeddings = True
    language_model = AutoModelForCausalLM.from_config(config)
    for weight in language_model.parameters():
        torch.nn.init.normal_(weight, 0, 0.3)
    elsewhere = tmp_path / "smollm"
    language_model.to(torch.float16).save_pretrained(elsewhere)
    folder = shutil.copytree(host_folder("instructblip-llama"), tmp_path / "host")
    for file in folder.glob("tokenizer*"):
        shutil.move(file, elsewhere / file.name)
    model.config.save_pretrained(folder)
    spoil(folder, lambda state: [state.pop(key) for key in list(state) if key.startswith("language_model.")])
    (folder / "lens_plugins.json").write_text(json.dumps({"language_model_source": "small", "default_prompt": "a"}))
    monkeypatch.setitem(catalog.folders(), "small", types.SimpleNamespace(load=lambda: lambda: elsewhere))
    return folder, language_model


def test_a_language_model_kept_elsewhere_joins_the_rest(external):
    folder, language_model = external
    host = load_host(folder)
    assert host.default_prompt == "a"
    assert host.language_model.dtype == torch.float32
    embeddings = host.language_model.get_input_embeddings().weight
    assert embeddings is host.language_model.lm_head.weight
    torch.testing.assert_close(embeddings, language_model.get_input_embeddings().weight.half().float())
    rest = load_file(folder / "model.safetensors")
    assert torch.equal(host.model.query_tokens, rest["query_tokens"])
    assert isinstance(host.generate(small_input("image"), max_new_tokens=3), str)


def test_a_missing_tensor_of_the_rest_is_named_all_the_same(external):
    folder, _ = external
    spoil(folder, lambda state: state.pop("query_tokens"))
    with pytest.raises(CheckpointError, match="1 missing keys: query_tokens"):
        load_host(folder)


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_only_the_language_model_is_quantised(host_folder, quantization):
    pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
    host = load_host(host_folder("instructblip-llama"), quantization=quantization)
    plain = load_host(host_folder("instructblip-llama"))
    kinds = {name: type(module).__name__ for name, module in host.model.named_modules()}
    changed = {name.split(".")[0] for name, kind in kinds.items() if kind in ("Linear4bit", "Linear8bitLt")}
    assert changed == {"language_model"}
    assert kinds["language_model.lm_head"] == "Linear"
    assert digest(host.model.vision_model) == digest(plain.model.vision_model)
    first = host.generate(small_input("image"), max_new_tokens=3)
    before = digest(host.model)  # on a CPU, 4-bit weights are packed anew at their first use
    host.plug(small_lens("point_cloud"))
    host.generate(small_input("point_cloud"), max_new_tokens=3)
    assert digest(host.model) == before
    assert host.generate(small_input("image"), max_new_tokens=3) == first


def test_an_unknown_quantization_is_refused(host_folder):
    with pytest.raises(ConfigError, match="quantization is '3bit'; it must be '4bit', '8bit' or None"):
        load_host(host_folder("instructblip-llama"), quantization="3bit")


def test_a_device_map_that_offloads_answers_the_same(host_folder):
    plain = load_host(host_folder("instructblip-llama"))
    model = small_host("instructblip-llama")
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert model.vision_model.embeddings.position_embedding.is_meta
    host = InstructBlipHost(
        model, name="offloaded", tokenizer=plain.tokenizer, qformer_tokenizer=plain.qformer_tokenizer
    )
    lens, given = small_lens("audio"), small_input("audio")
    for one in (host, plain):
        one.plug(lens)
    assert host.generate(given, max_new_tokens=5) == plain.generate(given, max_new_tokens=5)
    assert digest(model) == digest(plain.model)
    assert model.vision_model.embeddings.position_embedding.is_meta


def test_device_map_auto_loads(host_folder):
    host = load_host(host_folder("blip2-opt"), device_map="auto")
    assert isinstance(host.generate(small_input("image"), max_new_tokens=3), str)


def test_two_hosts_share_one_vit_and_keep_their_own_norm(tmp_path, host_folder):
    first = load_host(host_folder("instructblip-llama"))
    other = small_host("instructblip-t5", seed=9)
    tower, own = first.model.vision_model, other.vision_model
    own.embeddings.load_state_dict(tower.embeddings.state_dict())
    own.encoder.load_state_dict(tower.encoder.state_dict())
    folder = write_host(tmp_path, "instructblip-t5")
    other.save_pretrained(folder)
    apart, second = load_host(folder), load_host(folder, vit=first.vit)
    assert second.model.vision_model.encoder is tower.encoder
    assert not torch.equal(second.vit.norm.weight, first.vit.norm.weight)
    given = small_input("image")
    assert second.generate(given, max_new_tokens=5) == apart.generate(given, max_new_tokens=5)
    assert digest(second.model) == digest(apart.model)


def test_a_vit_with_other_weights_is_not_shared(host_folder, tmp_path):
    folder = write_host(tmp_path, "instructblip-llama", seed=5)
    with pytest.raises(DoesNotFit, match=r"their features differ by [\d.]+, 0.0001 is allowed"):
        load_host(folder, vit=load_host(host_folder("instructblip-llama")).vit)


def test_a_vit_of_another_layout_is_not_shared(host_folder):
    vit = load_host(host_folder("blip2-opt")).vit
    with pytest.raises(Unsupported, match="is a Blip2Encoder, this host needs a InstructBlipEncoder"):
        load_host(host_folder("instructblip-llama"), vit=vit)
    assert isinstance(vit, FrozenViT)
