"""A small CLIP and small lenses with towers, in transformers', open_clip's and the released vitlensL layouts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..catalog import LENSES, modalities
from ..files.tensors import write_pt
from ..hosts.layouts.open_clip import OPEN_CLIP, VITLENS
from ..hosts.source import NOTES_FILE
from ..keymap import KeyMap, Rename
from ..lens.config import embedding_class
from ..lens.layouts import CLIP, table
from ..lens.lens import Lens
from ..lens.perceiver import PerceiverConfig
from ..lens.tower import TowerConfig
from .small import IMAGE_SIZE, PATCHES, WIDTH, small_config

if TYPE_CHECKING:
    from transformers import CLIPModel

__all__ = ["LAYOUTS", "SPACE", "small_clip", "small_clip_tokenizer", "small_tower_lens", "write_clip"]

SPACE = 20  # width of a vector
LAYOUTS = ("transformers", "open_clip", "vitlensL", "files")
_HEADS, _TEXT_HEADS, _CONTEXT = 4, 3, 77
_OPEN_CLIP = {
    "model_cfg": {
        "embed_dim": SPACE,
        "vision_cfg": {"width": WIDTH, "head_width": WIDTH // _HEADS},
        "text_cfg": {"width": 24, "heads": _TEXT_HEADS},
    }
}


def small_clip_tokenizer() -> Any:
    """CLIP's own, with letters in place of words, so that every text is another one."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])


def small_clip(*, seed: int = 0) -> CLIPModel:
    """transformers' CLIP, random but lively: every stage changes what it is given."""
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_act": "gelu", "num_hidden_layers": 2, "projection_dim": SPACE}
    config = CLIPConfig(
        projection_dim=SPACE,
        vision_config={
            "hidden_size": WIDTH, "intermediate_size": 64, "num_attention_heads": _HEADS, "image_size": IMAGE_SIZE,
            "patch_size": 14, **shared,
        },
        text_config={
            "hidden_size": 24, "intermediate_size": 48, "num_attention_heads": _TEXT_HEADS, "vocab_size": 514,
            "max_position_embeddings": _CONTEXT, "bos_token_id": 512, "eos_token_id": 513,
            "pad_token_id": 513, **shared,
        },
    )  # fmt: skip
    model = CLIPModel(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        norm = weight.ndim == 1 and name.endswith("weight")
        weight.normal_(float(norm), 0.1 if weight.ndim == 1 else 0.3, generator=generator)
    return model


def small_tower_lens(modality: str, *, out: int = SPACE, clips: int = 3, seed: int = 0) -> Lens:
    """A lens of any modality with a tower of its own, as the vitlensL family has them, frozen."""
    config = small_config(modality, WIDTH, PATCHES, clips)
    bare = {"bias": False} if hasattr(config.embedding, "bias") else {}  # CLIP's patch embeddings have none
    tower = TowerConfig(WIDTH, 2, _HEADS, 64, PATCHES, out)
    lens = Lens(replace(config, embedding=replace(config.embedding, **bare), tower=tower, family=CLIP))
    generator = torch.Generator().manual_seed(seed)
    for name, weight in lens.eval().requires_grad_(False).named_parameters():
        weight.normal_(float("norm" in name and name.endswith("weight")), 0.3, generator=generator)
    return lens


def write_clip(
    folder: str | os.PathLike[str], layout: str = "vitlensL", *, lenses: Iterable[str] | None = None, seed: int = 0
) -> Path:
    """`small_clip` with its tokenizer as a folder that `load_host` reads.

    Args:
        folder: made where it is not there.
        layout: "transformers", "open_clip", "vitlensL" (one file with the lenses) or "files" (transformers' layout with
            a released file for each lens).
        lenses: modalities of the lenses; None: none in the first two layouts, all that have a released file in others.
        seed: of the weights.
    """
    folder, model = Path(folder), small_clip(seed=seed)
    small_clip_tokenizer().save_pretrained(folder)
    if lenses is None:
        lenses = _released() if layout in ("vitlensL", "files") else ()
    made = {modality: small_tower_lens(modality, seed=seed) for modality in lenses}
    if layout in ("transformers", "files"):
        model.save_pretrained(folder)
    else:
        (folder / "open_clip_config.json").write_text(json.dumps(_OPEN_CLIP), encoding="utf-8")
    if layout == "open_clip":
        write_pt(folder / "open_clip_pytorch_model.bin", _backwards(OPEN_CLIP, model.state_dict()))
    elif layout == "vitlensL":
        _write_one_stop(folder, model, made)
    for modality, lens in made.items() if layout != "vitlensL" else ():
        write_pt(folder / _released()[modality], {"state_dict": _released_state(lens, "module.visual.")})
    if made:
        notes = {modality: _untold(lens) for modality, lens in made.items()}
        (folder / NOTES_FILE).write_text(json.dumps({"lens_settings": notes}), encoding="utf-8")
    return folder


def _released() -> dict[str, str]:
    """The released file of each modality's lens."""
    found: dict[str, str] = {}
    for row in LENSES:
        if row.family == CLIP:
            found.setdefault(row.modality, row.file)
    return {name: found[name] for name in modalities() if name in found}


def _write_one_stop(folder: Path, model: CLIPModel, lenses: dict[str, Lens]) -> None:
    short = {modality: getattr(embedding_class(modality), "short_name", None) or modality for modality in lenses}
    state = _backwards(VITLENS, {k: v for k, v in model.state_dict().items() if k != "logit_scale"})
    for modality, lens in lenses.items():
        state |= _released_state(lens, f"vitlens.{short[modality]}.")
    held = ["image", "text", *short.values()]
    write_pt(folder / "vitlensL.pt", {"model_var": "vitlensL", "modality_loaded": held, "state_dict": state})


def _released_state(lens: Lens, root: str) -> dict[str, Tensor]:
    """A lens in the words of the original project."""
    rows = table(CLIP, lens.modality).under(root)
    unused = [row.source for row in rows.rows if isinstance(row, Rename) and row.target is None]
    return _backwards(rows, lens.state_dict()) | {key: torch.zeros(()) for key in unused}


def _backwards(rows: KeyMap, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in rows.inverse().convert(state).items()}


def _untold(lens: Lens) -> dict[str, Any]:
    """Everything about a lens that the shapes of its weights may not tell."""
    config, resampler = lens.config, lens.config.resampler
    heads = {"heads": _HEADS}
    if resampler is not None:
        heads |= {"cross_dim_head": resampler.cross_dim_head, "latent_dim_head": resampler.latent_dim_head}
    told = {**config.embedding.to_dict(), **config.input.to_dict(), **heads}
    # what the tower and the resampler call by the same name is told by the weights
    shared = {field.name for part in (TowerConfig, PerceiverConfig) for field in fields(part)}
    return {name: value for name, value in told.items() if name not in shared - heads.keys()}
