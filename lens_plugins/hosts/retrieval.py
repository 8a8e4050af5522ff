"""Any to any: inputs of every modality and texts as unit vectors of one space, zero-shot labels, ranking.

B inputs, D width of the ViT, E width of the space, L labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import ConfigError, DoesNotFit, InputError, Unsupported
from .evidence import Encoder
from .messages import Request, Text

if TYPE_CHECKING:
    from ..inputs.base import Source
    from .base import Host
    from .text_tower import HostTextTower

__all__ = ["SCALE", "SPACES", "check_labels", "classify", "embed", "rank", "search"]

SPACES = ("vision", "text")
SCALE = 40.0
"""Factor on cosines before the softmax over labels, about what the pocket host learned with its names (CLIP: 100)."""
_TOGETHER = 64  # inputs in one ViT pass


def embed(host: Host, inputs: Source | Text | Sequence[Source | Text], space: str | None = None) -> Tensor:
    """See `Host.embed`."""
    sources = Request(inputs).sources
    texts = {number: text for number, source in enumerate(sources) if (text := Text.of(source)) is not None}
    tower = _tower(host, space, texts=bool(texts))
    others = [number for number in range(len(sources)) if number not in texts]
    parts = []
    if others:
        rows = _class_rows(host, [sources[number] for number in others])
        parts.append(normalize(rows, dim=-1) if tower is None else tower.project(rows))
    if tower is not None and texts:
        parts.append(tower.encode([text.text for text in texts.values()]))
    return torch.cat(parts)[torch.tensor([*others, *texts]).argsort()]


def classify(
    host: Host,
    inputs: Source | Text | Sequence[Source | Text],
    labels: Sequence[str],
    *,
    template: str = "{}",
    scale: float = SCALE,
) -> list[Any]:
    """See `Host.classify`."""
    names = check_labels(labels)
    if "{}" not in template:
        raise ConfigError(f"The template {template!r} has no {{}}, where a label stands.")
    written = embed(host, [Text(template.replace("{}", name)) for name in names], "text")  # (L, E)
    chances = (scale * embed(host, inputs, "text") @ written.T).softmax(dim=-1)  # (B, L)
    found = []
    for row in chances:
        order = row.argsort(descending=True, stable=True).tolist()
        found.append([{"label": names[i], "score": row[i].item()} for i in order])
    return found if isinstance(inputs, (list, tuple)) else found[0]


def search(
    host: Host,
    query: Source | Text | Sequence[Source | Text],
    items: Sequence[Source | Text] | Tensor,
    *,
    top: int | None = 10,
    space: str | None = None,
) -> list[dict[str, Any]]:
    """See `Host.search`."""
    asked = normalize(embed(host, query, space).mean(dim=0), dim=-1)
    if isinstance(items, Tensor):
        return [{"index": i, "score": score} for i, score in rank(asked, items, top)]
    return [{"index": i, "score": s, "item": items[i]} for i, s in rank(asked, embed(host, items, space), top)]


def rank(query: Tensor, vectors: Tensor, top: int | None = 10) -> list[tuple[int, float]]:
    """Numbers and cosines of the vectors (N, E) nearest to a query (E,), all of unit length; best first.

    Raises:
        ConfigError: `top` below 1.
        DoesNotFit: vectors of another width than the query's.
    """
    if top is not None and top < 1:
        raise ConfigError(f"top is {top}; it must be at least 1.")
    if vectors.ndim != 2 or vectors.shape[1] != len(query):
        raise DoesNotFit(
            f"The vectors have the shape {tuple(vectors.shape)}, the query has width {len(query)}; embed both in the "
            "same space."
        )
    cosines = vectors.to(query) @ query
    order = cosines.argsort(descending=True, stable=True)[:top].tolist()
    return [(number, cosines[number].item()) for number in order]


def check_labels(labels: Sequence[str]) -> list[str]:
    """The labels, without the blanks around them.

    Raises:
        InputError: fewer than two, an empty one, or one given twice.
    """
    if isinstance(labels, str):
        raise InputError(f"labels is the text {labels!r}; give a list of texts.")
    names = [str(label).strip() for label in labels]
    empty = [number for number, name in enumerate(names, start=1) if not name]
    if len(names) == len(empty):
        raise InputError("There are 0 labels; at least 2 are needed.")
    if empty:
        raise InputError(f"Label {empty[0]} of {len(names)} is empty.")
    if len(names) == 1:
        raise InputError(f"There is 1 label, {names[0]!r}; at least 2 are needed to choose from.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"The label {twice!r} is given {names.count(twice)} times; give each once.")
    return names


def _tower(host: Host, space: str | None, *, texts: bool) -> HostTextTower | None:
    """What makes vectors of the space meant; None: the ViT alone."""
    if space not in (None, *SPACES):
        raise ConfigError(f"There is no space {space!r}; known: {', '.join(SPACES)}.")
    if space == "vision" and texts:
        raise Unsupported("Texts have no place in the space of ViT features; leave out space='vision'.")
    if space == "vision" or (space is None and not texts and host.text_tower is None):
        return None
    if host.text_tower is None:
        raise Unsupported(
            f"{host.name} has no text tower, so texts cannot be compared with other inputs; pocket-instructblip has "
            "one, and a host is given one by load_host(..., text_tower=FOLDER, text_head=FILE)."
        )
    return host.text_tower


def _class_rows(host: Host, sources: Sequence[Source]) -> Tensor:  # -> (B, D) float32 on the CPU
    """The class token's row after the ViT's final norm, averaged over the clips of a recording."""
    encoder = Encoder(host)
    rows = []
    for start in range(0, len(sources), _TOGETHER):
        requests = [Request(source, fuse="llm") for source in sources[start : start + _TOGETHER]]
        for seen in encoder.see(requests):
            rows.append(torch.stack([host.vit.pool(unit[None])[0] for unit in seen.features]).float().mean(0).cpu())
    return torch.stack(rows)
