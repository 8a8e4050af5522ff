"""Hub id, folder, shipped name or loaded model -> Host.

An existing folder wins, then the name of a shipped host, then the hub; what looks like a path never goes to the hub.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .._config import FrozenConfig
from .._optional import require
from ..catalog import HOSTS, LANGUAGE_MODELS, TEXT_TOWERS, HostKind, find_host, host_kinds, is_hub_id, resolve
from ..errors import CheckpointError, ConfigError, DoesNotFit, Unsupported
from ..inputs.image import ImageSettings
from ..splice import FrozenViT, freeze, vit_from_tower
from .text_tower import TextTower, find_text_tower

if TYPE_CHECKING:
    from .base import Host

__all__ = [
    "HostNotes",
    "LoadOptions",
    "find_source",
    "image_settings_of",
    "kind_of",
    "load_dtype",
    "load_host",
    "load_pretrained",
    "load_tokenizer",
    "name_of",
    "read_json",
    "read_notes",
    "share_vit",
]

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).parents[1]
NOTES_FILE = "lens_plugins.json"
FULL_PRECISION = ["vision_model", "qformer", "language_projection", "lm_head"]
"""Modules that 4 and 8 bit leave alone: only the language model is quantised (naming a list replaces the default)."""
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_NORM_EPS = "post_layernorm_eps"  # field of vision_config that carries the final norm's own epsilon


@dataclass(frozen=True)
class LoadOptions:
    """How to load a host.

    Args:
        dtype: of the weights in memory, whatever the files have.
        device_map: transformers' placement, such as "auto"; None: the CPU.
        quantization: "4bit" or "8bit" of the language model; None: neither.
        vit: the ViT of another host, to hold one copy in memory.
    """

    dtype: torch.dtype = torch.float32
    device_map: str | Mapping[str, Any] | None = None
    quantization: str | None = None
    vit: FrozenViT | None = None

    def __post_init__(self) -> None:
        if self.quantization not in (None, "4bit", "8bit"):
            raise ConfigError(f"quantization is {self.quantization!r}; it must be '4bit', '8bit' or None.")


@dataclass(frozen=True)
class HostNotes(FrozenConfig):
    """`lens_plugins.json` beside a host's config.json: what transformers' own files have no place for."""

    format: int = 1
    kind: str | None = None  # name of a HostKind, where config.json does not tell
    language_model_source: str | None = None  # a language model kept elsewhere, by its name in the catalogue
    default_prompt: str | None = None
    text_tower: str | None = None  # what the folder's text_head leads to, by its name in the catalogue
    digest: str | None = None  # of all weights in the folder, as `splice.digest` gives it

    def __post_init__(self) -> None:
        self._require(self.format <= 1, f"format is {self.format}, this version reads 1; upgrade lens-plugins.")
        for field, known in (("language_model_source", LANGUAGE_MODELS), ("text_tower", TEXT_TOWERS)):
            value = getattr(self, field)
            self._require(value in (None, *known), f"{field} is {value!r}; known: {', '.join(known)}.")

    def language_model_folder(self) -> Path | None:
        """Where the language model lies, fetched on first use; None where the host's folder holds it."""
        return resolve(LANGUAGE_MODELS[self.language_model_source])() if self.language_model_source else None


def load_host(
    source: str | os.PathLike[str] | nn.Module,
    *,
    dtype: str | torch.dtype | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    quantization: str | None = None,
    vit: FrozenViT | None = None,
    processor: Any = None,
    text_tower: str | os.PathLike[str] | TextTower | None = None,
    text_head: str | os.PathLike[str] | None = None,
) -> Host:
    """Load a host, frozen and in eval mode.

    Args:
        source: a folder, the name of a shipped host ("pocket-instructblip"), a hub id, or a loaded model (transformers'
            or LAVIS's), which is put in eval mode and asked for no gradients.
        dtype: of the weights; None: float32, also where the files hold less, since a CPU multiplies half precision many
            times slower.
        device_map: transformers' placement, such as "auto"; None: the CPU.
        quantization: "4bit" (nf4) or "8bit" for the language model alone; ViT and Q-Former keep `dtype`.
        vit: the ViT of another host, shared so that one copy stays in memory; it must hold the same weights.
        processor: transformers' processor of a loaded model, for its tokenizers.
        text_tower: a sentence encoder, for `Host.embed` of texts, `Host.classify` and search by text: a folder, a hub
            id, or an object with ``encode(texts) -> (T, E)``; loaded with the first text. None: as the host's folder
            says; the pocket host has one.
        text_head: safetensors that lead the ViT's class token into the tower's space, as training writes them; None:
            the folder's own.

    Raises:
        CheckpointError: nothing there, or a file is missing, damaged or does not go with the others.
        ConfigError: an unknown option or kind of host; a text tower without a head, or the other way round.
        DoesNotFit: `vit` holds other weights than the host's own, or the text head is of another width.
    """
    folder = None if isinstance(source, nn.Module) else find_source(source)
    notes = HostNotes() if folder is None else read_notes(folder)
    tower = find_text_tower(folder, notes.text_tower, text_tower, text_head)  # refused before minutes of loading
    if isinstance(source, nn.Module):
        if (dtype, device_map, quantization, vit) != (None, None, None, None):
            raise ConfigError(
                "A loaded model is used as it is: dtype, device_map, quantization and vit are for loading."
            )
        host = _kind_of_model(source).wrap(freeze(source), processor)
    else:
        host = _load(folder, LoadOptions(load_dtype(dtype), device_map, quantization, vit))
    if tower is not None:
        tower.check_fits(host.vit)
        host.text_tower = tower
    return host


def _load(found: str | Path, options: LoadOptions) -> Host:
    if options.dtype != torch.float32 and options.device_map is None:
        log.warning("%s on a CPU multiplies many times slower than float32; it only saves memory.", options.dtype)
    host = resolve(kind_of(found).host).load(found, options)
    freeze(host.model)
    return host


def find_source(source: str | os.PathLike[str]) -> str | Path:
    """The folder meant, or the hub id.

    Raises:
        CheckpointError: it looks like a path, and no folder is there.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    row = find_host(str(source))
    if row is not None and (PACKAGE / row.source).is_dir():
        return PACKAGE / row.source
    text = str(source)
    if path.exists() or isinstance(source, os.PathLike) or not is_hub_id(text):
        what = "is a file, not a folder" if path.exists() else "is no folder, no shipped host and no hub id"
        raise CheckpointError(
            f"The host {text} {what}. A hub id has the form owner/name; shipped: pocket-instructblip."
        )
    return text


def name_of(source: str | Path) -> str:
    """What a host calls itself: its name in the catalogue if it ships with us, or that of its folder or repository."""
    shipped = {PACKAGE / row.source: row.id for row in HOSTS}
    return shipped.get(Path(source), Path(source).name)


def kind_of(source: str | Path) -> HostKind:
    """Which kind of host a folder or hub id holds.

    Raises:
        CheckpointError: its configuration cannot be read.
        ConfigError: it says a kind that no host drives.
    """
    kinds = host_kinds()
    named = read_notes(source).kind
    if named is not None:
        if named not in kinds:
            raise ConfigError(f"{source} is a host of kind {named!r}; known kinds: {', '.join(kinds)}.")
        return kinds[named]
    config = read_json(source, "config.json")
    if config is None:
        raise CheckpointError(
            f"{source} has no config.json, so it is no transformers host. Files of LAVIS are converted with "
            "lens_plugins.hosts.convert.from_lavis."
        )
    return _kind_of_type(config.get("model_type"), str(source))


def _kind_of_type(model_type: Any, source: str) -> HostKind:
    for kind in host_kinds().values():
        if model_type in kind.model_types:
            return kind
    known = ", ".join(name for kind in host_kinds().values() for name in kind.model_types)
    raise ConfigError(f"{source} has the model_type {model_type!r}, which no kind of host drives; known: {known}.")


def _kind_of_model(model: nn.Module) -> type[Host]:
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    # kinds told by attributes come first: such a model may have the model_type of another kind
    for kind in sorted(host_kinds().values(), key=lambda kind: bool(kind.model_types)):
        host = resolve(kind.host)
        if model_type in kind.model_types or host.accepts(model):
            return host
    raise ConfigError(
        f"A {type(model).__name__} (model_type {model_type!r}) is no host; known kinds: {', '.join(host_kinds())}."
    )


def load_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """The dtype meant; None is float32.

    Raises:
        ConfigError: another one than float32, float16 and bfloat16.
    """
    if dtype is None:
        return torch.float32
    if isinstance(dtype, torch.dtype) and dtype in _DTYPES.values():
        return dtype
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise ConfigError(f"dtype is {name!r}; it must be one of {', '.join(_DTYPES)}.")
    return _DTYPES[name]


def read_json(source: str | Path, name: str) -> dict[str, Any] | None:
    """A JSON file of a host, from its folder or the hub; None where the host has no such file.

    Raises:
        CheckpointError: the hub cannot be reached, or the file is damaged.
    """
    path = _file(source, name)
    if path is None:
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold named values, got a {type(values).__name__}.")
    return values


def _file(source: str | Path, name: str) -> Path | None:
    if isinstance(source, Path):
        return source / name if (source / name).is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(source, name))
    except LocalEntryNotFoundError as error:
        if name == "config.json":
            raise _unreachable(source, error) from error
        return None
    except EntryNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreachable(source, error) from error


def _unreachable(source: str | Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"The host {source} cannot be loaded: {str(error).strip()} Check the name and the network, or give a folder; "
        "pocket-instructblip needs neither."
    )


def read_notes(source: str | Path) -> HostNotes:
    """`lens_plugins.json` of a folder, or the defaults: the hub's hosts have none."""
    raw = read_json(source, NOTES_FILE) if isinstance(source, Path) else None
    return HostNotes.from_dict(raw or {})


def load_pretrained(model_class: Any, source: str | Path, options: LoadOptions, notes: HostNotes) -> nn.Module:
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
    try:
        if folder is None:
            model, info = model_class.from_pretrained(source, **how)
        else:
            config = model_class.config_class.from_pretrained(source)
            state = _tensors(Path(source)) | _tensors(folder, "language_model.")
            model, info = model_class.from_pretrained(None, config=config, state_dict=state, **how)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _unreachable(source, error) from error
    wrong = [f"{len(info[key])} {key.replace('_', ' ')}: {_names(info[key])}" for key in _STRICT if info[key]]
    if wrong:
        raise CheckpointError(f"The weights of {source} do not go with its config.json. {'; '.join(wrong)}.")
    eps = getattr(getattr(model.config, "vision_config", None), _NORM_EPS, None)
    if eps is not None:
        model.vision_model.post_layernorm.eps = eps
    return model


_STRICT = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")


def _names(entries: Any) -> str:
    """Names of tensors; a misshapen one comes with the shape in the file and the shape in the model."""
    told = [e if isinstance(e, str) else f"{e[0]} {tuple(e[1])}, expected {tuple(e[2])}" for e in entries]
    return ", ".join(sorted(told))


def _tensors(folder: Path, prefix: str = "") -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder} has no .safetensors file.")
    return {prefix + name: tensor for file in files for name, tensor in load_file(file).items()}


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


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


def load_tokenizer(source: str | Path, *, subfolder: str = "") -> Any:
    """A tokenizer of a host, from its own files.

    Raises:
        CheckpointError: names the folder that lacks one.
    """
    from transformers import AutoTokenizer

    if os.path.isdir(source):
        folder = Path(source, subfolder)
        if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
            raise CheckpointError(f"{folder} has no tokenizer: none of {', '.join(_TOKENIZER_FILES)} is there.")
        source, subfolder = folder, ""
    try:
        return AutoTokenizer.from_pretrained(source, subfolder=subfolder)
    except (OSError, ValueError) as error:
        raise _unreachable(source, error) from error


def image_settings_of(source: str | Path, image_size: int) -> ImageSettings:
    """How a host sees pictures, by its processor's file; InstructBLIP's way where it has none.

    Raises:
        CheckpointError: the processor makes pictures of another size than the ViT reads.
    """
    raw = read_json(source, "preprocessor_config.json")
    if raw is None:
        raw = (read_json(source, "processor_config.json") or {}).get("image_processor", {})
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


def share_vit(model: nn.Module, vit: FrozenViT | None) -> None:
    """Let a freshly loaded transformers host use another host's patch embedding, positions and blocks.

    Its own final norm stays: it differs between hosts even where the ViT is the same.

    Raises:
        Unsupported: `vit` is not a transformers tower.
        DoesNotFit: the two ViTs give different features.
    """
    if vit is None:
        return
    tower = model.vision_model
    if not (isinstance(vit.blocks, type(tower.encoder)) and isinstance(vit.class_token.owner, type(tower.embeddings))):
        raise Unsupported(
            f"{vit.name} is a {type(vit.blocks).__name__}, this host needs a {type(tower.encoder).__name__}. Load this "
            "host first, and give its ViT to the other one."
        )
    _check_same(vit_from_tower(tower), vit)
    tower.embeddings, tower.encoder = vit.class_token.owner, vit.blocks


def _check_same(own: FrozenViT, other: FrozenViT) -> None:
    """Compare two ViTs by what they make of one picture, whatever their layouts."""
    shapes = (own.width, own.num_patches), (other.width, other.num_patches)
    if shapes[0] != shapes[1]:
        raise DoesNotFit(f"The host's own ViT has (width, patches) {shapes[0]}, {other.name} has {shapes[1]}.")
    side = own.image_size
    picture = torch.linspace(-1, 1, 3 * side * side).view(1, 3, side, side)
    made = []
    with torch.no_grad():
        for vit in (own, other):
            borrowed = FrozenViT(
                name=vit.name,
                patch_embedding=vit.patch_embedding,
                class_token=vit.class_token,
                positions=vit.positions,
                blocks=vit.blocks,
                norm=own.norm,  # each host's own norm is left out of the comparison
                image_size=side,
            )
            made.append(borrowed.encode(borrowed.embed_image(picture)).float().cpu())
    difference = (made[0] - made[1]).abs().max().item()
    allowed = 1e-4 if own.dtype == other.dtype == torch.float32 else 0.1
    if not difference <= allowed:
        raise DoesNotFit(
            f"{other.name} is not the host's own ViT: their features differ by {difference:.3g}, {allowed} is allowed."
        )
