"""Files of CLIP and of the vitlensL family -> transformers' CLIP model, lenses with towers, and a tokenizer.

A folder may hold transformers' layout (``config.json``), open_clip's (``open_clip_model.safetensors`` or
``open_clip_pytorch_model.bin``), the one-stop ``vitlensL.pt``, or lenses alone beside the DataComp CLIP of the hub.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from io import BytesIO
from math import isqrt, log
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..catalog import DATACOMP, LENSES, find_modality
from ..errors import CheckpointError, ConfigError
from ..files.hub import fetch
from ..files.jsons import read_json_object
from ..files.opening import parsing, read_bytes
from ..files.tensors import check_finite, flat_state, read_pt, read_state
from ..inputs.image import ImageSettings
from ..keymap import KeyMap
from ..lens.config import LensConfig, presets
from ..lens.layouts import CLIP, infer_with_notes, roots_of_lenses
from ..lens.lens import Lens
from ..lens.loading import open_released
from ..lens.tower import TowerConfig
from .layouts.open_clip import OPEN_CLIP, VITLENS
from .loading import load_pretrained, load_tokenizer
from .outline import read_config
from .quiet import quiet
from .source import HostNotes, HubId, read_host_json

if TYPE_CHECKING:
    from transformers import CLIPModel

    from .base import LoadOptions

__all__ = [
    "from_open_clip",
    "image_settings",
    "lens_files",
    "load_clip",
    "load_words",
    "outline_clip",
    "outline_lenses",
    "tokenizer_of_bpe",
]

ONE_STOP = "vitlensL.pt"
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
_CONFIG = "open_clip_config.json"
_EXAMPLE = '{"model_cfg": {"vision_cfg": {"head_width": 64}, "text_cfg": {"heads": 12}}}'
_BPE = "bpe_simple_vocab_16e6.txt.gz"
_TOKENIZERS = ("tokenizer.json", "vocab.json")
_MERGES = 49152 - 256 - 2  # of CLIP's vocabulary, whose list goes on after them
_MOST_BYTES = 8 * 2**20  # of the unpacked list, which has 3.2 million
_HEADS = {768: 12, 1024: 16, 1280: 16, 1664: 16}  # of picture towers, by width: ViT-B, L, H, bigG
_TEXT_HEAD = 64  # width of a head in every text tower of open_clip


def load_clip(source: str | Path, options: LoadOptions) -> CLIPModel:
    """The CLIP of a folder or repository; that of the hub where there are lenses alone.

    Raises:
        CheckpointError: a tensor is missing, unexpected or misshapen, or a file cannot be read or fetched.
        ConfigError: the shapes do not tell the heads of a tower, and no configuration does.
    """
    if isinstance(source, HubId) and source.row is None:
        return _from_transformers(source, options)
    if isinstance(source, Path):
        if (source / "config.json").is_file():
            return _from_transformers(source, options)
        named = next((source / name for name in _WEIGHTS if (source / name).is_file()), None)
        if named is not None:
            return from_open_clip(named, options=options)
    one_stop = _one_stop(source)
    # A one-stop file may have been written for some modalities only.
    if one_stop is not None and _holds_clip(one_stop):
        return from_open_clip(one_stop, options=options)
    return _from_transformers(HubId(DATACOMP), options)


def _from_transformers(source: str | Path, options: LoadOptions) -> CLIPModel:
    from transformers import CLIPModel

    # The notes of a host say where its language model is; a CLIP has none.
    model: CLIPModel = load_pretrained(CLIPModel, source, options, HostNotes())
    return model


def _one_stop(source: str | Path) -> Path | None:
    if isinstance(source, Path):
        return source / ONE_STOP if (source / ONE_STOP).is_file() else None
    return fetch(source, ONE_STOP, revision=getattr(source, "revision", None))


def _holds_clip(path: Path) -> bool:
    names = [name for name in flat_state(read_pt(path)) if name.startswith("vitlens.")]
    return all(any(name.startswith(f"vitlens.{tower}.") for name in names) for tower in ("image", "text"))


@quiet()
def from_open_clip(
    path: Path, config: Mapping[str, Any] | None = None, *, options: LoadOptions | None = None
) -> CLIPModel:
    """transformers' CLIP of a file in open_clip's layout, or of the pictures and texts in `vitlensL.pt`.

    Every dimension but the numbers of heads is read off the weights. Heads are those of open_clip's own models by
    width, unless the configuration tells. The activation is the exact GELU, unless it says ``quick_gelu``.

    Args:
        path: safetensors by that suffix, else PyTorch's own format.
        config: open_clip's ``model_cfg``; None: of the ``open_clip_config.json`` beside the file, if there is one.
        options: dtype and device; None: float32 on the CPU.

    Raises:
        CheckpointError: a tensor is missing, unexpected or misshapen; all are named.
        ConfigError: heads that nothing tells, or that are not whole.
    """
    config = _model_cfg(path) if config is None else config
    table, state = _open_clip_state(path)
    check_finite(state, str(path))
    found = table.convert(state, source=str(path))
    try:
        clip = _clip_config(found, config, str(path))
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no CLIP in open_clip's layout: it lacks {error}, or has it otherwise."
        ) from error
    return _build(clip, table, state, path, options)


def _model_cfg(path: Path) -> Mapping[str, Any]:
    """What the configuration beside a file says of its towers; {} where there is none."""
    beside = path.parent / _CONFIG
    return _part(read_json_object(beside), "model_cfg", str(path)) if beside.is_file() else {}


def _open_clip_state(path: Path) -> tuple[KeyMap, dict[str, Tensor]]:
    """The pictures and texts of a file, and the table of its keys; the lenses of a one-stop file are left out."""
    state = read_state(path, finite=False)
    if not any(name.startswith("vitlens.") for name in state):
        return OPEN_CLIP, state
    towers = ("vitlens.image.", "vitlens.text.")
    return VITLENS, {name: value for name, value in state.items() if name.startswith(towers)}


def _clip_config(state: Mapping[str, Tensor], asked: Mapping[str, Any], source: str) -> Any:
    from transformers import CLIPConfig

    (width, _, patch, _), (positions, _) = (
        state[f"vision_model.embeddings.{name}.weight"].shape for name in ("patch_embedding", "position_embedding")
    )
    vocabulary, text_width = state["text_model.embeddings.token_embedding.weight"].shape
    context, _ = state["text_model.embeddings.position_embedding.weight"].shape
    out, _ = state["visual_projection.weight"].shape
    vision, text = _part(asked, "vision_cfg", source), _part(asked, "text_cfg", source)
    act = "quick_gelu" if asked.get("quick_gelu") else "gelu"
    shared = {"hidden_act": act, "layer_norm_eps": 1e-5, "projection_dim": out}
    head = vision.get("head_width")
    if head is not None and (not isinstance(head, int) or isinstance(head, bool) or not 0 < head <= width):
        raise ConfigError(f"head_width in the {_CONFIG} of {source} is {head!r}; it must be 1 to {width}.")
    return CLIPConfig(
        projection_dim=out,
        vision_config={
            "hidden_size": width,
            "patch_size": patch,
            "image_size": isqrt(positions - 1) * patch,
            **_depth(state, "vision_model"),
            "num_attention_heads": _heads(width, width // head if head else _HEADS.get(width), "picture", source),
            **shared,
        },
        text_config={
            "vocab_size": vocabulary,
            "hidden_size": text_width,
            "max_position_embeddings": context,
            **_depth(state, "text_model"),
            "num_attention_heads": _heads(text_width, text.get("heads", text_width // _TEXT_HEAD), "text", source),
            # To transformers 2 means: the row of the largest id, which is how open_clip finds the end of a text.
            "eos_token_id": 2,
            **shared,
        },
        architectures=["CLIPModel"],
    )


def _part(asked: Mapping[str, Any], name: str, source: str) -> Mapping[str, Any]:
    part = asked.get(name, {})
    if not isinstance(part, Mapping):
        raise ConfigError(f"{name} in the {_CONFIG} of {source} is {part!r}; it must hold named values.")
    return part


def _depth(state: Mapping[str, Tensor], tower: str) -> dict[str, int]:
    before = f"{tower}.encoder.layers."
    layers = {name[len(before) :].split(".")[0] for name in state if name.startswith(before)}
    return {
        "num_hidden_layers": len(layers),
        "intermediate_size": state[f"{before}0.mlp.fc1.weight"].shape[0],
    }


def _heads(width: int, told: Any, tower: str, source: str) -> int:
    """The number of heads, if it is whole and shares the width.

    Raises:
        ConfigError: it does not, or nothing tells it.
    """
    if not isinstance(told, int) or isinstance(told, bool) or told < 1 or width % told:
        raise ConfigError(
            f"The {tower} tower of {source} is {width} wide, and its heads are {told or 'not told'}. Say them in "
            f"{_CONFIG} beside it: {_EXAMPLE}."
        )
    return told


def _build(config: Any, table: KeyMap, state: dict[str, Tensor], path: Path, options: LoadOptions | None) -> CLIPModel:
    """A model around the tensors, once they have been compared with what the configuration asks for."""
    from transformers import CLIPModel

    with torch.device("meta"):
        expected = CLIPModel(config).state_dict()
    back = table.inverse()
    found = table.convert(state, {name: t for name, t in expected.items() if back.row_of(name)}, source=str(path))
    found = {name: tensor.clone() for name, tensor in found.items()}  # the file is mapped, and may change
    found.setdefault("logit_scale", torch.tensor(log(100.0)))  # the one-stop file has none; no vector depends on it
    dtype = options.dtype if options else torch.float32
    model: CLIPModel = CLIPModel.from_pretrained(None, config=config, state_dict=found, dtype=dtype)
    return model.to(_device(options.device_map)) if options else model


def _device(place: Any) -> torch.device:
    """The one device that a placement means.

    Raises:
        ConfigError: it means several.
    """
    if isinstance(place, Mapping):
        raise ConfigError("A device_map by parts is for CLIP in transformers' layout; give device= here.")
    if place == "disk":
        raise ConfigError("device_map='disk' is for CLIP in transformers' layout; give device= here.")
    if place in ("auto", "balanced", "balanced_low_0", "sequential"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device("cpu" if place is None else place)


def lens_files(source: str | Path) -> dict[str, Path]:
    """The file of each released lens in a folder or repository, by modality; the one-stop file comes first.

    Raises:
        CheckpointError: it cannot be read or fetched.
    """
    if isinstance(source, HubId) and source.row is None:
        return {}  # a CLIP of the hub, without lenses
    one_stop = _one_stop(source)
    found = dict.fromkeys(_modalities_in(one_stop), one_stop) if one_stop is not None else {}
    if isinstance(source, Path):
        # ViT-Lens's pages spell one file in two ways, Datacomp_L14_objaverse.pt and ..._Objaverse.pt
        here = {path.name.lower(): path for path in sorted(source.glob("*.pt"))}
        for row in LENSES:
            if row.family == CLIP and (path := here.get(row.file.lower())) is not None:
                found.setdefault(row.modality, path)
    return {modality: path for modality, path in found.items() if path is not None}


def _modalities_in(path: Path) -> Iterator[str]:
    for modality in roots_of_lenses(flat_state(read_pt(path), data_parallel=False)).values():
        if modality is not None:
            yield find_modality(modality).name


def outline_clip(source: str | Path) -> tuple[Any, tuple[str, ...] | None]:
    """The configuration of the CLIP that would be loaded, and its files; None: those that transformers reads.

    No weights are read of a repository; of a file in open_clip's layout their shapes are.

    Raises:
        CheckpointError: it cannot be read.
        ConfigError: heads that nothing tells.
    """
    if getattr(source, "row", None) is not None:
        return _vit_l_14(), (ONE_STOP,)
    if isinstance(source, Path) and not (source / "config.json").is_file():
        named = [name for name in (*_WEIGHTS, ONE_STOP) if (source / name).is_file()]
        if named and (named[0] != ONE_STOP or _holds_clip(source / ONE_STOP)):
            table, state = _open_clip_state(source / named[0])
            return _clip_config(table.convert(state), _model_cfg(source / named[0]), named[0]), (named[0],)
        return _vit_l_14(), ()
    return read_config(source), None


def _vit_l_14() -> Any:
    """Of the released CLIP, without asking the hub."""
    from transformers import CLIPConfig

    return CLIPConfig(
        projection_dim=768,
        vision_config={
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
            "patch_size": 14, "hidden_act": "gelu", "projection_dim": 768,
        },
        text_config={
            "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "hidden_act": "gelu",
            "projection_dim": 768,
        },
    )  # fmt: skip


def outline_lenses(source: str | Path) -> dict[str, tuple[Lens, str]]:
    """The lenses that come with a host, without values, and the file of each, by modality.

    Raises:
        CheckpointError: a file is no lens.
    """
    found: dict[str, tuple[Lens, str]] = {}
    if isinstance(source, Path):
        settings = HostNotes.of(source).lens_settings
        for modality, path in lens_files(source).items():
            released = open_released(path, modality)
            config, _ = infer_with_notes(released, settings.get(modality, {}), guess_heads=True)
            with torch.device("meta"):
                found[modality] = Lens(config), path.name
    elif getattr(source, "row", None) is not None:
        for row in LENSES:
            if row.family == CLIP and row.modality not in found:
                embedding, resampler = presets()[row.id]
                config = LensConfig(row.modality, 1024, embedding, resampler, tower=TowerConfig(), family=CLIP)
                with torch.device("meta"):
                    found[row.modality] = Lens(config), ONE_STOP
    return found


def image_settings(source: str | Path | Mapping[str, Any], size: int) -> ImageSettings:
    """How a CLIP sees pictures: shorter side to `size` by bicubic, centre crop, mean and deviation of its files.

    Args:
        source: a folder, a repository, or the values of an image processor.
        size: what its picture tower reads, in pixels.

    Raises:
        CheckpointError: its files say another size than the tower reads.
    """
    values = dict(source) if isinstance(source, Mapping) else _preprocessing(source)
    for key in ("image_mean", "image_std"):
        if not isinstance(values.get(key, []), (list, tuple)):
            raise CheckpointError(f"The image processor of this CLIP has {key} {values[key]!r}; it must be 3 numbers.")
    crop = values.get("crop_size", values.get("size", size))
    made = crop.get("height", crop.get("shortest_edge")) if isinstance(crop, Mapping) else crop
    if made != size:
        raise CheckpointError(
            f"The image processor of this CLIP makes pictures of {made} pixels; its ViT reads {size}."
        )
    means = {key: tuple(values[f"image_{key}"]) for key in ("mean", "std") if values.get(f"image_{key}")}
    bilinear = values.get("resample", 3) == 2  # Pillow's number; 3 is bicubic
    resize = "shorter" if values.get("do_center_crop", True) else "squash"
    return ImageSettings(size=size, resize=resize, interpolation="bilinear" if bilinear else "bicubic", **means)


def _preprocessing(source: str | Path) -> dict[str, Any]:
    """The values of an image processor, by transformers' names; {} where no file tells."""
    if getattr(source, "row", None) is not None:
        return {}
    found = read_host_json(source, "preprocessor_config.json")
    if found is None and isinstance(source, Path) and (source / _CONFIG).is_file():
        own = _part(read_json_object(source / _CONFIG), "preprocess_cfg", str(source))
        return {f"image_{key}": own[key] for key in ("mean", "std") if key in own}
    return found or {}


def load_words(source: str | Path | None) -> Any:
    """The tokenizer of a CLIP: its folder's own, else CLIP's common one.

    CLIP's common vocabulary is looked for in the folder (`bpe_simple_vocab_16e6.txt.gz`), in an installed open_clip,
    and in the DataComp repository of the hub.

    Raises:
        CheckpointError: it is in none of these places.
    """
    if isinstance(source, HubId) and source.row is None:
        return load_tokenizer(source)
    if isinstance(source, Path) and any((source / name).is_file() for name in _TOKENIZERS):
        return load_tokenizer(source)
    spec = find_spec("open_clip")
    installed = [Path(folder, _BPE) for folder in (spec.submodule_search_locations or ())] if spec else []
    for path in ([source / _BPE] if isinstance(source, Path) else []) + installed:
        if path.is_file():
            return tokenizer_of_bpe(path)
    try:
        return load_tokenizer(HubId(DATACOMP))
    except CheckpointError as error:
        raise CheckpointError(
            f"{source or 'This CLIP'} has no tokenizer for texts, and {DATACOMP} cannot be fetched. Put CLIP's "
            f"vocab.json and merges.txt, or its {_BPE}, into the folder, or install open_clip_torch, which has it."
        ) from error


@quiet()
def tokenizer_of_bpe(path: Path) -> Any:
    """CLIP's tokenizer of OpenAI's list of merges, `bpe_simple_vocab_16e6.txt.gz`.

    Raises:
        CheckpointError: the file is no such list.
    """
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    with parsing(str(path), "list of merges", "fetch it again", error=CheckpointError):
        with gzip.open(BytesIO(read_bytes(path, error=CheckpointError))) as packed:
            lines = packed.read(_MOST_BYTES).decode("utf-8").split("\n")
        merges = [tuple(line.split()) for line in lines[1 : 1 + _MERGES]]
        if any(len(merge) != 2 for merge in merges):
            raise ValueError("a line is no pair")
        letters = list(bytes_to_unicode().values())
        words = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
        words += ["<|startoftext|>", "<|endoftext|>"]
        return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=merges)
