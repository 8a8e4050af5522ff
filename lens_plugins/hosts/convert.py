"""Files of other libraries -> models that hosts drive."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from safetensors import SafetensorError
from torch import Tensor

from ..errors import CheckpointError, ConfigError
from ..files.opening import reason_of
from ..files.tensors import read_state
from ..keymap import KeyMap
from .layouts import lavis, minigpt4
from .loading import load_tokenizer
from .outline import check_described, read_config
from .quiet import quiet
from .seed_llama.convert import from_seed
from .source import NOTES_FILE

if TYPE_CHECKING:
    from transformers import Blip2ForConditionalGeneration, InstructBlipForConditionalGeneration

__all__ = ["convert_lavis", "convert_minigpt4", "from_lavis", "from_minigpt4", "from_seed", "read_state"]

log = logging.getLogger(__name__)

Source: TypeAlias = "tuple[KeyMap, dict[str, Tensor], str | os.PathLike[str]]"  # rows, tensors, where they are from

LAVIS_NORM_EPS = 1e-5  # of ln_vision; the blocks have 1e-6
_LLAMA_WORDS = 32000
_QFORMER_TOKENIZER = "google-bert/bert-base-uncased"
_VICUNA_V0_WORDS = 32001  # Vicuna v0 was trained with a [PAD]; v1.1 has LLaMA's own 32000


@quiet()
def from_lavis(
    *,
    vit: str | os.PathLike[str],
    instructblip: str | os.PathLike[str],
    llm: str | os.PathLike[str],
    vit_heads: int = 16,
    qformer_heads: int = 12,
    dtype: torch.dtype = torch.float32,
) -> InstructBlipForConditionalGeneration | Blip2ForConditionalGeneration:
    """Build a transformers model from LAVIS's three sources.

    Every dimension but the numbers of heads is read off the weights. LayerNorms have LAVIS's epsilons: 1e-6 in the
    ViT's blocks, 1e-5 after them, 1e-12 in the Q-Former; the second is kept in `config.vision_config`, so that it
    survives `save_pretrained`. FLAN-T5 gets the plain GELU that LAVIS gives it.

    Args:
        vit: `eva_vit_g.pth`; its block 39, norm and head are left out.
        instructblip: the trimmed file; one whose Q-Former reads no text (BLIP-2) gives a BLIP-2.
        llm: folder of the language model (LLaMA/Vicuna, FLAN-T5, OPT).
        vit_heads: attention heads of the ViT.
        qformer_heads: attention heads of the Q-Former.
        dtype: of the weights in memory.

    Raises:
        CheckpointError: a file cannot be read, or a tensor is missing, unexpected or misshapen; all are named.
    """
    language_model = read_language_model(llm, dtype)
    if language_model.config.model_type == "llama" and language_model.config.vocab_size == _VICUNA_V0_WORDS:
        log.warning("%s has 32001 words, as Vicuna v0 has: InstructBLIP needs v1.1 and writes gibberish on v0.", llm)
    trimmed = read_state(instructblip)
    names = [name for name in lavis.PROJECTIONS if f"{name}.weight" in trimmed]
    if len(names) != 1:
        raise CheckpointError(
            f"{instructblip} holds {len(names)} projections to a language model; it needs 1 of "
            f"{', '.join(lavis.PROJECTIONS)}."
        )
    reads_text = "Qformer.bert.embeddings.word_embeddings.weight" in trimmed
    table = (lavis.INSTRUCTBLIP_QFORMER if reads_text else lavis.BLIP2_QFORMER) + lavis.projection(names[0])
    return assemble(
        [(lavis.EVA_VIT, read_state(vit), vit), (table, trimmed, instructblip)],
        language_model,
        vit_heads=vit_heads,
        qformer_heads=qformer_heads,
        dtype=dtype,
    )


@quiet()
def convert_lavis(
    folder: str | os.PathLike[str],
    *,
    vit: str | os.PathLike[str],
    instructblip: str | os.PathLike[str],
    llm: str | os.PathLike[str],
    qformer_tokenizer: str | os.PathLike[str] = _QFORMER_TOKENIZER,
    vit_heads: int = 16,
    qformer_heads: int = 12,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write LAVIS's three sources as one folder that `load_host` reads, tokenizers included; whole or not at all.

    Args:
        folder: a new one.
        qformer_tokenizer: folder or hub id of the BERT tokenizer that LAVIS adds ``[DEC]`` to; BLIP-2 needs none.

    The other arguments, and what is raised for the weights, are those of `from_lavis`.

    Raises:
        ConfigError: `folder` holds something already.
        CheckpointError: a source cannot be read, or does not go with the others.
    """
    with new_folder(folder) as made:
        words = _with_lavis_tokens(load_tokenizer(os.fspath(llm)))
        model = from_lavis(
            vit=vit, instructblip=instructblip, llm=llm, vit_heads=vit_heads, qformer_heads=qformer_heads, dtype=dtype
        )
        model.save_pretrained(made)
        words.save_pretrained(made)
        if model.config.model_type == "instructblip":
            questions = load_tokenizer(os.fspath(qformer_tokenizer))
            questions.add_special_tokens({"bos_token": "[DEC]"})
            questions.save_pretrained(made / "qformer_tokenizer")
    return Path(folder)


@quiet()
def from_minigpt4(
    *,
    vit: str | os.PathLike[str],
    qformer: str | os.PathLike[str],
    projection: str | os.PathLike[str],
    llm: str | os.PathLike[str],
    template: str | None = None,
    vit_heads: int = 16,
    qformer_heads: int = 12,
    dtype: torch.dtype = torch.float32,
) -> Blip2ForConditionalGeneration:
    """Build a transformers model from MiniGPT-4's four sources (first version), as `from_lavis` does.

    Args:
        vit: `eva_vit_g.pth`; its block 39, norm and head are left out.
        qformer: `blip2_pretrained_flant5xxl.pth`; its projection to T5 is left out.
        projection: MiniGPT-4's own checkpoint, such as `pretrained_minigpt4_7b.pth`.
        llm: folder of the language model (Vicuna v0 with its deltas applied, or LLaMA-2-chat).
        template: of the prompt, "vicuna" or "llama2"; None: "llama2" where the language model has 4096 positions.
        vit_heads: attention heads of the ViT.
        qformer_heads: attention heads of the Q-Former.
        dtype: of the weights in memory.

    Raises:
        CheckpointError: a file cannot be read, or a tensor is missing, unexpected or misshapen; all are named.
        ConfigError: there is no such template.
    """
    from .minigpt4 import TEMPLATE_FIELD, template_name

    language_model = read_language_model(llm, dtype)
    name = template_name(template, language_model.config)
    model = assemble(
        [
            (lavis.EVA_VIT, read_state(vit), vit),
            (minigpt4.QFORMER, read_state(qformer), qformer),
            (minigpt4.PROJECTION, read_state(projection), projection),
        ],
        language_model,
        vit_heads=vit_heads,
        qformer_heads=qformer_heads,
        dtype=dtype,
    )
    setattr(model.config, TEMPLATE_FIELD, name)  # by which a loaded model is known
    return model


@quiet()
def convert_minigpt4(
    folder: str | os.PathLike[str],
    *,
    vit: str | os.PathLike[str],
    qformer: str | os.PathLike[str],
    projection: str | os.PathLike[str],
    llm: str | os.PathLike[str],
    template: str | None = None,
    vit_heads: int = 16,
    qformer_heads: int = 12,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write MiniGPT-4's four sources as one folder that `load_host` reads, tokenizer included; whole or not at all.

    Arguments and what is raised are those of `from_minigpt4`, and besides:

    Raises:
        ConfigError: `folder` holds something already.
    """
    with new_folder(folder) as made:
        words = load_tokenizer(os.fspath(llm))
        heads = {"vit_heads": vit_heads, "qformer_heads": qformer_heads}
        model = from_minigpt4(
            vit=vit, qformer=qformer, projection=projection, llm=llm, template=template, dtype=dtype, **heads
        )
        model.save_pretrained(made)
        words.save_pretrained(made)
        (made / NOTES_FILE).write_text(json.dumps({"kind": "minigpt4"}), encoding="utf-8")
    return Path(folder)


@contextmanager
def new_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder beside the one meant, which takes its name when everything has been written.

    Raises:
        ConfigError: `folder` holds something already.
        CheckpointError: the disk refuses.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already and not an empty folder; name a new one.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            made = Path(scratch, "host")
            yield made
            os.replace(made, folder)
    except (OSError, SafetensorError) as error:  # safetensors tells a full disk in its own way
        raise CheckpointError(f"{folder} cannot be written: {error}. Nothing was written.") from error


def _with_lavis_tokens(tokenizer: Any) -> Any:
    """LLaMA's tokenizer as LAVIS sets it up for Vicuna: [PAD] is id 32000, every other special token is ``</s>``."""
    if len(tokenizer) == _LLAMA_WORDS:
        end = "</s>"
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        tokenizer.add_special_tokens({"bos_token": end, "eos_token": end, "unk_token": end})
    return tokenizer


def read_language_model(folder: str | os.PathLike[str], dtype: torch.dtype) -> Any:
    """The language model of a folder, with LAVIS's activation where it is a T5.

    Raises:
        CheckpointError: it cannot be loaded, or tensors are missing.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if not Path(folder, "config.json").is_file():
        raise CheckpointError(f"{folder} is no folder of a language model: it has no config.json.")
    config = read_config(Path(folder))
    if config.is_encoder_decoder:
        config.dense_act_fn = "gelu"  # LAVIS's choice for FLAN-T5, whose own is gelu_new
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    check_described(Path(folder), kind, config)
    try:
        model, info = kind.from_pretrained(
            folder, config=config, dtype=dtype, output_loading_info=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"The language model {folder} cannot be loaded: {reason_of(error)}") from error
    if info["missing_keys"]:
        raise CheckpointError(f"{folder} lacks {len(info['missing_keys'])} tensors: {sorted(info['missing_keys'])}.")
    return model


def assemble(
    sources: Sequence[Source], language_model: Any, *, vit_heads: int, qformer_heads: int, dtype: torch.dtype
) -> Any:
    """A transformers BLIP-2, or an InstructBLIP where the Q-Former has words, of other libraries' tensors.

    Args:
        sources: key tables with the tensors that they rename and the files that those are from.
        language_model: loaded.

    Raises:
        CheckpointError: a tensor is missing, unexpected or misshapen; all are named with their file.
    """
    state: dict[str, Tensor] = {}
    for rows, tensors, source in sources:
        state |= rows.convert(tensors, source=str(source))
    try:
        config = _config(state, language_model.config, vit_heads, qformer_heads)
    except KeyError as error:
        files = " and ".join(str(source) for _, _, source in sources)
        raise CheckpointError(f"{files} together lack {error.args[0]}, whose shape is needed.") from error
    state = {name: tensor.clone() for name, tensor in state.items()}  # the files are mapped, and may change
    state |= {f"language_model.{name}": tensor for name, tensor in language_model.state_dict().items()}
    return _build(config, state, sources, dtype)


def _config(state: Mapping[str, Tensor], text_config: Any, vit_heads: int, qformer_heads: int) -> Any:
    from transformers import Blip2Config, InstructBlipConfig

    words = state.get("qformer.embeddings.word_embeddings.weight")  # BLIP-2's Q-Former reads no text
    patches = state["vision_model.embeddings.patch_embedding.weight"]  # (D, 3, p, p)
    positions = state["vision_model.embeddings.position_embedding"].shape[1]
    vision = {
        "hidden_size": patches.shape[0],
        "patch_size": patches.shape[-1],
        "image_size": isqrt(positions - 1) * patches.shape[-1],
        "num_hidden_layers": _count(state, "vision_model.encoder.layers."),
        "intermediate_size": state["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_attention_heads": vit_heads,
        "post_layernorm_eps": LAVIS_NORM_EPS,
    }
    qformer = {
        "hidden_size": state["query_tokens"].shape[-1],
        "num_hidden_layers": _count(state, "qformer.encoder.layer."),
        "intermediate_size": state["qformer.encoder.layer.0.intermediate_query.dense.weight"].shape[0],
        "num_attention_heads": qformer_heads,
        "encoder_hidden_size": patches.shape[0],
    }
    if words is not None:
        places = state["qformer.embeddings.position_embeddings.weight"]
        qformer |= {"vocab_size": words.shape[0], "max_position_embeddings": places.shape[0]}
    kind, model = (Blip2Config, "Blip2") if words is None else (InstructBlipConfig, "InstructBlip")
    return kind(
        vision_config=vision,
        qformer_config=qformer,
        text_config=text_config,
        num_query_tokens=state["query_tokens"].shape[1],
        architectures=[f"{model}ForConditionalGeneration"],
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered parts lie under a prefix."""
    return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})


def _build(config: Any, state: dict[str, Tensor], sources: Sequence[Source], dtype: torch.dtype) -> Any:
    """A model around the tensors, once every source has been compared with what the configuration asks for."""
    import transformers

    kind = getattr(transformers, config.architectures[0])
    with torch.device("meta"):
        expected = kind(config).state_dict()
    for rows, tensors, source in sources:
        back = rows.inverse()
        rows.convert(tensors, {name: t for name, t in expected.items() if back.row_of(name)}, source=str(source))
    model = kind.from_pretrained(None, config=config, state_dict=state, dtype=dtype)
    model.vision_model.post_layernorm.eps = LAVIS_NORM_EPS
    return model
