"""Layouts of the released ``.pt`` files: key tables, and what the shapes of the weights tell.

Three kinds of file hold lenses (repository TencentARC/ViT-Lens), each with or without ``module.`` before every key and
with or without a ``state_dict`` around them:

* EVA ViT-g: ``visual.visual_adapter.*`` and ``visual.perceiver.*``; everything else is the training run's own copy of
  the ViT and of the text tower, and is left alone (a tactile lens is its patch embedding);
* CLIP ViT-L/14: every ``visual.*`` tensor belongs to the lens, which is a whole tower of its own;
* the one-stop file: several of the second kind, under ``vitlens.<modality>.*``.

Where a tokenizer lies in such a file, and what its weights tell, is said by its own class (`embeddings.base`).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from .._config import FrozenConfig, trait
from ..catalog import find_modality, modalities, resolve
from ..errors import CheckpointError, ConfigError, Unsupported
from ..keymap import TRANSPOSE, Convert, KeyMap, split
from .config import DIM_HEAD, LensConfig, ViTFingerprint, embedding_class, settings_class, unknown_override
from .embeddings.base import Embedding, EmbeddingConfig, required_input
from .perceiver import PerceiverConfig
from .released import CLIP, EVA, Released
from .tower import TowerConfig

__all__ = [
    "CLIP",
    "EVA",
    "Released",
    "check_modality",
    "infer",
    "infer_with_notes",
    "recognise",
    "roots_of_lenses",
    "table",
]

log = logging.getLogger(__name__)

Config = TypeVar("Config", bound=FrozenConfig)

_BIGG_WIDTH = 1664
_NO_LENSES = ("image", "text")  # what a one-stop file calls its own CLIP towers

PERCEIVER = KeyMap(
    [
        ("latents", "latents"),
        ("layers.{i}.0.norm.{leaf}", "layers.{i}.cross.norm.{leaf}"),
        ("layers.{i}.0.norm_context.{leaf}", "layers.{i}.cross.norm_context.{leaf}"),
        ("layers.{i}.0.fn.to_q.weight", "layers.{i}.cross.query.weight"),
        ("layers.{i}.0.fn.to_kv.weight", "layers.{i}.cross.key_value.weight"),
        ("layers.{i}.0.fn.to_out.{leaf}", "layers.{i}.cross.out.{leaf}"),
        ("layers.{i}.1.norm.{leaf}", "layers.{i}.mlp.norm.{leaf}"),
        ("layers.{i}.1.fn.net.0.{leaf}", "layers.{i}.mlp.up.{leaf}"),
        ("layers.{i}.1.fn.net.2.{leaf}", "layers.{i}.mlp.down.{leaf}"),
        ("layers.{i}.2.{j}.0.norm.{leaf}", "layers.{i}.latent.{j}.attention.norm.{leaf}"),
        ("layers.{i}.2.{j}.0.fn.to_q.weight", "layers.{i}.latent.{j}.attention.query.weight"),
        ("layers.{i}.2.{j}.0.fn.to_kv.weight", "layers.{i}.latent.{j}.attention.key_value.weight"),
        ("layers.{i}.2.{j}.0.fn.to_out.{leaf}", "layers.{i}.latent.{j}.attention.out.{leaf}"),
        ("layers.{i}.2.{j}.1.norm.{leaf}", "layers.{i}.latent.{j}.mlp.norm.{leaf}"),
        ("layers.{i}.2.{j}.1.fn.net.0.{leaf}", "layers.{i}.latent.{j}.mlp.up.{leaf}"),
        ("layers.{i}.2.{j}.1.fn.net.2.{leaf}", "layers.{i}.latent.{j}.mlp.down.{leaf}"),
    ]
)
TOWER = KeyMap(
    [
        ("class_embedding", "class_token"),
        ("positional_embedding", "positions"),
        ("ln_pre.{leaf}", "norm_in.{leaf}"),
        ("ln_post.{leaf}", "norm_out.{leaf}"),
        Convert(("proj",), ("projection.weight",), TRANSPOSE),
        ("transformer.resblocks.{i}.ln_1.{leaf}", "encoder.layers.{i}.layer_norm1.{leaf}"),
        ("transformer.resblocks.{i}.ln_2.{leaf}", "encoder.layers.{i}.layer_norm2.{leaf}"),
        *(
            Convert(
                (f"transformer.resblocks.{{i}}.attn.in_proj_{leaf}",),
                tuple(f"encoder.layers.{{i}}.self_attn.{name}_proj.{leaf}" for name in "qkv"),
                split(3),
            )
            for leaf in ("weight", "bias")
        ),
        ("transformer.resblocks.{i}.attn.out_proj.{leaf}", "encoder.layers.{i}.self_attn.out_proj.{leaf}"),
        ("transformer.resblocks.{i}.mlp.c_fc.{leaf}", "encoder.layers.{i}.mlp.fc1.{leaf}"),
        ("transformer.resblocks.{i}.mlp.c_proj.{leaf}", "encoder.layers.{i}.mlp.fc2.{leaf}"),
    ]
)
_PATCHES = "conv1.weight"  # of a CLIP tower


def table(family: str, modality: str) -> KeyMap:
    """The key table of one layout: names below ``visual.`` (or ``vitlens.<modality>.``) -> names of a `Lens`."""
    layout = embedding_class(modality).layouts[family]
    rows = layout.table.under(layout.prefix, "embedding.")
    if layout.resampled:
        rows += PERCEIVER.under("perceiver.", "resampler.")
    if family == EVA:
        return rows
    # The tower's own patch embedding is left alone where the tokenizer stands in its place.
    return rows + TOWER.under(target="tower.") + KeyMap([] if rows.row_of(_PATCHES) else [(_PATCHES, None)])


def recognise(path: Path, state: Mapping[str, Tensor], modality: str | None = None, variant: str = "") -> Released:
    """Find the lens in a flat state.

    Args:
        path: names the file in errors.
        state: its tensors, keys as they are.
        modality: which lens; needed where a file holds several, or where its tokenizer may be of several kinds.
        variant: what the file calls its model (``vitlensL``, ``vitlensG``), where it does.

    Raises:
        CheckpointError: not a lens, several of them, one of another modality, or one that does not say of which.
        Unsupported: a lens of the bigG-14 family.
    """
    root, told = _root(path, state, modality)
    own = {key: tensor for key, tensor in state.items() if key.startswith(root)}
    names = {key[len(root) :]: tensor for key, tensor in own.items()}
    _refuse_bigg(path, names, variant)
    family = _family(names, root)
    found = _modality(path, names, family, modality, told)
    if family == EVA:
        layout = embedding_class(found).layouts[EVA]
        kept = (layout.prefix, "perceiver.") if layout.resampled else layout.prefix
        own = {root + name: tensor for name, tensor in names.items() if name.startswith(kept)}
    # What is compared with a host's ViT: the file's copy of it, less the part that is the lens.
    vit = {
        name[len("eva_vit.") :]: tensor
        for name, tensor in names.items()
        if name.startswith("eva_vit.") and root + name not in own
    }
    ignored = tuple(sorted(state.keys() - own.keys()))
    return Released(path, family, found, root, table(family, found).under(root), own, ignored, vit)


def _root(path: Path, state: Mapping[str, Tensor], modality: str | None) -> tuple[str, str | None]:
    """The part before the keys of the lens asked for, and the modality that it names."""
    lenses = roots_of_lenses(state)
    # The one-stop file holds a lens for each modality, and pictures and texts besides.
    if len(lenses) > 1 and modality is not None:
        lenses = {root: name for root, name in lenses.items() if name == modality} or lenses
    if len(lenses) == 1:
        return next(iter(lenses.items()))
    if not lenses:
        few = ", ".join(sorted({key.split(".")[0] for key in state})[:8])
        raise CheckpointError(
            f"{path} is not a lens: no key is below 'visual.' or 'vitlens.<modality>.'. Its keys begin with: {few}."
        )
    held = ", ".join(sorted(str(name or root) for root, name in lenses.items()))
    asked = f"none of modality {modality!r}" if modality else "so say which, with modality=..."
    raise CheckpointError(f"{path} holds several lenses, {asked}: {held}.")


def roots_of_lenses(state: Mapping[str, Tensor]) -> dict[str, str | None]:
    """What stands before the keys of each lens in a flat state, and the modality that it names, if it names one."""
    pattern = re.compile(r"(?:module\.)?(?:visual|vitlens\.(\w+))\.")
    roots = {found[0]: found[1] for key in state if (found := pattern.match(key))}
    long_names = {cls.short_name: name for name, cls in _tokenizers().items() if cls.short_name}
    return {root: long_names.get(short, short) for root, short in roots.items() if short not in _NO_LENSES}


def _refuse_bigg(path: Path, names: Mapping[str, Tensor], variant: str) -> None:
    told = [names[key].shape[-1] for key in ("perceiver.latents", "class_embedding", "ln_pre.weight") if key in names]
    if variant == "vitlensG" or _BIGG_WIDTH in told:
        raise Unsupported(
            f"{path} holds a lens for ViT-bigG-14 (width {_BIGG_WIDTH}). Its point tokenizer is another one (PointNet "
            "set abstraction on 10,000 coloured points) that no host here reads. Use the ViT-L/14 file, vitlensL, "
            "or eva_g14_objaverse.pt for InstructBLIP, BLIP-2 and SEED-LLaMA."
        )


def _family(names: Mapping[str, Tensor], root: str) -> str:
    if any(name.startswith("eva_vit.") for name in names):
        return EVA
    has_tower = any(
        name.startswith(("class_embedding", "positional_embedding", "ln_p", "transformer.")) for name in names
    )
    return CLIP if has_tower or "vitlens." in root else EVA


def _tokenizers() -> dict[str, type[Embedding]]:
    """The tokenizers that released files may hold, by modality."""
    found = {name: resolve(row.embedding) for name, row in modalities().items() if row.embedding}
    return {name: cls for name, cls in found.items() if getattr(cls, "layouts", None)}


def _modality(path: Path, names: Mapping[str, Tensor], family: str, asked: str | None, told: str | None) -> str:
    """What the tokenizer's keys or the root say, compared with what was asked for."""
    if asked is not None and find_modality(asked).embedding is None:
        raise CheckpointError(
            f"{path} holds no lens for {find_modality(asked).noun}: the host's own patch embedding reads it."
        )
    scores = {
        name: score for name, cls in _tokenizers().items() if family in cls.layouts and (score := cls.likeness(names))
    }
    if not scores:
        few = ", ".join(sorted(name for name in names if name.startswith("visual_adapter."))[:4]) or "none"
        raise CheckpointError(f"{path} has no tokenizer of a known modality; the keys of its adapter: {few}.")
    wanted = asked or told
    if wanted in scores:
        return str(wanted)
    # Several tokenizers may fit the keys; only the one that fits best, and well, is taken unasked.
    best = [name for name, score in scores.items() if score == max(scores.values())]
    if scores[best[0]] < 2:
        _refuse_doubt(path, names, best)
    check_modality(path, best[0], asked)
    return best[0]


def _refuse_doubt(path: Path, names: Mapping[str, Tensor], possible: list[str]) -> None:
    """Refuse weights that do not say by themselves whether they are a lens, or of which modality."""
    if not any(name.startswith("visual_adapter.") for name in names):
        raise CheckpointError(
            f"{path} has no tokenizer of its own: it may be a plain CLIP model, which is no lens, or a lens for "
            f"{' or '.join(possible)}. If it is a lens, say so with modality={possible[0]!r}."
        )
    listed = ", ".join(f"modality={name!r}" for name in possible)
    raise CheckpointError(f"{path} does not say which lens it holds; say so with one of {listed}.")


def check_modality(source: str | os.PathLike[str], found: str, asked: str | None) -> None:
    """Refuse a lens of another modality than was asked for; None asks for any.

    Raises:
        CheckpointError: it is of another.
    """
    if asked not in (None, found):
        raise CheckpointError(f"{source} holds a lens for {found}, not the {asked} lens asked for.")


def infer(released: Released, overrides: Mapping[str, Any]) -> LensConfig:
    """Read the configuration off the shapes of the weights; what had to be assumed is logged as a warning.

    Args:
        released: the lens.
        overrides: what shapes cannot tell, by name (group_size, num_groups, cross_dim_head, latent_dim_head ...).

    Raises:
        ConfigError: an override that nothing reads, that contradicts the shapes, or is refused; heads that nothing
            tells.
        CheckpointError: a tensor that the configuration is read from is absent or misshapen.
    """
    config, notes = infer_with_notes(released, overrides)
    for note in notes:
        log.warning("%s", note)
    return config


def infer_with_notes(
    released: Released, overrides: Mapping[str, Any], *, guess_heads: bool = False
) -> tuple[LensConfig, list[str]]:
    """The same, and a sentence about everything that had to be assumed.

    Args:
        released, overrides: as in `infer`.
        guess_heads: take one head where neither the width nor an override tells (for a look at a file).
    """
    asked = _Asked(released.path, dict(overrides), guess_heads)
    tokenizer = embedding_class(released.modality)
    facts = tokenizer.facts(released)
    embedding = asked.build(tokenizer.config_class, facts.told, facts.usual)
    asked.notes += [sentence for name, sentence in facts.doubts.items() if name not in overrides]
    resampler = _infer_resampler(released, asked) if released.has("perceiver.") else None
    width = resampler.width if resampler else embedding.width
    settings = _infer_input(released.modality, embedding, asked)
    tower = _infer_tower(released, asked) if released.family == CLIP and released.has("transformer.") else None
    asked.refuse_unread()
    # A lens with a tower of its own was trained for no host's ViT.
    tokens = resampler.latents if resampler else embedding.tokens
    vit = ViTFingerprint(width, tokens) if tower is None else None
    config = LensConfig(released.modality, width, embedding, resampler, settings, vit, released.family, tower)
    return config, asked.notes


class _Asked:
    """Overrides on their way to the parts that read them."""

    def __init__(self, path: Path, overrides: dict[str, Any], guess_heads: bool) -> None:
        self.path, self.values, self.guess_heads = path, overrides, guess_heads
        self.known: set[str] = set()
        self.notes: list[str] = []

    def build(self, cls: type[Config], told: Mapping[str, Any], usual: Mapping[str, Any]) -> Config:
        """A config from what the shapes tell, what is usual, and what was asked for in place of the usual."""
        names = {field.name for field in fields(cls)}
        own = {name: value for name, value in self.values.items() if name in names}
        self.known |= names
        for name in own.keys() & told.keys():
            if own[name] != told[name]:
                raise ConfigError(f"{name}={own[name]} contradicts {self.path}, whose weights say {told[name]}.")
        return cls.from_dict({**usual, **own, **told})

    def heads(self, kind: str, inner: int, usual: int | None) -> dict[str, int]:
        """Number and width of the heads that share `inner` features: the product is told, its factors are not."""
        names = (f"{kind}_heads", f"{kind}_dim_head")
        self.known |= set(names)
        count, width = (self._whole(name) for name in names)
        width = width or (inner // count if count else usual)
        if width is None and not self.guess_heads:
            raise ConfigError(
                f"The shapes in {self.path} do not tell the {kind} heads: they share {inner} features. "
                f"Say how wide one is, with {names[1]}=... (88 in the EVA ViT-g lenses, 64 in the ViT-L/14 ones)."
            )
        if width is None:
            self._note_heads(f"{kind} heads", f"{names[1]}=...")
            width = inner
        if width < 1 or inner % width or (count and count * width != inner):
            what = f"{count} {kind} heads of {width}" if count else f"{kind} heads of {width}"
            raise ConfigError(f"{what} contradict {self.path}, whose weights give them {inner} features together.")
        return {names[0]: inner // width, names[1]: width}

    def tower_heads(self, width: int) -> int:
        """How many heads a tower has: by its width where that is a released one, else as asked."""
        self.known.add("heads")
        heads = self._whole("heads")
        if heads is None and (usual := DIM_HEAD.get(width)) is not None:
            return width // usual
        if heads is None and not self.guess_heads:
            raise ConfigError(
                f"The shapes in {self.path} do not tell the heads of its tower: they share {width} features. "
                "Say how many there are, with heads=... (16 in ViT-L/14, of 64 each)."
            )
        if heads is None:
            self._note_heads("heads of its tower", "heads=...")
        return heads or 1

    def refuse_unread(self) -> None:
        """Refuse overrides that no part has asked about."""
        for name in self.values:
            if name not in self.known:
                raise ConfigError(unknown_override(name, self.known))

    def _whole(self, name: str) -> int | None:
        value = self.values.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ConfigError(f"{name} is {value!r}; it must be a whole number above 0.")
        return value

    def _note_heads(self, what: str, cure: str) -> None:
        self.notes.append(f"The shapes do not tell the {what}: one is assumed; pass {cure}")


def _infer_resampler(lens: Released, asked: _Asked) -> PerceiverConfig:
    latents, width = lens.shape("perceiver.latents", 2)
    _, context_width = lens.shape("perceiver.layers.0.0.fn.to_kv.weight", 2)
    told = {
        "latents": latents,
        "width": width,
        "context_width": context_width,
        "depth": lens.count(r"perceiver\.layers\.(\d+)\."),
        "self_per_cross": lens.count(r"perceiver\.layers\.\d+\.2\.(\d+)\."),
    }
    cross, _ = lens.shape("perceiver.layers.0.0.fn.to_q.weight", 2)
    inner = {"cross": cross, "latent": cross}
    if told["self_per_cross"]:
        inner["latent"], _ = lens.shape("perceiver.layers.0.2.0.0.fn.to_q.weight", 2)
    for kind, features in inner.items():
        told |= asked.heads(kind, features, DIM_HEAD.get(width))
    return asked.build(PerceiverConfig, told, {})


def _infer_tower(lens: Released, asked: _Asked) -> TowerConfig:
    width, out = lens.shape("proj", 2)
    mlp, _ = lens.shape("transformer.resblocks.0.mlp.c_fc.weight", 2)
    positions, _ = lens.shape("positional_embedding", 2)
    layers = lens.count(r"transformer\.resblocks\.(\d+)\.")
    told = {"width": width, "out": out, "mlp": mlp, "positions": positions - 1, "layers": layers}
    return asked.build(TowerConfig, told, {"heads": asked.tower_heads(width)})


def _infer_input(modality: str, embedding: Any, asked: _Asked) -> FrozenConfig:
    """Preprocessing that makes what the embedding reads; the rest is the modality's usual."""
    cls = settings_class(modality)
    return asked.build(cls, required_input(embedding, cls), trait(embedding, "usual_input", EmbeddingConfig)())
