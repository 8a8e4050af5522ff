"""Loading a host: whole or not at all, frozen and in eval mode."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .._optional import require
from ..catalog import resolve
from ..errors import CheckpointError, ConfigError, LensPluginsError
from ..files.tensors import dtype_of, read_safetensors
from ..inputs.image import ImageSettings
from ..splice import FrozenViT, freeze
from .base import Host, LoadOptions
from .outline import check_described, read_config
from .quiet import quiet
from .source import (
    HostNotes,
    find_source,
    from_pretrained_options,
    kind_of,
    kind_of_model,
    read_host_json,
    refuse_kernels,
    unreachable,
)
from .text_tower import TextTower, find_text_tower

__all__ = ["FULL_PRECISION", "image_settings_of", "load_host", "load_pretrained", "load_tokenizer"]

log = logging.getLogger(__name__)

FULL_PRECISION = ["vision_model", "qformer", "language_projection", "lm_head"]
"""Modules that 4 and 8 bit leave alone: only the language model is quantised (naming a list replaces the default)."""
_NORM_EPS = "post_layernorm_eps"  # field of vision_config that carries the final norm's own epsilon
_STRICT = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


def load_host(
    source: str | os.PathLike[str] | nn.Module | Host,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | int | torch.device | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    quantization: str | None = None,
    vit: FrozenViT | None = None,
    processor: Any = None,
    revision: str | None = None,
    text_tower: str | os.PathLike[str] | TextTower | None = None,
    text_head: str | os.PathLike[str] | None = None,
) -> Host:
    """Load a host, frozen and in eval mode.

    Args:
        source: a folder, the name of a shipped host ("pocket-instructblip"), a hub id, or a loaded model (transformers'
            or LAVIS's), which is put in eval mode and asked for no gradients. A host is returned as it is.
        dtype: of the weights; None: float32, also where the files hold less, since a CPU multiplies half precision many
            times slower.
        device: where the whole host computes: "cpu", "cuda", "cuda:1" or 1, "mps", or "auto" as for
            `device_map`.
        device_map: transformers' placement of parts, such as "auto"; None: the CPU.
        quantization: "4bit" (nf4) or "8bit" for the language model alone; ViT and Q-Former keep `dtype`.
        vit: the ViT of another host, shared so that one copy stays in memory; it must hold the same weights.
        processor: transformers' processor of a loaded model, for its tokenizers.
        revision: branch, tag or commit of a hub id; None: the default branch.
        text_tower: a sentence encoder, for `Host.embed` of texts, `Host.classify` and search by text: a folder, a hub
            id, or an object with ``encode(texts) -> (T, E)``; loaded with the first text. None: as the host's folder
            says; the pocket host has one.
        text_head: safetensors that lead the ViT's class token into the tower's space, as training writes them; None:
            the folder's own.

    Raises:
        CheckpointError: nothing there, or a file is missing, damaged or does not go with the others.
        ConfigError: an unknown option, device or kind of host; a text tower without a head, or the other way round.
        DoesNotFit: `vit` holds other weights than the host's own, or the text head is of another width.
    """
    if device is not None and device_map is not None:
        raise ConfigError(f"device is {str(device)!r} and device_map is {device_map!r}; give one of them.")
    if isinstance(device, int):  # as transformers counts GPUs
        device = f"cuda:{device}"
    place = device_map if device is None else str(device)
    if isinstance(source, (Host, nn.Module)):
        if (dtype, device_map, quantization, vit, revision) != (None, None, None, None, None):
            raise ConfigError(
                "A loaded model is used as it is: dtype, device_map, quantization, vit and revision are for loading; "
                "host.to(device) moves it."
            )
        tower = find_text_tower(None, None, text_tower, text_head)
        host = source if isinstance(source, Host) else kind_of_model(source).wrap(freeze(source), processor)
        if device is not None:
            host.to(device)
    else:
        found = find_source(source, revision)
        options = LoadOptions(dtype_of(dtype), place, quantization, vit)
        named = HostNotes.of(found).text_tower
        tower = find_text_tower(found, named, text_tower, text_head)  # refused before minutes of loading
        host = _load(found, options)
    if tower is not None:
        host.take_text_tower(tower)
    return host


def _load(found: str | Path, options: LoadOptions) -> Host:
    if options.dtype != torch.float32 and options.device_map is None:
        log.warning("%s on a CPU multiplies many times slower than float32; it only saves memory.", options.dtype)
    try:
        host: Host = resolve(kind_of(found).host).load(found, options)
    except BaseException as error:  # a panic of tokenizers is no Exception
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise unreachable(found, error) from error  # so, or by a bare Exception, tokenizers tells of a damaged file
    freeze(host.model)
    return host


@quiet()
def load_pretrained(model_class: Any, source: str | Path, options: LoadOptions, notes: HostNotes) -> Any:
    """Load a transformers model whole or not at all, with the final norm's own epsilon.

    Raises:
        CheckpointError: a tensor is missing, unexpected or misshapen, or a file cannot be read.
    """
    how: dict[str, Any] = {
        "dtype": options.dtype,
        "device_map": options.device_map,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # so that they are reported with both shapes, and refused below
    }
    if options.quantization:
        how["quantization_config"] = _quantization(options)
    folder = notes.language_model_folder()
    refuse_kernels(source)
    try:
        config = read_config(source)
        check_described(source, model_class, config, *([] if folder is None else [folder]))
        if folder is None:
            model, info = model_class.from_pretrained(source, **how, **from_pretrained_options(source))
        else:
            state = _tensors(Path(source)) | _tensors(folder, "language_model.")
            model, info = model_class.from_pretrained(None, config=config, state_dict=state, **how)
    except LensPluginsError:
        raise
    except Exception as error:  # whatever transformers makes of a damaged folder
        raise unreachable(source, error) from error
    wrong = [f"{len(info[key])} {key.replace('_', ' ')}: {_names(info[key])}" for key in _STRICT if info[key]]
    if wrong:
        raise CheckpointError(f"The weights of {source} do not go with its config.json. {'; '.join(wrong)}.")
    eps = getattr(getattr(model.config, "vision_config", None), _NORM_EPS, None)
    if eps is not None:
        model.vision_model.post_layernorm.eps = eps
    return model


def _names(entries: Any) -> str:
    """Names of tensors; a misshapen one comes with the shape in the file and the shape in the model."""
    told = [e if isinstance(e, str) else f"{e[0]} {tuple(e[1])}, expected {tuple(e[2])}" for e in entries]
    return ", ".join(sorted(told))


def _tensors(folder: Path, prefix: str = "") -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} has no .safetensors file.")
    return {prefix + name: tensor for file in files for name, tensor in read_safetensors(file).items()}


def _quantization(options: LoadOptions) -> Any:
    from transformers import BitsAndBytesConfig

    require("bitsandbytes", extra="quant", purpose=f"quantization={options.quantization!r}")
    if options.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=FULL_PRECISION)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",  # the default, fp4, is twice as coarse
        bnb_4bit_compute_dtype=options.dtype,
        llm_int8_skip_modules=FULL_PRECISION,
    )


@quiet()
def load_tokenizer(source: str | Path, *, subfolder: str = "") -> Any:
    """A tokenizer of a host, from its own files.

    Raises:
        CheckpointError: names the folder that lacks one.
    """
    from transformers import AutoTokenizer

    options = from_pretrained_options(source)
    if os.path.isdir(source):
        folder = Path(source, subfolder)
        if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
            raise CheckpointError(f"{folder} has no tokenizer: none of {', '.join(_TOKENIZER_FILES)} is there.")
        source, subfolder = folder, ""
    try:
        return AutoTokenizer.from_pretrained(source, subfolder=subfolder, **options)
    except Exception as error:  # on a damaged file tokenizers raises bare Exceptions, transformers whatever comes
        raise unreachable(source, error) from error


def image_settings_of(source: str | Path, image_size: int) -> ImageSettings:
    """How a host sees pictures, by its processor's file; InstructBLIP's way where it has none.

    Raises:
        CheckpointError: the processor makes pictures of another size than the ViT reads.
    """
    raw = read_host_json(source, "preprocessor_config.json")
    if raw is None:
        raw = (read_host_json(source, "processor_config.json") or {}).get("image_processor", {})
    size = raw.get("size", image_size)
    height = size.get("height", size.get("shortest_edge")) if isinstance(size, dict) else size
    if height != image_size:
        raise CheckpointError(
            f"The image processor of {source} makes pictures of {height} pixels; its ViT reads {image_size}."
        )
    resize = "shorter" if isinstance(size, dict) and "shortest_edge" in size else "squash"
    means = {key: tuple(raw[f"image_{key}"]) for key in ("mean", "std") if f"image_{key}" in raw}
    filters = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers
    return ImageSettings(
        size=image_size, resize=resize, interpolation=filters.get(raw.get("resample", 3), "bicubic"), **means
    )
