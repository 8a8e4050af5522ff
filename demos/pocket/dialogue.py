"""What the pocket host is asked and answers in training: captions, names, uses, yes and no, colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .data.classes import with_article
from .packs import OBJECT_PACKS

__all__ = ["BOTH_PROMPTS", "CAPTION_PROMPTS", "COLOURS", "PAIR_PROMPTS", "USES", "Exchange", "all_texts", "colour_of"]

CAPTION_PROMPTS = (
    "A short image caption.",
    "A short image description.",
    "Write a short description.",
    "Write a detailed description.",
    "Describe this object in details.",
    "Describe this object.",
    "Describe what you see.",
    "Caption this.",
    "Create a short story around the given visual contents.",
    "Tell a story.",
    "Tell a short story about this.",
)
BOTH_PROMPTS = ("What are these?", "Name both.", "What things are there?")
PAIR_PROMPTS = (*BOTH_PROMPTS, *CAPTION_PROMPTS)
NAME_PROMPTS = ("What is it?", "What is this?", "What is in the picture?", "What object is this?", "Name this object.")
USE_PROMPTS = (
    "What is it used for?",
    "What is it for?",
    "What is the function of this object?",
    "What can you do with it?",
)
COLOUR_PROMPTS = ("What colour is it?", "What color is it?", "Which colour does it have?")
COMMON = 0.7  # share of answers that name a catalogue object by its class: "chair", not "deck chair"
OWN_NAME = ("animal",)  # classes that say too little of a thing: "dog", never "animal"
YES_NO_PROMPTS = ("Is it {}?", "Is this {}?", "Can you see {}?")
COLOURS = (
    "white", "black", "gray", "red", "orange", "yellow", "green",
    "turquoise", "blue", "purple", "pink", "brown", "beige",
)  # fmt: skip

USES = {
    "airplane": "flying",
    "animal": "it is a living thing",
    "apple": "eating",
    "armchair": "sitting",
    "bathtub": "taking a bath",
    "bed": "sleeping",
    "bench": "sitting",
    "bicycle": "riding",
    "bookshelf": "storing books",
    "bottle": "holding drinks",
    "bowl": "holding food",
    "box": "storing things",
    "cabinet": "storing things",
    "car": "driving",
    "chair": "sitting",
    "cup": "drinking",
    "curtain": "covering a window",
    "cutlery": "eating",
    "desk": "working",
    "dishwasher": "washing dishes",
    "door": "entering a room",
    "dresser": "storing clothes",
    "faucet": "getting water",
    "fork": "eating",
    "guitar": "playing music",
    "jar": "storing food",
    "keyboard": "typing",
    "knife": "cutting",
    "lamp": "giving light",
    "laptop": "working",
    "light switch": "turning on the light",
    "mattress": "sleeping",
    "microwave": "heating food",
    "mirror": "looking at yourself",
    "monitor": "showing pictures",
    "night stand": "putting things beside the bed",
    "oven": "cooking",
    "pan": "cooking",
    "person": "it is a human being",
    "piano": "playing music",
    "picture": "decorating a wall",
    "plant": "decorating a room",
    "plate": "holding food",
    "plug": "connecting to electricity",
    "pot": "cooking",
    "radiator": "heating a room",
    "railing": "keeping people from falling",
    "refrigerator": "keeping food cold",
    "rug": "covering the floor",
    "shower": "washing",
    "sink": "washing hands",
    "sofa": "sitting",
    "spoon": "eating",
    "staircase": "going up and down",
    "stairs": "going up and down",
    "stool": "sitting",
    "table": "putting things on",
    "television": "watching shows",
    "toilet": "it is part of a bathroom",
    "towel": "drying",
    "traffic sign": "guiding drivers",
    "tree": "giving shade",
    "truck": "carrying things",
    "vase": "holding flowers",
    "wardrobe": "storing clothes",
    "washing machine": "washing clothes",
    "window": "letting in light",
    "wineglass": "drinking wine",
}


def colour_of(caption: str) -> str | None:
    """The colour that a caption names, if any."""
    return next((word for word in caption.split() if word in COLOURS), None)


class Exchange:
    """Draws one (prompt, answer) about an index row; the kinds are mixed by fixed shares, captions first."""

    def __init__(self, labels: Sequence[str]):
        """`labels` are the names that a wrong yes/no question may ask about."""
        self.labels = sorted(labels)

    def draw(self, row: dict[str, Any], rng: np.random.Generator) -> tuple[str, str]:
        """A question that the row's own facts answer, and the answer."""
        label, use = row["name"], USES.get(row["class"] or row["name"])
        kind = rng.random()
        if kind < 0.12 and use:
            return str(rng.choice(USE_PROMPTS)), use
        if kind < 0.20 and (colour := colour_of(row["caption"])):
            return str(rng.choice(COLOUR_PROMPTS)), colour
        if kind < 0.32:
            right = rng.random() < 0.5
            asked = (row["class"] or label) if right else str(rng.choice(self.labels))
            right = right or asked in (label, row["class"])
            return str(rng.choice(YES_NO_PROMPTS)).format(with_article(asked)), "yes" if right else "no"
        common = _common_name(row) if rng.random() < COMMON else None
        if kind < 0.55:
            return str(rng.choice(NAME_PROMPTS)), with_article(common or label)
        return str(rng.choice(CAPTION_PROMPTS)), _common_caption(row, common) if common else row["caption"]

    def draw_pair(
        self,
        one: dict[str, Any],
        other: dict[str, Any],
        rng: np.random.Generator,
        prompts: Sequence[str] = PAIR_PROMPTS,
    ) -> tuple[str, str]:
        """One of some questions about two pictures at once, and the answer that names both in their order."""
        names = (with_article(_common_name(row) or row["name"]) for row in (one, other))
        return str(rng.choice(prompts)), " and ".join(names)


def _common_name(row: dict[str, Any]) -> str | None:
    """The class of a catalogue object, for which it stands there; pictures with a name of their own keep it."""
    return row["class"] if row["pack"] in OBJECT_PACKS and row["class"] not in OWN_NAME else None


def _common_caption(row: dict[str, Any], common: str) -> str:
    """The row's colour and the plain name of its class: "a brown table" for "a brown wooden office table"."""
    colour = colour_of(row["caption"])
    return with_article(f"{colour} {common}" if colour else common)


def all_texts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Every prompt and answer that training can draw: the corpus of the Q-Former's vocabulary."""
    labels = sorted({row[key] for row in rows for key in ("class", "name")} - {None})
    fixed = [*PAIR_PROMPTS, *NAME_PROMPTS, "and", *USE_PROMPTS, *COLOUR_PROMPTS, *COLOURS, *USES.values(), "yes", "no"]
    asked = [prompt.format(with_article(label)) for label in labels for prompt in YES_NO_PROMPTS]
    captions = {row["caption"] for row in rows if row["caption"]}
    captions |= {_common_caption(row, row["class"]) for row in rows if row["class"]}
    return [*fixed, *asked, *sorted(captions)]
