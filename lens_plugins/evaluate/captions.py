"""Captions of hosts that write, several systems side by side: through a lens, from a picture, nearest, probe, others.

N things, E width of the space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .._optional import require
from ..catalog import modality_of_suffix
from ..errors import ConfigError, InputError
from ..files.json_lines import read_json_lines
from ..hosts.base import Host
from ..hosts.messages import Request
from ..hosts.vectors import FeatureCache
from ..inputs.base import Source
from .benchmark import Row, as_it_is
from .caption_metrics import CaptionScores, score_captions
from .features import Features, Miss, Note, embed_rows
from .pairs import modality_of, texts_of

__all__ = ["SYSTEMS", "CaptionResult", "Setting", "Thing", "compare_captions", "read_answers", "read_things"]

_NO_TRAINING = "No training list is given: nearest and probe learn from the other things in this list."
_FIELDS = ("modality", "path", "references", "label", "words", "picture", "id", "split", "text", "image")


@dataclass(frozen=True)
class Thing:
    """One input, what people say of it, and what a right answer names.

    Attributes:
        id: by which answers of other systems find it.
        source: a file or an array.
        modality: of the source.
        references: captions by people; several count alike.
        label: its class, or None.
        words: other names that count as right.
        picture: of the same thing, or None.
    """

    id: str
    source: Source
    modality: str
    references: tuple[str, ...]
    label: str | None = None
    words: tuple[str, ...] = ()
    picture: Source | None = None


@dataclass(frozen=True)
class Setting:
    """What a system may use.

    Attributes:
        host: that writes and embeds.
        things: to be described.
        known: of training, with captions and labels; empty: each thing is compared with the others instead.
        prompt: None: the host's default.
        generation: options of `Host.generate`.
        cache: of vectors.
        note: of progress.
    """

    host: Host
    things: Sequence[Thing]
    known: Sequence[Thing] = ()
    prompt: str | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    cache: FeatureCache | None = None
    note: Note | None = None


@dataclass(frozen=True, eq=False)
class CaptionResult:
    """What each system said, and how it scores."""

    things: Sequence[Thing]
    said: Mapping[str, Sequence[str]]  # by system, in the order of things; "" where it said nothing
    scores: Mapping[str, CaptionScores]
    misses: Sequence[Miss]
    notes: Sequence[str]

    def text(self) -> str:
        """The table, a row a system."""
        head = ("things", "BLEU-1", "ROUGE-L", "CIDEr", "similarity", "names it")
        lines = [f"{'':24}" + "".join(f"{name:>12}" for name in head)]
        for system, scores in self.scores.items():
            lines.append(f"{system:24}" + "".join(f"{value:>12}" for value in scores.shown()))
        missed = (
            [f"{len(self.misses)} {self.misses[0].kind}; the first: {self.misses[0].reason}"] if self.misses else []
        )
        return "\n".join([*lines, "", *missed, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "things": len(self.things),
            "scores": {system: scores.to_dict() for system, scores in self.scores.items()},
            "said": [
                {
                    "id": thing.id,
                    "references": list(thing.references),
                    **{name: said[n] for name, said in self.said.items()},
                }
                for n, thing in enumerate(self.things)
            ],
            "missed": [{"name": miss.name, "kind": miss.kind, "reason": miss.reason} for miss in self.misses],
            "notes": list(self.notes),
        }


def read_things(file: Path, *, known: bool = False) -> list[Thing]:
    """Things of JSON lines: {"modality", "path", "references", "label", "words", "picture", "id"}.

    Paths are relative to the file. The lists of training serve too: `text` stands for references, `image` for picture.

    Args:
        file: the list.
        known: it is only learnt from, so that no answer looks for an id and several things may share one.

    Raises:
        InputError: no such file, a line that is something else, or two things of one id.
    """
    found: list[Thing] = []
    lines: dict[str, int] = {}
    for place, raw in read_json_lines(file):
        found.append(_thing(file, place, raw))
        first = lines.setdefault(found[-1].id, place)
        if first != place and not known:
            raise InputError(f"{file}, line {place}: the id {found[-1].id!r} is that of line {first}, too.")
    if not found:
        raise InputError(f"{file} holds 0 things; each line is one JSON object.")
    return found


def _thing(file: Path, place: int, raw: dict[str, Any]) -> Thing:
    unknown = sorted(raw.keys() - set(_FIELDS))
    if unknown or not isinstance(raw.get("path"), str) or not raw["path"].strip():
        told = f"the field {unknown[0]!r} is unknown" if unknown else "there is no path"
        raise InputError(f"{file}, line {place}: {told}; a line has {', '.join(_FIELDS[:7])}.")
    references = texts_of(raw.get("references", raw.get("text")))
    words, pictures = texts_of(raw.get("words")), texts_of(raw.get("picture", raw.get("image")))
    label = raw.get("label")
    if words is None or pictures is None or not (label is None or (isinstance(label, str) and label.strip())):
        raise InputError(f"{file}, line {place}: label, words and picture must be texts that are not empty.")
    if references is None or not (references or label):
        raise InputError(f"{file}, line {place}: references must be texts; a line needs some, or a label.")
    modality = raw.get("modality")
    if modality is None:
        modality = modality_of_suffix(Path(raw["path"]).suffix)
    if modality is None:
        raise InputError(f"{file}, line {place}: the ending of {raw['path']} names no modality; give modality.")
    return Thing(
        id=raw["path"] if raw.get("id") is None else _id(raw["id"], f"{file}, line {place}"),
        source=file.parent / raw["path"],
        modality=modality_of(modality, f"{file}, line {place}"),
        references=references,
        label=label,
        words=words,
        picture=file.parent / pictures[0] if pictures else None,
    )


def _id(value: Any, where: str) -> str:
    """An id as text; 7 and "7" are one."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise InputError(f"{where}: id is {value!r}; it must be a text that is not empty, or a whole number.")
    return str(value)


def read_answers(file: Path, things: Sequence[Thing]) -> list[str]:
    """What another system said, of JSON lines {"id", "text"}, in the order of things; "" where it said nothing.

    Raises:
        InputError: no such file, a line of something else, two lines of one id, or no line of any of these things.
    """
    said: dict[str, str] = {}
    lines: dict[str, int] = {}
    for place, raw in read_json_lines(file):
        where = f"{file}, line {place}"
        name = _id(raw.get("id"), where)
        if not isinstance(raw.get("text"), str):
            raise InputError(f'{where}: text is {raw.get("text")!r}; it must be a text, "" where nothing was said.')
        if lines.setdefault(name, place) != place:
            raise InputError(f"{where}: the id {name!r} is that of line {lines[name]}, too; one answer is scored.")
        said[name] = raw["text"]
    if not said.keys() & {thing.id for thing in things}:
        raise InputError(
            f"{file} answers 0 of {len(things)} things; its ids are as {', '.join(list(said)[:3]) or 'none'}."
        )
    return [said.get(thing.id, "") for thing in things]


def compare_captions(
    setting: Setting, systems: Sequence[str] = ("lens",), answers: Mapping[str, Sequence[str]] | None = None
) -> CaptionResult:
    """Let systems describe things, and score them all alike.

    Things whose input cannot be read are left out for every system and counted.

    Args:
        setting: host, things and what is known.
        systems: names in `SYSTEMS`.
        answers: what other systems said, by their names, in the order of things.

    Raises:
        ConfigError: an unknown system, or none at all.
        InputError: a system needs what the things lack (pictures, captions, labels), or nothing can be read.
    """
    unknown = [name for name in systems if name not in SYSTEMS]
    if unknown or not (systems or answers):
        told = f"The system {unknown[0]!r} is unknown" if unknown else "No system is named"
        raise ConfigError(f"{told}; known: {', '.join(SYSTEMS)}.")
    kept, misses = _readable(setting)
    things = [setting.things[number] for number in kept]
    if not things:
        raise InputError(f"0 of {len(setting.things)} things can be read; the first: {misses[0].reason}")
    said = {name: SYSTEMS[name](replace(setting, things=things)) for name in systems}
    said |= {name: [given[number] for number in kept] for name, given in (answers or {}).items()}
    scores = {name: score_captions(words, things) for name, words in said.items()}
    own = not setting.known and {"nearest", "probe"} & set(systems)
    notes = [_NO_TRAINING] if own else []
    return CaptionResult(things, said, scores, misses, notes)


def _readable(setting: Setting) -> tuple[list[int], list[Miss]]:
    """Numbers of the things whose file can be read, and the misses."""
    kept, misses = [], []
    for number, thing in enumerate(setting.things):
        try:
            setting.host.read(thing.source, thing.modality)
            kept.append(number)
        except InputError as error:
            misses.append(Miss(thing.id, "unreadable", str(error)))
    return kept, misses


# ---- systems: each says one text of every thing


def through_lens(setting: Setting) -> list[str]:
    """The host's answer to the input itself."""
    return _written(setting, [Request(thing.source, modality=thing.modality) for thing in setting.things], "lens")


def from_picture(setting: Setting) -> list[str]:
    """The host's answer to a picture of the thing.

    Raises:
        InputError: a thing has none.
    """
    without = next((thing.id for thing in setting.things if thing.picture is None), None)
    if without is not None:
        raise InputError(f"{without} has no picture, which the system picture describes.")
    asked = [Request(thing.picture, modality="image") for thing in setting.things if thing.picture is not None]
    return _written(setting, asked, "picture")


def _written(setting: Setting, requests: Sequence[Request], what: str) -> list[str]:
    found = []
    for reply in setting.host.generate_iter(requests, prompt=setting.prompt, **setting.generation):
        found.append(reply.text)
        if setting.note:
            setting.note(what, len(found), len(requests))
    return found


def nearest_caption(setting: Setting) -> list[str]:
    """A caption of the known thing whose vector is nearest; without known things, of another thing in the list.

    Raises:
        InputError: fewer than two known things have a caption.
    """
    vectors = _vectors(setting, setting.things).vectors  # (N, E)
    pool = [thing for thing in setting.known or setting.things if thing.references]
    features = _vectors(setting, pool)
    pool = [pool[number] for number in features.kept]
    if len(pool) < 2:
        raise InputError(f"{len(pool)} known things have a caption; at least 2 are needed for the nearest.")
    same = torch.tensor([[one is other for other in pool] for one in setting.things])
    scores = (vectors @ features.vectors.T).masked_fill(same, -torch.inf)  # (N, known)
    return [pool[number].references[0] for number in scores.argmax(dim=1).tolist()]


def linear_probe(setting: Setting) -> list[str]:
    """The class alone, by logistic regression on the vectors of known things.

    Without known things a fifth of the list at a time is told by what the other four fifths teach.

    Raises:
        InputError: fewer than two classes to learn.
    """
    vectors = _vectors(setting, setting.things).vectors  # (N, E)
    if setting.known:
        labelled = [thing for thing in setting.known if thing.label is not None]
        features = _vectors(setting, labelled)
        return _probe(features.vectors, [str(labelled[number].label) for number in features.kept], vectors)
    labels = [thing.label for thing in setting.things]
    said = [""] * len(labels)
    for fold in range(min(_FOLDS, len(labels))):
        own = [number for number in range(len(labels)) if number % _FOLDS == fold]
        others = [n for n, label in enumerate(labels) if n % _FOLDS != fold and label is not None]
        for number, label in zip(own, _probe(vectors[others], [str(labels[n]) for n in others], vectors[own])):
            said[number] = label
    return said


def _probe(vectors: Tensor, labels: Sequence[str], asked: Tensor) -> list[str]:
    """Labels of `asked` (M, E) by what vectors (N, E) of known labels teach."""
    if len(set(labels)) < 2:
        raise InputError(f"The linear probe needs 2 classes or more to learn; there are {len(set(labels))}.")
    linear = require("sklearn.linear_model", extra="eval", purpose="The linear probe")
    probe = linear.LogisticRegression(C=_SHRINK, max_iter=2000).fit(vectors.numpy(), labels)
    return [str(label) for label in probe.predict(asked.numpy())]


_FOLDS = 5
_SHRINK = 10.0  # inverse strength of the penalty, for unit vectors


def _vectors(setting: Setting, things: Sequence[Thing]) -> Features:
    rows = [Row(thing.id, thing.source, None, modality=thing.modality) for thing in things]
    return embed_rows(setting.host, rows, "image", as_it_is, cache=setting.cache, note=setting.note)


SYSTEMS: Mapping[str, Callable[[Setting], list[str]]] = {
    "lens": through_lens,
    "picture": from_picture,
    "nearest": nearest_caption,
    "probe": linear_probe,
}
"""What says something of things, by name."""
