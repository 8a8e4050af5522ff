"""Small random LAVIS models for tests: the real classes, with a ViT of width 32 and language models of width 32.

`folders(root)` writes the files that LAVIS's constructors read (BERT, OPT, T5); the makers below build models on them.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn

WIDTH, IMAGE, PATCH, QUERIES = 32, 56, 14, 4
WORDS = ["a", "short", "caption", "what", "is", "it", "for", "chair", "red", "one", "two", "?", "."]


def vision(depth: int = 3) -> nn.Module:
    """LAVIS's EVA VisionTransformer, 16 patches of 14 x 14, with weights that no part of it leaves at zero."""
    from lavis.models.eva_vit import VisionTransformer

    vit = VisionTransformer(
        img_size=IMAGE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=depth,
        num_heads=2,
        mlp_ratio=2.0,
        qkv_bias=True,
        use_mean_pooling=False,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )
    return randomise(vit, seed=1)


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Fill every parameter that LAVIS trains: biases and norms that start at 0 and 1 would hide a forgotten one."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.25
        parameter.data = noise + 1 if "norm" in name.lower() and name.endswith("weight") else noise
    return module.eval()


def folders(root: Path) -> dict[str, Path]:
    """Write `bert`, `opt`, `t5` and `llama` below `root`: tokenizer files, config and random weights of each."""
    made = {name: root / name for name in ("bert", "opt", "t5", "llama")}
    for folder in made.values():
        folder.mkdir(parents=True, exist_ok=True)
    _bert(made["bert"])
    _opt(made["opt"])
    _t5(made["t5"])
    _llama(made["llama"])
    return made


def _bert(folder: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    randomise(BertForMaskedLM(config), seed=2).save_pretrained(folder)


def _opt(folder: Path) -> None:
    from transformers import OPTConfig, OPTForCausalLM

    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    _write(folder / "vocab.json", {token: i for i, token in enumerate(vocabulary)})
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, **special})
    config = OPTConfig(
        vocab_size=len(vocabulary),
        hidden_size=WIDTH,
        word_embed_proj_dim=WIDTH,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
    )
    randomise(OPTForCausalLM(config), seed=3).save_pretrained(folder)


def _t5(folder: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration, T5TokenizerFast

    vocabulary = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")] + [("▁" + word, -2.0) for word in WORDS]
    words = T5TokenizerFast(vocab=vocabulary, extra_ids=0)
    words.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(words),
        d_model=WIDTH,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    randomise(T5ForConditionalGeneration(config), seed=4).save_pretrained(folder)


def _llama(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    words = _word_tokenizer(["<unk>", "<s>", "</s>", "[PAD]"])
    words.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "[PAD]", "bos_token": "</s>", "eos_token": "</s>", "unk_token": "<unk>"}
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special})
    config = LlamaConfig(
        vocab_size=words.get_vocab_size(),
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        bos_token_id=2,
        eos_token_id=2,
        pad_token_id=3,
    )
    randomise(LlamaForCausalLM(config), seed=5).save_pretrained(folder)


def _word_tokenizer(special: list[str]) -> Tokenizer:
    vocabulary = {token: i for i, token in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def _write(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content))


def small(cls: type, **arguments: object) -> nn.Module:
    """`cls` (a LAVIS BLIP-2 class) over the small ViT, in float32 and eval mode, every new weight random."""
    from lavis.models.blip2_models.blip2 import LayerNorm

    def init_vision_encoder(*_: object) -> tuple[nn.Module, nn.Module]:
        return vision(), LayerNorm(WIDTH)

    over = type(cls.__name__, (cls,), {"init_vision_encoder": staticmethod(init_vision_encoder)})
    model = over(num_query_token=QUERIES, img_size=IMAGE, **{k: _text(v) for k, v in arguments.items()}).float()
    return randomise(model, seed=6)


def _text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def pixels(count: int = 2) -> Tensor:
    """`count` random pictures, (B, 3, 56, 56) float32, as after normalising."""
    return torch.randn(count, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(7))


class Instruct(nn.Module):
    """Stands for `Blip2VicunaInstruct` and `Blip2T5Instruct` of LAVIS's main branch, which no release has: their
    attributes over parts of the release.

    Args:
        folders: as `folders` writes them.
        family: "llm" (Vicuna) or "t5".
    """

    def __init__(self, folders: dict[str, Path], family: str) -> None:
        from lavis.models.blip2_models.blip2 import Blip2Base, LayerNorm
        from transformers import AutoTokenizer, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

        super().__init__()
        self.tokenizer = Blip2Base.init_tokenizer(str(folders["bert"]))
        self.tokenizer.truncation_side = "left"
        self.visual_encoder, self.ln_vision = vision(), LayerNorm(WIDTH)
        self.Qformer, self.query_tokens = Blip2Base.init_Qformer(QUERIES, WIDTH, bert_model=str(folders["bert"]))
        self.Qformer.resize_token_embeddings(len(self.tokenizer))
        self.Qformer.cls = None
        folder = folders["llama" if family == "llm" else "t5"]
        if family == "llm":
            model = LlamaForCausalLM.from_pretrained(folder)
        else:
            config = T5Config.from_pretrained(folder)
            config.dense_act_fn = "gelu"
            model = T5ForConditionalGeneration.from_pretrained(folder, config=config)
        setattr(self, f"{family}_tokenizer", AutoTokenizer.from_pretrained(folder))
        setattr(self, f"{family}_model", model)
        setattr(self, f"{family}_proj", nn.Linear(WIDTH, model.config.hidden_size))
        randomise(self, seed=6)
