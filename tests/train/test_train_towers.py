"""Towers are read from what users have, and refused in sentences."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lens_plugins.errors import CheckpointError, ConfigError, DoesNotFit, MissingDependency
from lens_plugins.keymap import KeyMismatch
from lens_plugins.train import load_text_tower, load_vit
from lens_plugins.train.towers import embed_texts, frozen, load_text_head, save_text_head

WIDTH = 8


class TinyBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = nn.Module()
        self.attn.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.attn.q_bias, self.attn.v_bias = nn.Parameter(torch.zeros(WIDTH)), nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x):
        return x + self.attn.qkv(self.norm1(x)).chunk(3, -1)[0] * 0.1


class TinyEva(nn.Module):
    """What `load_vit` uses of timm's EVA giant: 40 blocks, names, a head that is not read."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, WIDTH, 14, 14)
        self.patch_embed.img_size = (28, 28)
        self.patch_embed.forward = lambda x: self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, WIDTH))
        self.blocks = nn.ModuleList(TinyBlock() for _ in range(40))
        self.fc_norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)


@pytest.fixture
def timm(monkeypatch):
    def create_model(name: str, *, pretrained: bool):
        if name != "eva_giant_patch14_224":
            raise RuntimeError(f"Unknown model ({name})")
        return TinyEva()

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))


@pytest.fixture
def files(tmp_path):
    norm = {"ln_vision.weight": torch.full((WIDTH,), 2.0), "ln_vision.bias": torch.ones(WIDTH)}
    save_file(norm, tmp_path / "norm.safetensors")
    torch.save({"model": {**norm, "query_tokens": torch.zeros(2)}}, tmp_path / "host.pth")
    torch.save(TinyEva().state_dict(), tmp_path / "eva_vit_g.pth")
    return tmp_path


@pytest.mark.parametrize("norm", ["norm.safetensors", "host.pth"])
def test_eva_from_timm_has_39_blocks_and_the_hosts_norm(timm, files, norm):
    spec = f"timm:eva_giant_patch14_224:{files / 'eva_vit_g.pth'}"
    vit, settings = load_vit(spec, norm=files / norm, device="cpu")
    stored = torch.load(files / "eva_vit_g.pth")
    assert len(vit.blocks) == 39
    assert torch.equal(vit.blocks[38].attn.qkv.weight, stored["blocks.38.attn.qkv.weight"])
    assert torch.equal(vit.positions.read(), stored["pos_embed"])
    assert vit.norm_eps == 1e-5
    assert torch.equal(vit.norm.weight, torch.full((WIDTH,), 2.0))
    assert settings.size == vit.image_size == 28
    features = vit.encode(vit.embed_image(torch.zeros(1, 3, 28, 28)))
    assert features.shape == (1, 5, WIDTH)


def test_a_file_that_is_not_the_vit_is_refused_by_name(timm, files):
    state = torch.load(files / "eva_vit_g.pth")
    del state["blocks.3.attn.q_bias"]
    state["blocks.41.norm1.weight"] = torch.zeros(WIDTH)
    torch.save(state, files / "odd.pth")
    with pytest.raises(KeyMismatch, match=r"missing: blocks\.3\.attn\.q_bias.*unexpected: blocks\.41\.norm1\.weight"):
        load_vit(f"timm:eva_giant_patch14_224:{files / 'odd.pth'}", norm=files / "norm.safetensors")
    (files / "junk.pth").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"junk\.pth cannot be read as a weight file"):
        load_vit(f"timm:eva_giant_patch14_224:{files / 'junk.pth'}", norm=files / "norm.safetensors")


def test_timm_specs_that_cannot_be(timm, files, monkeypatch):
    with pytest.raises(ConfigError, match="name the file that holds its ln_vision"):
        load_vit("timm:eva_giant_patch14_224")
    with pytest.raises(ConfigError, match="timm cannot make 'eva_tiny'"):
        load_vit("timm:eva_tiny", norm=files / "norm.safetensors")
    with pytest.raises(ConfigError, match="goes with a timm ViT"):
        load_vit("some-host", norm=files / "norm.safetensors")
    save_file({"ln_vision.weight": torch.ones(3), "ln_vision.bias": torch.ones(3)}, files / "small.safetensors")
    with pytest.raises(CheckpointError, match=r"is \(3,\); it must be of shape \(8,\)"):
        load_vit("timm:eva_giant_patch14_224", norm=files / "small.safetensors")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependency, match=r"lens-plugins\[timm\]"):
        load_vit("timm:eva_giant_patch14_224", norm=files / "norm.safetensors")


def test_frozen_while_it_lasts():
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    module[0].bias.requires_grad_(False)
    module[1].eval()
    with frozen(module):
        assert not module.training
        assert not module[0].weight.requires_grad
    assert [module.training, module[0].training, module[1].training] == [True, True, False]
    assert [module[0].weight.requires_grad, module[0].bias.requires_grad] == [True, False]


def test_text_head_there_and_back(tmp_path):
    head = nn.Linear(6, 4)
    save_text_head(head, tmp_path / "head.safetensors")
    loaded = load_text_head(tmp_path / "head.safetensors", 6)
    assert torch.equal(loaded(torch.ones(2, 6)), head(torch.ones(2, 6)))
    assert not loaded.weight.requires_grad
    with pytest.raises(DoesNotFit, match="rows of width 6; the ViT's are 5 wide"):
        load_text_head(tmp_path / "head.safetensors", 5)
    save_file({"matrix": torch.ones(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"it holds \['matrix'\]"):
        load_text_head(tmp_path / "other.safetensors", 2)


def test_texts_become_unit_vectors_in_order():
    class Tower:
        def encode(self, texts):
            return torch.tensor([[float(len(text)), 1.0] for text in texts])

    texts = [n * "a" for n in range(1, 8)]
    vectors = embed_texts(Tower(), texts, batch_size=3)
    torch.testing.assert_close(vectors[:, 0] / vectors[:, 1], torch.arange(1.0, 8.0))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(7))
    with pytest.raises(ConfigError, match=r"shape \(1, 2\) for 2 texts; it must be \(2, E\)"):
        embed_texts(lambda texts: torch.ones(1, 2), ["a", "b"])


@pytest.fixture
def sentence_folder(tmp_path):
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "chair", "piano"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=8, **sizes)).save_pretrained(tmp_path)
    return tmp_path


def test_a_sentence_encoder_pools_as_its_folder_says(sentence_folder):
    tower = load_text_tower(sentence_folder)
    alone, padded = tower.encode(["a chair"]), tower.encode(["a chair", "a a a piano piano"])
    torch.testing.assert_close(alone[0], padded[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(padded.norm(dim=1), torch.ones(2))
    (sentence_folder / "1_Pooling").mkdir()
    (sentence_folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert not torch.allclose(load_text_tower(sentence_folder).encode(["a chair"]), alone)


def test_no_sentence_encoder(tmp_path):
    with pytest.raises(ConfigError, match="is not a folder"):
        load_text_tower(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="does not load as a sentence encoder"):
        load_text_tower(tmp_path)
