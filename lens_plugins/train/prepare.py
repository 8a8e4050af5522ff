"""Everything that can fail, before the first step: pairs read, inputs decoded, anchors computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .._config import trait
from ..errors import ConfigError
from ..files.digests import sha256_of
from ..inputs.image import ImageSettings
from ..inputs.settings import InputSettings
from ..lens.lens import Lens
from ..splice.frozen import digest
from ..splice.vit import FrozenViT
from .anchors import AnchorCache
from .config import TrainConfig
from .data import Anchors, InputStore
from .log import Bars
from .manifest import Pair, read_manifest, report_problems
from .towers import TextTower, embed_texts

__all__ = ["PairSet", "Prepared", "prepare"]


@dataclass(frozen=True)
class PairSet:
    """Pairs of one split with what is needed of them."""

    pairs: Sequence[Pair]
    store: InputStore
    anchors: Anchors

    def __len__(self) -> int:
        return len(self.pairs)


@dataclass(frozen=True)
class Prepared:
    """All that a run reads."""

    train: PairSet
    val: PairSet
    vit_digest: str
    data_digest: str  # of the pairs, the ViT and the shape of the lens


@dataclass
class _Pictures:
    """The paired pictures by content, and what was wrong with them."""

    names: dict[Path, str] = field(default_factory=dict)  # path -> sha256
    rows: dict[str, int] = field(default_factory=dict)  # sha256 -> row of `features`
    features: Tensor = field(default_factory=lambda: torch.zeros(0, 1, 1))
    problems: dict[str, str] = field(default_factory=dict)  # sha256 -> sentence

    def of(self, pair: Pair) -> tuple[int, ...]:
        return tuple(self.rows[self.names[path]] for path in pair.images)

    def problems_of(self, pair: Pair) -> list[str]:
        return [self.problems[name] for path in pair.images if (name := self.names[path]) in self.problems]


def prepare(
    manifest: str | Path,
    *,
    val_manifest: str | Path | None,
    vit: FrozenViT,
    image_settings: ImageSettings,
    lens: Lens,
    config: TrainConfig,
    cache: Path,
    text_tower: TextTower | None,
    bars: Bars,
) -> Prepared:
    """Read the pairs, decode their inputs and compute their anchors; see `train_lens` for the arguments.

    Raises:
        InputError: bad lines or unreadable files, all of them in one message per manifest.
        ConfigError: fewer than two training pairs, or a text tower without texts.
    """
    found = _found(manifest, val_manifest, lens.modality)
    _check_pairs([pair for _, pair in found], manifest, text_tower)
    vit_digest = digest(vit.module)
    anchor_cache = AnchorCache(cache, vit, vit_digest, image_settings, config.regression)
    pictures = _pictures([pair for _, pair in found], anchor_cache, vit, bars)
    # Everything is read before anything is refused, so that one message names all bad lines.
    problems = [(source, pair.line, why) for source, pair in found for why in pictures.problems_of(pair)]
    stores: dict[str, InputStore] = {}
    room = config.memory_gb * 2**30
    # Held-out inputs are read as the lens will read them, training inputs so that epochs can choose.
    whole = trait(lens.config.input, "for_training", InputSettings)()
    for split, settings in (("train", whole), ("val", lens.config.input)):
        own = [(source, pair) for source, pair in found if pair.split == split]
        stores[split] = InputStore([pair for _, pair in own], settings, room)
        bad = stores[split].load_all(bars.add(f"reading {split} inputs", len(own)).advance)
        problems += [(own[index][0], own[index][1].line, why) for index, why in bad]
        room -= stores[split].size
    for source in dict.fromkeys(source for source, _ in found):
        report_problems(source, [(line, why) for where, line, why in problems if where == source])
    train, val = _pair_sets([pair for _, pair in found], stores, pictures, text_tower)
    return Prepared(train, val, vit_digest, _data_digest(train.pairs, pictures, vit_digest, lens))


def _found(manifest: str | Path, val_manifest: str | Path | None, modality: str) -> list[tuple[str | Path, Pair]]:
    """All pairs, each with the manifest it stands in."""
    found: list[tuple[str | Path, Pair]] = [(manifest, pair) for pair in read_manifest(manifest, modality)]
    if val_manifest is not None:
        found += [(val_manifest, pair) for pair in read_manifest(val_manifest, modality, split="val")]
    return found


def _check_pairs(pairs: Sequence[Pair], manifest: str | Path, text_tower: TextTower | None) -> None:
    count = sum(pair.split == "train" for pair in pairs)
    if count < 2:
        raise ConfigError(f"The manifest {manifest} has {count} training pairs; a contrast needs 2 or more.")
    if text_tower is not None and not any(pair.texts for pair in pairs):
        raise ConfigError(f"A text tower was given, but none of the {len(pairs)} pairs of {manifest} has a text.")
    if text_tower is None:
        why = "no image; without a text tower a text alone teaches nothing"
        report_problems(manifest, [(pair.line, why) for pair in pairs if not pair.images])


def _pictures(pairs: Sequence[Pair], cache: AnchorCache, vit: FrozenViT, bars: Bars) -> _Pictures:
    names = {path: sha256_of(path) for path in dict.fromkeys(path for pair in pairs for path in pair.images)}
    bar = bars.add("picture anchors", len(set(names.values())))
    features, problems = cache.fill({name: path for path, name in names.items()}, advance=bar.advance)
    table = torch.stack(list(features.values())) if features else torch.zeros(0, cache.rows, vit.width)
    return _Pictures(names, {name: row for row, name in enumerate(features)}, table, problems)


def _pair_sets(
    pairs: Sequence[Pair], stores: Mapping[str, InputStore], pictures: _Pictures, text_tower: TextTower | None
) -> tuple[PairSet, PairSet]:
    """The training and the validation pairs, in one numbering of pictures and texts."""
    texts = list(dict.fromkeys(text for pair in pairs for text in pair.texts)) if text_tower is not None else []
    place = {text: row for row, text in enumerate(texts)}
    table = embed_texts(text_tower, texts) if text_tower is not None and texts else torch.zeros(0, 0)
    sets = []
    for split in ("train", "val"):
        own = [pair for pair in pairs if pair.split == split]
        text_rows = [tuple(place[text] for text in pair.texts if text in place) for pair in own]
        anchors = Anchors(pictures.features, table, [pictures.of(pair) for pair in own], text_rows)
        sets.append(PairSet(own, stores[split], anchors))
    return sets[0], sets[1]


def _data_digest(pairs: Sequence[Pair], pictures: _Pictures, vit_digest: str, lens: Lens) -> str:
    """What makes another run of it: files may move, but not change their names, order or pictures."""
    listed = [[p.id, p.path.name, [pictures.names[path] for path in p.images], p.texts] for p in pairs]
    text = json.dumps([listed, vit_digest, lens.config.to_dict()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
