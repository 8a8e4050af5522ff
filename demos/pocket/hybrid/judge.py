"""Photographs as the judge: whether a text names what a photograph shows, finely or coarsely.

Photographs are named by their packages. A text is right if the first thing that it names is that thing or a kind of it
("a tench" of a fish), and coarsely right if it is the plain word above ("a bird" of a kingfisher).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from .names import PLAIN, ClassNames

__all__ = ["Judge", "Photographs"]

# What the names of photographs mean in WordNet, where they are not its own; None: a place or a thing with no name here.
MEANT = {
    "plier": "pliers",
    "side cutter": "pliers",
    "cutting tool": "pliers",
    "nail cutter": "nail clippers",
    "measuring tape": "tape measure",
    "screw driver": "screwdriver",
    "tweezer": "tweezers",
    "spray": "spray bottle",
    "chamaeleon": "chameleon",
    "long nosed monkey": "proboscis monkey",
    "meerkats": "meerkat",
    "swans": "swan",
    "camels": "camel",
    "spoonbills": "spoonbill",
    "northern harrier": "hawk",
    "nubian ibex": "ibex",
    "red panda": "lesser panda",
    "dragon": "monitor lizard",
    "scarlet macaw": "macaw",
    "panda": "giant panda",
    "polar bear": "ice bear",
    "bison": "bison",
    "solar": None,
    "geothermal": None,
    "chicken": "hen",
    "cow": "cattle",
    "windmill": "windmill",
    "kitten": "cat",
    "gosling": "goose",
    "calf": "cattle",
    "beach": "seashore",
}
PLACES = re.compile(r"^gcompris-categorization-images/monuments")
ALSO = {  # what else is right
    "windmill": ("wind turbine",),
    "tape measure": ("ruler", "rule", "measuring tape"),
    "spray bottle": ("bottle", "sprayer"),
    "giant panda": ("panda", "bear"),
    "lesser panda": ("red panda", "panda"),
    "gibbon": ("siamang",),
    "cattle": ("ox", "bull", "cow"),
    "hen": ("rooster", "cock", "chicken"),
    "dam": ("dike",),
    "narwhal": ("whale",),
    "flying fox": ("bat",),
    "multimeter": ("meter",),
    "seashore": ("beach", "sandbar", "coast", "sea", "shore"),
    "pliers": ("wire cutters",),
    "monitor lizard": ("Komodo dragon",),
    "bison": ("buffalo", "ox"),
    "alpaca": ("llama",),
    "nail clippers": ("nail clipper",),
    "rhinoceros": ("rhino",),
    "goose": ("duck", "bird"),
    "butterfly": ("monarch",),
    "pika": ("rabbit",),
}


class Judge:
    """Decides by WordNet."""

    def __init__(self, names: ClassNames) -> None:
        self.names, self.wordnet = names, names.wordnet
        self.plain = set(PLAIN.split())

    @cached_property
    def synsets(self) -> dict[str, list[str]]:
        """Synsets of every noun, the commonest first as WordNet orders its file only by chance: all senses count."""
        found: dict[str, list[str]] = {}
        for synset, lemmas in self.wordnet.lemmas.items():
            for lemma in lemmas:
                found.setdefault(lemma.lower(), []).append(synset)
        for number, synset in enumerate(self.names.synsets):  # the names that this recipe gives classes
            for name in (self.names.fine[number],):
                found.setdefault(name.lower(), []).append(synset)
        return found

    def above(self, noun: str) -> set[str]:
        """Every synset that one of the noun's senses is or is a kind of."""
        return {node for synset in self.synsets.get(noun, []) for node in self.wordnet.climb(synset)}

    def nouns(self, text: str) -> list[str]:
        """Nouns of WordNet in a text, longest first at each place, at most three words long."""
        words, found, at = re.findall(r"[a-z0-9'-]+", text.lower()), [], 0
        while at < len(words):
            for size in (4, 3, 2, 1):
                phrase = " ".join(words[at : at + size])
                single = re.sub(r"(?<=[a-z]{2})s$", "", phrase)
                known = next((p for p in (phrase, single) if p in self.synsets), None)
                if known and phrase not in ("a", "an", "the", "of", "it", "is", "picture", "in", "on", "i"):
                    found.append(known)
                    at += size
                    break
            else:
                at += 1
        return found

    def right(self, text: str, truth: str) -> str | None:
        """ "fine", "coarse" or None."""
        truths = set(self.synsets.get(truth, []))
        for noun in self.nouns(text)[:2]:
            if noun == truth or noun in ALSO.get(truth, ()) or truths & self.above(noun):
                return "fine"
        above = self.above(truth)
        plainly = {lemma.lower() for node in above for lemma in self.wordnet.lemmas[node]} & self.plain
        first = self.nouns(text)[:1]
        return "coarse" if first and first[0] in plainly else None


@dataclass(frozen=True)
class Photographs:
    """Photographs with a meaning: their features, and what the trunk says of them."""

    features: torch.Tensor  # (N, 65, D)
    truths: Sequence[str]
    trunk: torch.Tensor  # (N, 1000) logits
    judge: Judge

    @staticmethod
    def chosen(rows: Sequence[dict]) -> tuple[np.ndarray, list[str]]:
        """Rows of a pack that are photographs whose name means something, and their truths."""
        numbers, truths = [], []
        for number, row in enumerate(rows):
            if row["source"] not in ("gcompris", "samples") or PLACES.match(row["id"]):
                continue
            truth = MEANT.get(row["name"], row["name"])
            if truth is not None:
                numbers.append(number)
                truths.append(truth)
        return np.array(numbers), truths

    def every(self, many: int) -> Photographs:
        """Each `many`th photograph, for a look between steps."""
        return Photographs(self.features[::many], self.truths[::many], self.trunk[::many], self.judge)

    def ceiling(self) -> dict[str, float]:
        """The trunk's own classifier by the same judge, its likeliest name."""
        said = [self.judge.names.fine[i] for i in self.trunk.argmax(-1).tolist()]
        return self.score(said, "trunk_")

    def trunk_right(self) -> list[bool]:
        said = [self.judge.names.fine[i] for i in self.trunk.argmax(-1).tolist()]
        return [self.judge.right(text, truth) is not None for text, truth in zip(said, self.truths)]

    def score(self, said: Sequence[str], begin: str = "") -> dict[str, float]:
        """Shares named finely, named at all, and named where the trunk is right."""
        how = [self.judge.right(text, truth) for text, truth in zip(said, self.truths)]
        where = self.trunk_right()
        within = [h is not None for h, ok in zip(how, where) if ok]
        return {
            f"{begin}fine": sum(h == "fine" for h in how) / len(how),
            f"{begin}named": sum(h is not None for h in how) / len(how),
            f"{begin}named_where_trunk": sum(within) / max(1, len(within)),
            f"{begin}of_five": self.of_five(said),
        }

    def of_five(self, said: Sequence[str]) -> float:
        """Share of texts whose thing is one of the trunk's five likeliest names or a word above one."""
        right = 0
        for text, five in zip(said, self.trunk.topk(5).indices.tolist()):
            nouns = self.judge.nouns(text)[:2]
            right += any(self.judge.names.named(noun, number) for noun in nouns for number in five)
        return right / len(said)

    def measure(self, speak: Callable[[torch.Tensor, str], list[str]], prompts: Sequence[str]) -> dict[str, float]:
        """Scores of a function from features and a prompt to texts, under each prompt."""
        found: dict[str, float] = {}
        for prompt in prompts:
            said = [text for part in self.features.split(64) for text in speak(part, prompt)]
            begin = re.sub(r"\W+", "_", prompt.lower()).strip("_") + ":"
            found |= self.score(said, begin)
        return found
