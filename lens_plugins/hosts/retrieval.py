"""Any to any: inputs of every modality and texts as unit vectors of one space, zero-shot labels, ranking.

B inputs, D width of the ViT, E width of the space, L labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import ConfigError, DoesNotFit, InputError, Unsupported
from ..inputs.base import is_several, several
from .labels import check_labels
from .messages import Text
from .text_tower import TextSpace

if TYPE_CHECKING:
    from ..inputs.base import Source

__all__ = ["SCALE", "SPACES", "Embedding", "rank"]

SPACES = ("vision", "text")
SCALE = 40.0
"""Factor on cosines before the softmax over labels, about what the pocket host learned with its names (CLIP: 100)."""


class Embedding(ABC):
    """What compares inputs of any modality, and texts: a kind of host gives `class_rows`, the rest follows from it."""

    name: str
    text_tower: TextSpace | None = None
    """What brings texts and inputs of every modality into one space; `load_host` sets it where there is one."""
    label_scale: ClassVar[float] = SCALE
    """Factor on cosines before the softmax over labels, unless a call gives another."""

    @abstractmethod
    def class_rows(self, inputs: Sequence[Source], modality: str | Sequence[str | None] | None = None) -> Tensor:
        """The class token's row after the ViT's final norm, averaged over the clips of a recording.

        Args:
            inputs: one or more.
            modality: as in `Request`.

        Returns:
            (B, D) float32 on the CPU.
        """

    def embed(
        self,
        inputs: Source | Text | Sequence[Source | Text],
        space: str | None = None,
        *,
        modality: str | Sequence[str | None] | None = None,
    ) -> Tensor:
        """One unit vector for each input, in one space for every modality.

        The ViT's feature is the class token's row after the final norm, averaged over the clips of a recording. Where
        the host has a text tower it goes through the text head, and texts have their place beside it.

        Args:
            inputs: as in `Request`, one vector for each; besides, ``Text("a wooden chair")`` or the string
                ``"text:a wooden chair"``.
            space: "vision", the ViT's own feature, or "text"; None: "text" where the host has a text tower.
            modality: as in `Request`; texts do not need one.

        Returns:
            (B, E) float32 on the CPU; E is the ViT's width, or that of the text space.

        Raises:
            InputError: a file or array that cannot be read.
            Unsupported: a text where there is no text tower, or a modality without a lens.
        """
        sources = several(inputs)
        if not sources:
            raise InputError("There are 0 inputs to embed; at least 1 is needed.")
        named = [modality] * len(sources) if modality is None or isinstance(modality, str) else list(modality)
        if len(named) != len(sources):
            raise ConfigError(f"There are {len(named)} modalities for {len(sources)} inputs; give one for each.")
        texts = {number: text for number, source in enumerate(sources) if (text := Text.of(source)) is not None}
        tower = self._tower(space, texts=bool(texts))
        others = [number for number in range(len(sources)) if number not in texts]
        parts = []
        if others:
            rows = self.class_rows([sources[number] for number in others], [named[number] for number in others])
            parts.append(normalize(rows, dim=-1) if tower is None else tower.project(rows))  # (B, E)
        if tower is not None and texts:
            parts.append(tower.encode([text.text for text in texts.values()]))
        return torch.cat(parts)[torch.tensor([*others, *texts]).argsort()]

    def label_vectors(self, labels: Sequence[str], template: str | Sequence[str] = "{}") -> Tensor:
        """One unit vector for each label, to classify with many times: ``host.classify(..., vectors=...)``.

        With several templates the unit vectors of a label's texts are averaged and made unit again, as CLIP's and
        ViT-Lens's zero-shot heads do. A template that is given twice counts twice.

        Args:
            labels: two or more, each once.
            template: one or several; a label stands in place of ``{}``.

        Returns:
            (L, E) float32 on the CPU.

        Raises:
            InputError: fewer than two labels, or one twice.
            ConfigError: no template, or one without ``{}``.
            Unsupported: the host has no text tower.
        """
        names = check_labels(labels)
        templates = _check_templates(template)
        texts = [Text(one.replace("{}", name)) for name in names for one in templates]
        written = self.embed(texts, "text").unflatten(0, (len(names), len(templates)))  # (L, templates, E)
        return normalize(written.mean(dim=1), dim=-1)

    def classify(
        self,
        inputs: Source | Text | Sequence[Source | Text],
        labels: Sequence[str],
        *,
        template: str | Sequence[str] | None = None,
        vectors: Tensor | None = None,
        scale: float | None = None,
        modality: str | Sequence[str | None] | None = None,
    ) -> list[Any]:
        """Which of some labels each input is, without training; needs a text tower, or vectors of the labels.

        Args:
            inputs: as in `embed`.
            labels: two or more, each once.
            template: as in `label_vectors`; None: the label alone.
            vectors: (L, E) of the labels, as `label_vectors` or `embed` gives them, in place of the text tower.
            scale: factor on the cosines before the softmax: higher is surer, the order stays. None: the host's own.
            modality: as in `embed`.

        Returns:
            As transformers' zero-shot pipelines: ``[{"label": "chair", "score": 0.9}, ...]``, best first, scores that
            sum to 1; for a list of inputs a list of those.

        Raises:
            InputError: fewer than two labels, one twice, or an input that cannot be read.
            ConfigError: a template beside vectors, or one without ``{}``.
            DoesNotFit: another number of vectors than of labels, or of another width than the host's.
            Unsupported: the host has no text tower, and there are no vectors.
        """
        names = check_labels(labels)
        if vectors is not None and template is not None:
            raise ConfigError("classify takes a template or vectors of the labels, not both: vectors have theirs in.")
        template = "{}" if template is None else template
        written = self.label_vectors(names, template) if vectors is None else _checked(vectors, names)  # (L, E)
        seen = self.embed(inputs, "text" if vectors is None else None, modality=modality)  # (B, E)
        if seen.shape[1] != written.shape[1]:
            raise DoesNotFit(
                f"The vectors of the labels are {written.shape[1]} wide, those of {self.name} are {seen.shape[1]} wide."
            )
        chances = ((self.label_scale if scale is None else scale) * seen @ written.T).softmax(dim=-1)  # (B, L)
        found = []
        for row in chances:
            order = row.argsort(descending=True, stable=True).tolist()
            found.append([{"label": names[i], "score": row[i].item()} for i in order])
        return found if is_several(inputs) else found[0]

    def search(
        self,
        query: Source | Text | Sequence[Source | Text],
        items: Sequence[Source | Text] | Tensor,
        *,
        top: int | None = 10,
        space: str | None = None,
        modality: str | Sequence[str | None] | None = None,
        item_modality: str | Sequence[str | None] | None = None,
    ) -> list[dict[str, Any]]:
        """Rank items of any modality by their likeness to a query of any modality.

        Args:
            query: as in `embed`; several make one query, the mean of their vectors.
            items: what is ranked, or the vectors (N, E) that `embed` made of it, to search in many times.
            top: how many to return; None: all.
            space: as in `embed`.
            modality: of the query, as in `embed`.
            item_modality: of the items, as in `embed`.

        Returns:
            ``[{"index": 3, "score": 0.81, "item": ...}, ...]``, best first; the score is the cosine.
        """
        asked = normalize(self.embed(query, space, modality=modality).mean(dim=0), dim=-1)
        if isinstance(items, Tensor):
            return [{"index": i, "score": score} for i, score in rank(asked, items, top)]
        vectors = self.embed(items, space, modality=item_modality)
        return [{"index": i, "score": score, "item": items[i]} for i, score in rank(asked, vectors, top)]

    def _tower(self, space: str | None, *, texts: bool) -> TextSpace | None:
        """What makes vectors of the space meant; None: the ViT alone."""
        if space not in (None, *SPACES):
            raise ConfigError(f"There is no space {space!r}; known: {', '.join(SPACES)}.")
        if space == "vision" and texts:
            raise Unsupported("Texts have no place in the space of ViT features; leave out space='vision'.")
        if space == "vision" or (space is None and not texts and self.text_tower is None):
            return None
        if self.text_tower is None:
            raise Unsupported(
                f"{self.name} has no text tower, so texts cannot be compared with other inputs; pocket-instructblip "
                "has one, and a host is given one by load_host(..., text_tower=FOLDER, text_head=FILE)."
            )
        return self.text_tower


def _check_templates(template: str | Sequence[str]) -> list[str]:
    """The templates, if each has a place for a label."""
    templates = [template] if isinstance(template, str) else list(template) if is_several(template) else []
    if not templates:
        raise ConfigError(f"template is {template!r}; give a text or a list of texts, such as 'a photo of a {{}}'.")
    for one in templates:
        if not isinstance(one, str) or "{}" not in one:
            raise ConfigError(f"The template {one!r} has no {{}}, where a label stands.")
    return templates


def _checked(vectors: Any, names: Sequence[str]) -> Tensor:  # (L, E) -> (L, E)
    """Given vectors of labels, of unit length."""
    try:
        vectors = torch.as_tensor(vectors, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DoesNotFit(f"The vectors of the labels are a {type(vectors).__name__}, not a tensor (L, E).") from error
    if vectors.ndim != 2 or len(vectors) != len(names):
        raise DoesNotFit(
            f"The vectors of the labels have the shape {tuple(vectors.shape)}; for {len(names)} labels it is "
            f"({len(names)}, E)."
        )
    if not vectors.isfinite().all():
        raise DoesNotFit("The vectors of the labels are not finite.")
    return normalize(vectors.detach().to("cpu", torch.float32), dim=-1)


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
