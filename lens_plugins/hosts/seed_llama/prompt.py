"""Prompts of SEED-LLaMA: one conversation as one string, in which pictures stand as their codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..._config import FrozenConfig
from ...errors import ConfigError, InputError
from .vocabulary import BEGIN, END

__all__ = ["COMPOSE", "DESCRIBE", "IMAGINE", "PLACE", "STYLES", "PromptStyle", "place_pictures", "style_of"]

PLACE = "<image>"
"""Where a picture stands in a prompt; without one they stand in front of it."""

DESCRIBE = "Please provide an accurate and concise description of the given image."
IMAGINE = "Please generate an image of this."
COMPOSE = "please generate an image to combine them"
_LAYERS_OF_14B = 40  # of LLaMA2-13B; Vicuna-7B has 32


@dataclass(frozen=True)
class PromptStyle(FrozenConfig):
    """What stands around instructions and replies; the beginning-of-sequence token comes once, in front of all.

    A conversation is ``before instruction after lead reply end before instruction after``.
    """

    before: str
    after: str
    lead: str  # before a reply in the history; the language model writes it by itself
    end: str  # after a reply in the history

    def render(self, instruction: str, history: Sequence[tuple[str, str]] = ()) -> str:
        """The prompt for the next reply.

        Args:
            instruction: pictures already in place.
            history: earlier instructions and replies, pictures in place.
        """
        earlier = "".join(f"{self.before}{asked}{self.after}{self.lead}{reply}{self.end}" for asked, reply in history)
        return f"{earlier}{self.before}{instruction}{self.after}"


STYLES = {
    "vicuna": PromptStyle("USER: ", "\nASSISTANT:", " ", "\n"),
    "llama2": PromptStyle("[INST] ", " [/INST]\n", "", "\n"),
}
"""SEED-LLaMA 8B was tuned from Vicuna-7B, 14B from LLaMA2-chat-13B."""


def style_of(config: Any, named: str | dict[str, Any] | None = None) -> PromptStyle:
    """The style of a language model.

    Args:
        config: transformers' configuration of it; 40 layers or more mean 14B.
        named: overrides that: a name of `STYLES`, or the fields of a `PromptStyle`.

    Raises:
        ConfigError: there is no style of that name, or a field is wrong.
    """
    if isinstance(named, dict):
        return PromptStyle.from_dict(named)
    if named is None:
        named = "llama2" if config.num_hidden_layers >= _LAYERS_OF_14B else "vicuna"
    if named not in STYLES:
        raise ConfigError(f"There is no prompt style {named!r}; known: {', '.join(STYLES)}.")
    return STYLES[named]


def place_pictures(instruction: str, pictures: Sequence[str]) -> str:
    """Put pictures (as codes) where `<image>` stands, or in front where it stands nowhere.

    Raises:
        InputError: `<image>` stands there another number of times than there are pictures, or the instruction holds
            the tokens of pictures themselves.
    """
    if BEGIN in instruction or END in instruction or "<img_" in instruction:
        raise InputError(f"The prompt holds {BEGIN} or a code itself; write {PLACE} where a picture goes.")
    places = instruction.count(PLACE)
    if places == 0:
        return "".join(pictures) + instruction
    if places != len(pictures):
        raise InputError(f"The prompt has {PLACE} {places} times, there are {len(pictures)} pictures to put there.")
    first, *rest = instruction.split(PLACE)
    return first + "".join(picture + text for picture, text in zip(pictures, rest))
