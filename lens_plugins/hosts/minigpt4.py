"""MiniGPT-4, first version: BLIP-2's ViT and Q-Former, one linear layer, and Vicuna or LLaMA-2.

The picture's vectors stand inside the prompt, which is that of its training: ``###Human: <Img>``, vectors, ``</Img>
question ###Assistant:``. It is driven as transformers' BLIP-2 with a LLaMA; `convert.from_minigpt4` builds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..errors import ConfigError
from .instructblip import Blip2Host
from .prefix import HERE

__all__ = ["GENERATION", "TEMPLATES", "TEMPLATE_FIELD", "MiniGPT4Host", "PictureTemplate", "template_name"]

GENERATION = {"num_beams": 1, "max_new_tokens": 300, "min_new_tokens": 1, "repetition_penalty": 1.05}
"""Those of MiniGPT-4's demo, except that it samples with temperature 1; nothing is sampled here unless asked for."""
TEMPLATE_FIELD = "minigpt4_template"
"""Of config.json: the name of the template."""
_LLAMA_2_POSITIONS = 4096


@dataclass(frozen=True)
class PictureTemplate:
    """What stands around pictures and question.

    Args:
        before: in front of the first picture.
        after: behind the last picture; the question stands in place of ``{}``.
        stop: where an answer ends, besides the end token.
    """

    before: str
    after: str
    stop: str | None = None


TEMPLATES = {
    "vicuna": PictureTemplate("###Human: <Img>", "</Img> {} ###Assistant: ", "###"),
    "llama2": PictureTemplate("[INST] <Img>", "</Img> {} [/INST] "),
}
"""As MiniGPT-4 was trained with Vicuna v0 and with LLaMA-2-chat."""
_BETWEEN = "</Img><Img>"


class MiniGPT4Host(Blip2Host):
    """MiniGPT-4: several pictures, and clips of a recording, each stand in an ``<Img>…</Img>`` of their own."""

    default_prompt: str = "Describe this image in detail."
    defaults: ClassVar[Mapping[str, Any]] = GENERATION

    def __init__(self, model: nn.Module, **about: Any) -> None:
        super().__init__(model, **about)
        # a folder whose config.json does not say it is told by its language model
        named = getattr(model.config, TEMPLATE_FIELD, None)
        self.template = TEMPLATES[template_name(named, self.language_model.config)]
        self.stop = self.template.stop

    @classmethod
    def accepts(cls, model: nn.Module) -> bool:
        """Whether `from_minigpt4` made it."""
        return hasattr(getattr(model, "config", None), TEMPLATE_FIELD)

    def prompt_ids(self, prompt: str, count: int = 1) -> list[int]:
        """The template around the prompt, each piece tokenised by itself as MiniGPT-4 does."""
        # joined first and tokenised then, words at the seams would be others
        ids = [self._words().bos_token_id, *self._ids(self.template.before, special=False), HERE]
        ids += [*self._ids(_BETWEEN, special=False), HERE] * (count - 1)
        # no format(): a question may have braces of its own
        return ids + self._ids(self.template.after.replace("{}", prompt), special=False)


def template_name(given: str | None, config: Any) -> str:
    """The template of a language model.

    Args:
        given: a name of `TEMPLATES`; None: by the number of positions, which LLaMA-2 has twice as many of.
        config: transformers' configuration of the language model.

    Raises:
        ConfigError: there is no template of that name.
    """
    # LLaMA and Vicuna v0 have 2048
    if given is None:
        return "llama2" if config.max_position_embeddings >= _LLAMA_2_POSITIONS else "vicuna"
    if given not in TEMPLATES:
        raise ConfigError(f"There is no template {given!r} of MiniGPT-4; known: {', '.join(TEMPLATES)}.")
    return given
