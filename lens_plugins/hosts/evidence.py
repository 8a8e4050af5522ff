"""From requests to features: every distinct input is read, embedded and sent through the ViT once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from ..inputs import ModalityInput
from ..splice.fusion import arrange
from .messages import Request, Seen

if TYPE_CHECKING:
    from ..inputs.base import Source
    from .base import Host

__all__ = ["Encoder"]

K, T = TypeVar("K", bound=Hashable), TypeVar("T")
Clip: TypeAlias = "tuple[bytes, int]"  # content of an input, number of the clip
Tokens: TypeAlias = "tuple[Clip, ...]"  # what went through the ViT together

_KEPT = 64  # ViT passes that one call remembers: 93 MB at 257 tokens × 1408 × float32


@dataclass(frozen=True, eq=False)
class _Item:
    """One input with its clips apart; `content` is equal where modality and values are."""

    content: bytes
    modality: str
    clips: tuple[Tensor, ...]

    @classmethod
    def of(cls, given: ModalityInput) -> _Item:
        tensor = given.tensor.detach().cpu().contiguous()
        state = hashlib.sha256(f"{given.modality} {tuple(tensor.shape)} {tensor.dtype}".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy())
        return cls(state.digest(), given.modality, given.clips)


class Encoder:
    """Reads inputs and runs lenses and ViT for one call of a host; what it has seen it does not compute twice."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._read: dict[tuple[str, int | None], _Item] = {}
        self._passes: OrderedDict[Tokens, Tensor] = OrderedDict()

    @torch.no_grad()
    def see(self, requests: Sequence[Request]) -> list[Seen]:
        """Features of every request, all of them through the ViT together (once per number of tokens)."""
        plans = [self._plan(request) for request in requests]
        clips: dict[Clip, tuple[str, Tensor]] = {}
        for items, _ in filter(None, plans):
            clips.update({(i.content, n): (i.modality, t) for i in items for n, t in enumerate(i.clips)})
        wanted = {tokens: None for _, units in filter(None, plans) for unit in units for tokens in unit}
        features = self._features(list(wanted), clips)
        joined: dict[tuple[Tokens, ...], Tensor] = {}
        return [
            request.inputs if plan is None else Seen(tuple(_join(unit, features, joined) for unit in plan[1]))
            for request, plan in zip(requests, plans)
        ]

    def _plan(self, request: Request) -> tuple[list[_Item], list[tuple[Tokens, ...]]] | None:
        """The inputs of a request and its units by content; None where it has been seen before."""
        if isinstance(request.inputs, Seen):
            return None
        items = [self._item(source, request.clips) for source in request.sources]
        units = arrange([len(item.clips) for item in items], request.fuse or self._host.default_place)
        return items, [tuple(tuple((items[i].content, c) for i, c in seats) for seats in unit) for unit in units]

    def _item(self, source: Source, clips: int | None) -> _Item:
        if not isinstance(source, str):
            return _Item.of(self._host.read(source, clips=clips))
        if (source, clips) not in self._read:
            self._read[source, clips] = _Item.of(self._host.read(source, clips=clips))
        return self._read[source, clips]

    def _features(self, wanted: list[Tokens], clips: dict[Clip, tuple[str, Tensor]]) -> dict[Tokens, Tensor]:
        """Features (T, D) of every pass wanted; new ones are computed and remembered."""
        features = {tokens: self._passes[tokens] for tokens in wanted if tokens in self._passes}
        new = [tokens for tokens in wanted if tokens not in features]
        embedded = self._tokens({clip: clips[clip] for tokens in new for clip in tokens})
        for _, group in _grouped(new, len):
            inputs = [torch.stack([embedded[tokens[k]] for tokens in group]) for k in range(len(group[0]))]
            rows = self._host.vit.encode(inputs)  # (B, 1 + k·N, D)
            features.update((tokens, row.clone()) for tokens, row in zip(group, rows))  # a view would keep its batch
        for tokens in wanted:
            self._passes[tokens] = features[tokens]
            self._passes.move_to_end(tokens)
        while len(self._passes) > _KEPT:
            self._passes.popitem(last=False)
        return features

    def _tokens(self, clips: dict[Clip, tuple[str, Tensor]]) -> dict[Clip, Tensor]:
        """Tokens (N, D) of every clip, those of one modality and shape together."""
        tokens: dict[Clip, Tensor] = {}
        for (modality, _), group in _grouped(clips, lambda clip: (clips[clip][0], clips[clip][1].shape)):
            batch = torch.stack([clips[clip][1] for clip in group])
            tokens.update(zip(group, self._host.tokens(modality, batch)))
        return tokens


def _join(unit: tuple[Tokens, ...], features: dict[Tokens, Tensor], joined: dict[Any, Tensor]) -> Tensor:
    """The features of a unit side by side; equal units are one tensor, by which a host knows them."""
    if unit not in joined:
        joined[unit] = torch.cat([features[tokens] for tokens in unit]) if len(unit) > 1 else features[unit[0]]
    return joined[unit]


def _grouped(values: Iterable[T], key: Callable[[T], K]) -> list[tuple[K, list[T]]]:
    groups: dict[K, list[T]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return list(groups.items())
