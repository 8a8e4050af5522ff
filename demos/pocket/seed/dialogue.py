"""What the language model of the pocket SEED reads and writes in training, in the very words of its host's prompts.

Codes to text, text to codes, codes to codes: describe, draw, draw this again, change it, put two in one picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lens_plugins.hosts.seed_llama.prompt import COMPOSE, DESCRIBE, IMAGINE, PLACE, PromptStyle, place_pictures
from lens_plugins.hosts.seed_llama.vocabulary import BEGIN, CODE, END

from ..data.classes import with_article
from ..dialogue import CAPTION_PROMPTS, PAIR_PROMPTS, Exchange, all_texts
from ..packs import Pictures
from .edits import COLOURS, EDITS, INSTRUCTIONS, KINDS
from .scenes import FIRST, PAIR, PLAIN, SCENES, SECOND, Plan

__all__ = ["Said", "Talk", "corpus"]

SHARES = {"describe": 0.1, "draw": 0.16, "again": 0.22, "change": 0.26, "both": 0.26}
LATE_SHARES = {"describe": 0.08, "draw": 0.16, "again": 0.12, "change": 0.4, "both": 0.24}  # changes are learnt last
DIM = 0.5  # share of shown pictures whose codes were read at a glimpse
EARLIER = 0.3  # share of changes that follow a turn of the conversation

DESCRIBE_PROMPTS = (DESCRIBE, *CAPTION_PROMPTS)
DRAW_PROMPTS = ("Please generate an image of {}.", "Generate an image of {}.", "Draw {}.", "A picture of {}.", "{}")
AGAIN_PROMPTS = (IMAGINE, "Generate an image of this.", "Draw this.", "Show me this.", "Make a picture of it.")
BOTH_PROMPTS = (
    f"{PLACE}, {PLACE}, {COMPOSE}",
    f"{PLACE}, {PLACE}, {COMPOSE}",
    f"{PLACE}{PLACE}Put these two in one picture.",
    f"{PLACE}{PLACE}put these two objects in one picture",
    f"{PLACE}{PLACE}Show both side by side.",
    f"{PLACE} and {PLACE} in one picture",
    f"{PLACE}{PLACE}Please generate an image of both.",
)


class Said(NamedTuple):
    """A prompt as the host renders it, and the reply that should follow it, up to the end token."""

    prompt: str
    reply: str


@dataclass(frozen=True)
class Talk:
    """Draws exchanges about the scenes."""

    pictures: Pictures
    plan: Plan
    codes: np.ndarray  # (2, C, Q) of every scene of the plan, as it is and at a glimpse
    style: PromptStyle
    exchange: Exchange
    end: str  # the end-of-sequence token

    def draw(self, rng: np.random.Generator, late: bool = False) -> Said:
        """One exchange; the kinds are mixed by `SHARES`, towards the end of training by `LATE_SHARES`."""
        shares = LATE_SHARES if late else SHARES
        kind = rng.choice(list(shares), p=list(shares.values()))
        return _KINDS[kind](self, int(rng.integers(len(self.plan))), rng)

    def draw_told(self, rng: np.random.Generator) -> Said:
        """A description: short, so that many fit into a step, and by far the hardest to learn."""
        return self.describe(int(rng.integers(len(self.plan))), rng)

    def describe(self, group: int, rng: np.random.Generator) -> Said:
        scene = int(rng.choice(SCENES, p=(0.5, 0.15, 0.15, 0.2)))
        prompt, answer = str(rng.choice(DESCRIBE_PROMPTS)), self.caption(group, scene)
        if scene == PLAIN and self.row(group)["caption"]:
            prompt, answer = self.exchange.draw(self.row(group), rng)
        if scene == PAIR:
            prompt = str(rng.choice((DESCRIBE, *PAIR_PROMPTS)))
        return self.ask(place_pictures(prompt, [self.shown(group, scene, rng)]), f"{self.style.lead}{answer}")

    def draw_named(self, group: int, rng: np.random.Generator) -> Said:
        scene = int(rng.choice(SCENES, p=(0.5, 0.17, 0.17, 0.16)))
        asked = str(rng.choice(DRAW_PROMPTS)).format(self.caption(group, scene))
        return self.ask(asked, self.picture(group, scene))

    def again(self, group: int, rng: np.random.Generator) -> Said:
        scene = int(rng.choice(SCENES, p=(0.7, 0.1, 0.1, 0.1)))
        asked = place_pictures(str(rng.choice(AGAIN_PROMPTS)), [self.shown(group, scene, rng)])
        return self.ask(asked, self.picture(group, scene))

    def change(self, group: int, rng: np.random.Generator) -> Said:
        scene = int(rng.choice((FIRST, SECOND)))
        asked = self.plan.edit(group, scene).instruction(rng)
        if rng.random() >= EARLIER:
            asked = place_pictures(asked, [self.shown(group, PLAIN, rng)])
            return self.ask(asked, self.picture(group, scene))
        named = str(rng.choice(DRAW_PROMPTS)).format(self.caption(group, PLAIN))
        again = place_pictures(str(rng.choice(AGAIN_PROMPTS)), [self.shown(group, PLAIN, rng)])
        earlier = [(named if rng.random() < 0.5 else again, self.picture(group, PLAIN))]
        return Said(self.style.render(asked, earlier), self.picture(group, scene) + self.end)

    def both(self, group: int, rng: np.random.Generator) -> Said:
        shown = [self.shown(one, PLAIN, rng) for one in (group, int(self.plan.partner[group]))]
        return self.ask(place_pictures(str(rng.choice(BOTH_PROMPTS)), shown), self.picture(group, PAIR))

    def ask(self, instruction: str, reply: str) -> Said:
        """A first turn, pictures in place."""
        return Said(self.style.render(instruction), reply + self.end)

    def caption(self, group: int, scene: int) -> str:
        """What a scene shows, in words."""
        thing = self.thing(group)
        if scene == PLAIN:
            return with_article(thing)
        if scene == PAIR:
            return f"{with_article(thing)} and {with_article(self.thing(int(self.plan.partner[group])))}"
        return self.plan.edit(group, scene).caption(thing)

    def row(self, group: int) -> dict[str, Any]:
        """The index row of a group's picture."""
        return self.pictures.rows[self.plan.picture[group]]

    def thing(self, group: int) -> str:
        """The plain name of what a group shows."""
        row = self.row(group)
        return row["class"] or row["name"]

    def shown(self, group: int, scene: int, rng: np.random.Generator) -> str:
        """A picture as somebody shows it: half of the time its codes were read at a glimpse."""
        return self.picture(group, scene, int(rng.random() < DIM))

    def picture(self, group: int, scene: int, reading: int = 0) -> str:
        """A picture as the language model reads and writes it."""
        codes = self.codes[reading, SCENES * group + scene]
        return BEGIN + "".join(CODE.format(code) for code in codes) + END


_KINDS: dict[str, Callable[[Talk, int, np.random.Generator], Said]] = {
    "describe": Talk.describe,
    "draw": Talk.draw_named,
    "again": Talk.again,
    "change": Talk.change,
    "both": Talk.both,
}


def corpus(rows: Sequence[dict[str, Any]], style: PromptStyle) -> list[str]:
    """Every text that training can draw, codes left out: the vocabulary is made of it."""
    things = sorted({row["class"] or row["name"] for row in rows} - {None})
    changes = [
        text.format(EDITS[i].name) for kind, texts in INSTRUCTIONS.items() for text in texts for i in KINDS[kind]
    ]
    captions = [edit.caption(thing) for edit in EDITS for thing in things[:: max(1, len(things) // 50)]]
    asked = [prompt.format(with_article(thing)) for thing in things for prompt in DRAW_PROMPTS]
    fixed = [*DESCRIBE_PROMPTS, *AGAIN_PROMPTS, *(prompt.replace(PLACE, "") for prompt in BOTH_PROMPTS), *COLOURS]
    frame = [style.render(text, [(text, "")]) for text in fixed]
    return [*frame, *fixed, *changes, *captions, *asked, *all_texts(rows)]
