"""A conversation with SEED-LLaMA: what was shown and what it drew stay in the prompt as their codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .messages import SeedReply
from .prompt import place_pictures

if TYPE_CHECKING:
    from ...inputs.base import Source
    from ..messages import Seen
    from .host import SeedLlamaHost

__all__ = ["SeedChat"]


class SeedChat:
    """Turn by turn; nothing is encoded twice.

    Attributes:
        history: instructions and replies so far, pictures as their codes.
    """

    def __init__(self, host: SeedLlamaHost) -> None:
        self._host = host
        self.history: list[tuple[str, str]] = []

    def say(
        self,
        prompt: str,
        inputs: Source | Sequence[Source] | Seen | None = None,
        *,
        fuse: str | None = None,
        clips: int | None = None,
        **generation: Any,
    ) -> SeedReply:
        """Say something, show something, or have what was drawn changed: ``say("Make it red.", force_image=True)``.

        Args:
            prompt: ``<image>`` in it is where an input stands; without one inputs stand in front.
            inputs: what is new in this turn; earlier ones need not be given again.
            generation: as in `SeedLlamaHost.generate`.

        Raises:
            InputError: the conversation has become longer than the language model reads.
        """
        host = self._host
        if inputs is None:
            instruction = place_pictures(prompt, [])
        else:
            (instruction,) = host.place([host.look(inputs, fuse=fuse, clips=clips)], [prompt])
        (reply,), (written,) = host.reply([host.style.render(instruction, self.history)], **generation)
        self.history = [*self.history, (instruction, host.vocabulary.markup(written))]
        return reply

    def reset(self) -> None:
        """Forget the conversation."""
        self.history = []
