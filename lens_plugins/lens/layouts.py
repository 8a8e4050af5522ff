"""Layouts of the released ``.pt`` files: key tables, and what the shapes of the weights tell.

Three kinds of file hold lenses (repository TencentARC/ViT-Lens), each with or without ``module.`` before every key and
with or without a ``state_dict`` around them:

* EVA ViT-g: ``visual.visual_adapter.*`` and ``visual.perceiver.*``; everything else is the training run's own copy of
  the ViT and of the text tower, and is left alone (a tactile lens is its patch embedding);
* CLIP ViT-L/14: every ``visual.*`` tensor belongs to the lens, which is a whole tower of its own;
* the one-stop file: several of the second kind, under ``vitlens.<modality>.*``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from .._config import FrozenConfig
from ..catalog import find_modality, resolve
from ..errors import CheckpointError, ConfigError, Unsupported
from ..keymap import TRANSPOSE, Convert, KeyMap, Operation, split
from .config import DIM_HEAD, LensConfig, ViTFingerprint, unknown_override
from .perceiver import PerceiverConfig
from .tower import TowerConfig

__all__ = ["EVA", "CLIP", "Released", "check_modality", "infer", "recognise", "table"]

EVA, CLIP = "eva_g14", "clip_l14"
_BIGG_WIDTH = 1664
_ONE_STOP = {"pc": "point_cloud", "depth": "depth", "audio": "audio", "tactile": "tactile", "eeg": "eeg"}

_POINTWISE = Operation(  # Conv1d of kernel 1 -> Linear
    "drop the last axis", lambda tensors: [tensors[0].squeeze(-1)], lambda tensors: [tensors[0].unsqueeze(-1)]
)


def _conv(theirs: str, ours: str) -> list[Any]:
    return [Convert((f"{theirs}.weight",), (f"{ours}.weight",), _POINTWISE), (f"{theirs}.bias", f"{ours}.bias")]


def _norm(theirs: str, ours: str) -> list[Any]:
    names = {"weight": "weight", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    return [
        *((f"{theirs}.{name}", f"{ours}.{own}") for name, own in names.items()),
        (f"{theirs}.num_batches_tracked", None),  # the statistics are never updated
    ]


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
POINT_CLOUD = KeyMap(
    [
        *_conv("encoder.first_conv.0", "encoder.lift"),
        *_norm("encoder.first_conv.1", "encoder.lift_norm"),
        *_conv("encoder.first_conv.3", "encoder.expand"),
        *_conv("encoder.second_conv.0", "encoder.mix"),
        *_norm("encoder.second_conv.1", "encoder.mix_norm"),
        *_conv("encoder.second_conv.3", "encoder.project"),
        ("reduce_dim.{leaf}", "reduce.{leaf}"),
        ("pos_embed.{i}.{leaf}", "position.{i}.{leaf}"),
    ]
)
PATCHES = KeyMap([("conv1.weight", "proj.weight"), ("pos_emb", "positions")])
EEG = KeyMap([("proj.{leaf}", "proj.{leaf}"), ("pos_emb", "positions")])
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
_ADAPTERS = {"point_cloud": POINT_CLOUD, "audio": PATCHES, "depth": PATCHES, "eeg": EEG}


def table(family: str, modality: str) -> KeyMap:
    """The key table of one layout: names below ``visual.`` (or ``vitlens.<modality>.``) -> names of a `Lens`."""
    if modality == "tactile":
        adapter = KeyMap([("eva_vit.patch_embed.proj.{leaf}", "embedding.proj.{leaf}")])
        if family == CLIP:
            adapter = KeyMap([("conv1.weight", "embedding.proj.weight")])
    else:
        adapter = _ADAPTERS[modality].under("visual_adapter.", "embedding.") + PERCEIVER.under(
            "perceiver.", "resampler."
        )
    if family == EVA:
        return adapter
    unused = [] if modality == "tactile" else [("conv1.weight", None)]  # the patch embedding that the adapter replaces
    return adapter + TOWER.under(target="tower.") + KeyMap(unused)


@dataclass(frozen=True)
class Released:
    """One lens found in a file of the original project."""

    path: Path
    family: str
    modality: str
    root: str  # before every key of the lens, in the file's own words
    tensors: dict[str, Tensor]  # the lens's own, full keys
    ignored: tuple[str, ...]  # known and not the lens's
    vit: dict[str, Tensor]  # the file's copy of the EVA ViT, LAVIS names

    @property
    def table(self) -> KeyMap:
        """Full keys of the file -> names of a `Lens`."""
        return table(self.family, self.modality).under(self.root)

    def shape(self, key: str, axes: int) -> tuple[int, ...]:
        """Shape of a tensor that the configuration is read from.

        Raises:
            CheckpointError: it is absent, or has another number of axes.
        """
        full = self.root + key
        if full not in self.tensors:
            raise CheckpointError(f"{self.path} looks like a lens for {self.modality}, but it has no {full!r}.")
        shape = tuple(self.tensors[full].shape)
        if len(shape) != axes:
            raise CheckpointError(f"{full!r} of {self.path} has {len(shape)} axes, {shape}; a lens has {axes} there.")
        return shape

    def has(self, prefix: str) -> bool:
        """Whether a key of the lens begins so, below the root."""
        return any(key.startswith(self.root + prefix) for key in self.tensors)

    def count(self, pattern: str) -> int:
        """How many of a running number there are: one more than the largest that `pattern` captures."""
        expression = re.compile(re.escape(self.root) + pattern)
        return 1 + max((int(found[1]) for key in self.tensors if (found := expression.match(key))), default=-1)


def recognise(path: Path, state: Mapping[str, Tensor], modality: str | None = None, variant: str = "") -> Released:
    """Find the lens in a flat state.

    Args:
        path: names the file in errors.
        state: its tensors, keys as they are.
        modality: which lens; needed where a file holds several.
        variant: what the file calls its model (``vitlensL``, ``vitlensG``), where it does.

    Raises:
        CheckpointError: not a lens, several of them, or one of another modality.
        Unsupported: a lens of the bigG-14 family.
    """
    root = _root(path, state, modality)
    own = {key: tensor for key, tensor in state.items() if key.startswith(root)}
    names = {key[len(root) :]: tensor for key, tensor in own.items()}
    _refuse_bigg(path, names, variant)
    family = _family(names, root)
    found = _modality(path, names, modality)
    if family == EVA:
        kept = ("eva_vit.patch_embed.proj.",) if found == "tactile" else ("visual_adapter.", "perceiver.")
        own = {root + name: tensor for name, tensor in names.items() if name.startswith(kept)}
    vit = {name[len("eva_vit.") :]: tensor for name, tensor in names.items() if name.startswith("eva_vit.")}
    return Released(path, family, found, root, own, tuple(sorted(state.keys() - own.keys())), vit)


def _root(path: Path, state: Mapping[str, Tensor], modality: str | None) -> str:
    """The part before the keys of the lens asked for."""
    pattern = re.compile(r"(?:module\.)?(?:visual|vitlens\.(\w+))\.")
    roots = {found[0]: found[1] for key in state if (found := pattern.match(key))}
    lenses = {root: _ONE_STOP.get(short, short) for root, short in roots.items() if short not in ("image", "text")}
    if len(lenses) > 1 and modality is not None:
        lenses = {root: name for root, name in lenses.items() if name == modality} or lenses
    if len(lenses) == 1:
        return next(iter(lenses))
    if not lenses:
        few = ", ".join(sorted({key.split(".")[0] for key in state})[:8])
        raise CheckpointError(
            f"{path} is not a lens: no key is below 'visual.' or 'vitlens.<modality>.'. Its keys begin with: {few}."
        )
    held = ", ".join(sorted(str(name or root) for root, name in lenses.items()))
    asked = f"none of modality {modality!r}" if modality else "so say which, with modality=..."
    raise CheckpointError(f"{path} holds several lenses, {asked}: {held}.")


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


def _modality(path: Path, names: Mapping[str, Tensor], asked: str | None) -> str:
    """What the adapter's keys say, compared with what was asked for."""
    if asked is not None:
        find_modality(asked)
    possible = _possible(names)
    if not possible:
        few = ", ".join(sorted(name for name in names if name.startswith("visual_adapter."))[:4]) or "none"
        raise CheckpointError(f"{path} has no tokenizer of a known modality; the keys of its adapter: {few}.")
    found = asked if asked in possible else possible[0]
    check_modality(path, found, asked)
    return found


def check_modality(source: str | os.PathLike[str], found: str, asked: str | None) -> None:
    """Refuse a lens of another modality than was asked for; None asks for any.

    Raises:
        CheckpointError: it is of another.
    """
    if asked not in (None, found):
        raise CheckpointError(f"{source} holds a lens for {found}, not the {asked} lens asked for.")


def _possible(names: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Modalities that the keys allow, the likeliest first."""
    if "visual_adapter.encoder.first_conv.0.weight" in names:
        return ("point_cloud",)
    if "visual_adapter.proj.weight" in names:
        return ("eeg",)
    if "visual_adapter.conv1.weight" in names:
        if not any(name.startswith("perceiver.") for name in names):
            return ("depth",)
        positions = len(names.get("visual_adapter.pos_emb", ()))
        return ("audio", "depth") if math.isqrt(positions) ** 2 != positions else ("depth", "audio")
    if any(name.startswith("visual_adapter.") for name in names):
        return ()
    return ("tactile",) if {"eva_vit.patch_embed.proj.weight", "conv1.weight"} & names.keys() else ()


def infer(released: Released, overrides: Mapping[str, Any], *, guess_heads: bool = False) -> LensConfig:
    """Read the configuration off the shapes of the weights.

    Args:
        released: the lens.
        overrides: what shapes cannot tell, by name (group_size, num_groups, cross_dim_head, latent_dim_head ...).
        guess_heads: take one head where neither the width nor an override tells (for a look at a file).

    Raises:
        ConfigError: an override that nothing reads, that contradicts the shapes, or is refused; heads that nothing
            tells.
        CheckpointError: a tensor that the configuration is read from is absent or misshapen.
    """
    asked = _Asked(released.path, dict(overrides))
    embedding = asked.build(_embedding_class(released.modality), *_FACTS[released.modality](released))
    resampler = _infer_resampler(released, asked, guess_heads) if released.has("perceiver.") else None
    width = resampler.width if resampler else embedding.width
    settings = _infer_input(released.modality, embedding, asked)
    tower = _infer_tower(released, asked) if _has_tower(released) else None
    asked.refuse_unread()
    tokens = resampler.latents if resampler else embedding.tokens
    vit = ViTFingerprint(width, tokens) if tower is None else None
    return LensConfig(released.modality, width, embedding, resampler, settings, vit, released.family, tower)


class _Asked:
    """Overrides on their way to the parts that read them."""

    def __init__(self, path: Path, overrides: dict[str, Any]) -> None:
        self.path, self.values = path, overrides
        self.known: set[str] = set()

    def build(self, cls: type[FrozenConfig], told: dict[str, Any], assumed: dict[str, Any]) -> FrozenConfig:
        """A config from what the shapes tell, what is usual, and what was asked for in place of the usual."""
        own = {name: value for name, value in self.values.items() if name in {f.name for f in fields(cls)}}
        self.known |= {f.name for f in fields(cls)}
        for name in own.keys() & told.keys():
            self.compare(name, told[name])
        return cls(**{**assumed, **own, **told})

    def compare(self, name: str, told: Any) -> None:
        """Refuse an override that contradicts the shapes."""
        if name in self.values and self.values[name] != told:
            raise ConfigError(f"{name}={self.values[name]} contradicts {self.path}, whose weights say {told}.")

    def heads(self, kind: str, inner: int, usual: int | None) -> dict[str, int]:
        """Number and width of the heads that share `inner` features: the product is told, its factors are not."""
        names = (f"{kind}_heads", f"{kind}_dim_head")
        self.known |= set(names)
        count, width = (self.values.get(name) for name in names)
        width = width or (inner // count if count else usual)
        if width is None:
            raise ConfigError(
                f"The shapes in {self.path} do not tell the {kind} heads: they share {inner} features. "
                f"Say how wide one is, with {names[1]}=... (88 in the EVA ViT-g lenses, 64 in the ViT-L/14 ones)."
            )
        if width < 1 or inner % width or (count and count * width != inner):
            what = f"{count} {kind} heads of {width}" if count else f"{kind} heads of {width}"
            raise ConfigError(f"{what} contradict {self.path}, whose weights give them {inner} features together.")
        return {names[0]: inner // width, names[1]: width}

    def refuse_unread(self) -> None:
        for name in self.values:
            if name not in self.known:
                raise ConfigError(unknown_override(name, self.known))


def _embedding_class(modality: str) -> type[FrozenConfig]:
    return resolve(find_modality(modality).embedding).config_class


def _point_facts(lens: Released) -> tuple[dict[str, Any], dict[str, Any]]:
    trans_dim, encoder_dim = lens.shape("visual_adapter.reduce_dim.weight", 2)
    hidden, _, _ = lens.shape("visual_adapter.encoder.first_conv.0.weight", 3)
    return {"trans_dim": trans_dim, "encoder_dim": encoder_dim, "hidden": hidden}, {}


def _spectrogram_facts(lens: Released) -> tuple[dict[str, Any], dict[str, Any]]:
    width, _, patch, _ = lens.shape("visual_adapter.conv1.weight", 4)
    positions, _ = lens.shape("visual_adapter.pos_emb", 2)
    rows = (128 - patch) // 10 + 1
    bins = 128 if positions % rows == 0 else None  # no released lens: any spectrogram with as many patches
    return {"width": width, "positions": positions, "patch": patch}, {"mel_bins": bins}


def _depth_facts(lens: Released) -> tuple[dict[str, Any], dict[str, Any]]:
    width, _, patch, _ = lens.shape("visual_adapter.conv1.weight", 4)
    positions, _ = lens.shape("visual_adapter.pos_emb", 2)
    side = math.isqrt(positions)
    if side**2 != positions:
        raise CheckpointError(f"{lens.path} is no depth lens: its {positions} positions are not a square of patches.")
    return {"width": width, "patch": patch, "size": side * patch}, {}


def _eeg_facts(lens: Released) -> tuple[dict[str, Any], dict[str, Any]]:
    width, channels, window = lens.shape("visual_adapter.proj.weight", 3)
    positions, _ = lens.shape("visual_adapter.pos_emb", 2)
    return {"width": width, "channels": channels, "window": window}, {"steps": positions + window - 1}


def _patch_facts(lens: Released) -> tuple[dict[str, Any], dict[str, Any]]:
    key = "eva_vit.patch_embed.proj.weight" if lens.family == EVA else "conv1.weight"
    width, _, patch, _ = lens.shape(key, 4)
    told = {"width": width, "patch": patch, "bias": lens.family == EVA}
    if lens.family == CLIP and _has_tower(lens):
        told["size"] = patch * math.isqrt(lens.shape("positional_embedding", 2)[0] - 1)
    elif "pos_embed" in lens.vit:
        told["size"] = patch * math.isqrt(lens.vit["pos_embed"].shape[1] - 1)
    return told, {}


_FACTS = {
    "point_cloud": _point_facts,
    "audio": _spectrogram_facts,
    "depth": _depth_facts,
    "eeg": _eeg_facts,
    "tactile": _patch_facts,
}


def _infer_resampler(lens: Released, asked: _Asked, guess_heads: bool) -> FrozenConfig:
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
        told |= asked.heads(kind, features, DIM_HEAD.get(width, features if guess_heads else None))
    return asked.build(PerceiverConfig, told, {})


def _has_tower(lens: Released) -> bool:
    return lens.family == CLIP and lens.has("transformer.")


def _infer_tower(lens: Released, asked: _Asked) -> FrozenConfig:
    width, out = lens.shape("proj", 2)
    mlp, _ = lens.shape("transformer.resblocks.0.mlp.c_fc.weight", 2)
    positions, _ = lens.shape("positional_embedding", 2)
    layers = lens.count(r"transformer\.resblocks\.(\d+)\.")
    told = {"width": width, "out": out, "mlp": mlp, "positions": positions - 1, "layers": layers}
    return asked.build(TowerConfig, told, {"heads": max(1, width // 64)})


def _infer_input(modality: str, embedding: FrozenConfig, asked: _Asked) -> FrozenConfig:
    """Preprocessing that makes what the embedding reads; the rest is the modality's usual."""
    cls = resolve(find_modality(modality).settings)
    shared = {f.name for f in fields(cls)} & {"size", "mel_bins", "channels", "steps"}
    told = {name: value for name in shared if (value := getattr(embedding, name)) is not None}
    assumed = _audio_frames(embedding) if modality == "audio" and embedding.mel_bins else {}
    return asked.build(cls, told, assumed)


def _audio_frames(embedding: Any) -> dict[str, Any]:
    columns = embedding.positions // embedding.rows
    frames = 512 if columns == 50 else embedding.patch + embedding.stride * (columns - 1)  # 512: as upstream pads 5 s
    return {"frames": frames, "clip_seconds": float(max(frames // 100, 1))}
