"""What the 1,000 classes are called, finely and coarsely: WordNet's lemmas, and the nearest plain word above them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lens_plugins.bench.heldout import names_word

from ..data.classes import with_article

__all__ = ["ClassNames", "WordNet"]

# Words that people use first. A class belongs to the first of them that is met on its way up WordNet.
PLAIN = """
dog cat wolf fox bear lion tiger leopard cheetah bird chicken duck goose owl eagle parrot penguin swan hawk fish shark
ray snake lizard turtle frog salamander crocodile dinosaur spider scorpion insect butterfly beetle bee ant fly
grasshopper dragonfly crab lobster snail worm jellyfish coral starfish monkey ape elephant horse cow ox sheep goat pig
rabbit hamster mouse squirrel beaver whale seal kangaroo koala camel llama zebra deer antelope hippopotamus weasel
badger otter skunk sloth anteater armadillo bat panda lemur hedgehog
car truck bus van train airplane ship boat bicycle motorcycle wagon tank tractor rocket airship sled
chair sofa bed table desk bench stool cabinet bookcase shelf lamp clock watch mirror curtain rug pillow door window
stairs wall roof house church temple mosque castle palace tower bridge dam shop restaurant theater library prison
building ball bat racket ski boot shoe sandal sock hat cap helmet coat jacket dress skirt trousers shirt sweater suit
gown robe swimsuit glove scarf necktie bag purse backpack basket box bucket barrel bottle jar cup mug glass bowl plate
pot pan kettle teapot spoon fork knife oven stove refrigerator toaster dishwasher washer microwave
computer keyboard television telephone camera printer radio microphone loudspeaker piano organ guitar violin drum flute
trumpet horn harp accordion saxophone bassoon oboe
hammer screwdriver saw axe wrench drill plow shovel broom rake nail screw lock key rope chain
gun rifle cannon missile bow sword shield
book newspaper envelope pen pencil paper flag mask doll balloon umbrella candle lighter match
bread cake pie pizza sandwich soup salad meat sausage fruit apple orange lemon banana pineapple strawberry vegetable
cabbage pepper cucumber mushroom corn nut ice-cream coffee wine
flower tree mountain beach lake volcano valley cliff reef geyser seashore sandbar promontory
scale thermometer telescope microscope compass
person player diver groom baby
"""
RENAMED = {
    "ice bear": "polar bear", "cock": "rooster", "crane": "crane", "bicycle-built-for-two": "tandem bicycle",
    "dining table": "dining table", "hard disc": "hard disk", "lesser panda": "red panda", "jay": "jay bird",
    "notebook": "laptop computer", "cellular telephone": "mobile phone", "hand-held computer": "pocket computer",
    "crt screen": "computer screen", "screen": "computer screen", "academic gown": "graduation gown",
    "airliner": "airliner", "steel drum": "steel drum", "maillot": "swimsuit", "drake": "drake duck",
    "bubble": "soap bubble", "jean": "jeans", "desk": "desk", "ear": "ear of corn", "carton": "cardboard box",
    "hay": "hay", "menu": "menu", "spike": "spike", "alp": "mountain", "studio couch": "sofa bed",
}  # fmt: skip
COARSE_RENAMED = {
    "seashore": "beach", "sandbar": "beach", "ox": "cow", "bookcase": "bookshelf", "loudspeaker": "speaker",
    "washer": "washing machine", "ice-cream": "ice cream", "ape": "ape", "theater": "theatre", "promontory": "cliff",
    "trousers": "trousers", "groom": "man",
}  # fmt: skip


class WordNet:
    """Lemmas and hypernyms of nouns, from WordNet's own `data.noun`."""

    def __init__(self, file: Path) -> None:
        self.lemmas: dict[str, list[str]] = {}
        self.above: dict[str, list[str]] = {}
        for line in file.read_text("latin-1").splitlines():
            if line.startswith("  "):  # the licence
                continue
            fields = line.split("|")[0].split()
            count = int(fields[3], 16)
            self.lemmas[f"n{fields[0]}"] = [fields[4 + 2 * i].replace("_", " ") for i in range(count)]
            rest = fields[5 + 2 * count :]
            self.above[f"n{fields[0]}"] = [
                f"n{rest[i + 1]}" for i in range(0, len(rest) - 3, 4) if rest[i] in ("@", "@i")
            ]

    def climb(self, synset: str) -> Iterator[str]:
        """The synset and all above it, nearest first."""
        waiting, seen = [synset], set()
        while waiting:
            here = waiting.pop(0)
            if here not in seen:
                seen.add(here)
                yield here
                waiting += self.above[here]


@dataclass(frozen=True)
class ClassNames:
    """Names of the 1,000 classes in the classifier's order."""

    synsets: list[str]
    wordnet: WordNet

    @classmethod
    def read(cls, info: Path, wordnet: Path) -> ClassNames:
        """From timm's folder of class lists and WordNet's `data.noun`."""
        return cls((info / "imagenet_synsets.txt").read_text("utf-8").split(), WordNet(wordnet))

    @cached_property
    def fine(self) -> list[str]:
        """One name a class: the first lemma that is no Latin binomial."""
        return [self._fine(synset) for synset in self.synsets]

    def _fine(self, synset: str) -> str:
        first = self.wordnet.lemmas[synset][0]
        return RENAMED.get(first.lower(), first)

    @cached_property
    def coarse(self) -> list[str]:
        """The plain word above each class, or its fine name where there is none."""
        plain = set(PLAIN.split())
        found = []
        for synset, fine in zip(self.synsets, self.fine):
            above = (
                lemma.lower().replace(" ", "-")
                for node in self.wordnet.climb(synset)
                for lemma in self.wordnet.lemmas[node]
            )
            word = next((lemma for lemma in above if lemma in plain), fine)
            found.append(COARSE_RENAMED.get(word, word))
        return found

    @cached_property
    def coarse_names(self) -> list[str]:
        """The different plain words, sorted."""
        return sorted(set(self.coarse))

    @cached_property
    def coarse_of(self) -> np.ndarray:
        """(1000,) place of each class's plain word among `coarse_names`."""
        place = {name: i for i, name in enumerate(self.coarse_names)}
        return np.array([place[name] for name in self.coarse])

    def words(self, number: int) -> set[str]:
        """Every word that names the class: its lemmas, its names here, and lemmas above it down to the plain word."""
        found = {self.fine[number].lower(), self.coarse[number]}
        for node in self.wordnet.climb(self.synsets[number]):
            lemmas = {lemma.lower() for lemma in self.wordnet.lemmas[node]}
            found |= lemmas
            if self.coarse[number] in lemmas or node == self.synsets[number] == self.coarse[number]:
                break
            if len(found) > 40:
                break
        return found

    def named(self, text: str, number: int) -> str | None:
        """ "fine" if a text names the class, "coarse" if only its plain word or one between, else None."""
        own = {lemma.lower() for lemma in self.wordnet.lemmas[self.synsets[number]]} | {self.fine[number].lower()}
        if names_word(text.lower(), tuple(own)):
            return "fine"
        return "coarse" if names_word(text.lower(), tuple(self.between(number))) else None

    def between(self, number: int) -> set[str]:
        """Names above the class up to its plain word, that one among them."""
        found: set[str] = {self.coarse[number]}
        if self.coarse[number] == self.fine[number]:
            return found
        node = self.synsets[number]
        while self.wordnet.above[node]:
            node = self.wordnet.above[node][0]
            lemmas = {lemma.lower() for lemma in self.wordnet.lemmas[node]}
            if lemmas & {"animal", "artifact", "instrumentality", "matter", "entity", "whole", "object", "mammal"}:
                break
            found |= lemmas
            if self.coarse[number] in lemmas:
                break
        return found

    def said(self, number: int, coarse: bool) -> str:
        """The class as an answer: "a tench", "a fish"."""
        return with_article((self.coarse if coarse else self.fine)[number])
