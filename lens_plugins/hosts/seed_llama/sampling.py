"""Sampling with random numbers of one's own: a seed gives the same answer whatever else draws in this process."""

from __future__ import annotations

from threading import Lock
from typing import Any

import torch
from torch import Tensor

from ..prefix import LanguageModel, mean_chance

__all__ = ["Drawn", "generate_seeded"]

_COMMON = Lock()  # torch's common random numbers, which sampling of beams cannot do without


class Drawn:
    """The last logits processor of all: it draws one token of each row, and leaves no other.

    Every row has a generator of its own, so that an answer does not depend on the rows beside it.

    Args:
        seed: of the rows.
        returned: replies to one prompt, whose rows follow one another; the seeds of them do, too.
    """

    def __init__(self, seed: int, returned: int = 1) -> None:
        self._seed = seed
        self._returned = returned
        self._generators: list[torch.Generator] = []
        self._chances: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # (B, T), (B, V) -> (B, V)
        # made here, where the device is known
        if not self._generators:
            seeds = (self._seed + row % self._returned for row in range(len(scores)))
            self._generators = [torch.Generator(scores.device).manual_seed(seed) for seed in seeds]
        rows = zip(scores.softmax(dim=-1), self._generators)
        drawn = torch.stack([torch.multinomial(chances, 1, generator=own) for chances, own in rows])  # (B, 1)
        self._chances.append(scores.log_softmax(dim=-1).gather(1, drawn))
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn, 0.0)

    @property
    def chances(self) -> Tensor:
        """Logarithms of the chances of what was drawn, (B, T)."""
        return torch.cat(self._chances, dim=1)


def generate_seeded(model: LanguageModel, seed: int, **options: Any) -> Any:
    """transformers' `generate`, in which sampling leaves torch's common random numbers alone.

    Sampling of several beams does use them: such calls wait for one another, and what others draw meanwhile counts.

    Args:
        seed: of sampling; the same numbers as after ``torch.manual_seed(seed)`` for one prompt. Of several replies to
            one prompt each has the seed after that of the one before.
        options: of `generate`.

    Returns:
        What `generate` returns. Where scores were asked for, sampling too has `sequences_scores` (B,).
    """
    if not options.get("do_sample"):
        return model.generate(**options)
    # transformers draws whole beams inside of its search, where no processor reaches
    if options.get("num_beams", 1) > 1:
        devices = [options["input_ids"].device]
        with _COMMON, torch.random.fork_rng([device for device in devices if device.type == "cuda"]):
            torch.manual_seed(seed)
            return model.generate(**options)

    def decode(model: Any, input_ids: Tensor, *, logits_processor: Any, generation_config: Any, **more: Any) -> Any:
        drawn = Drawn(seed, options.get("num_return_sequences") or 1)
        # behind temperature, top_p and their like, which transformers has put in by now
        logits_processor.append(drawn)
        generation_config.do_sample = False  # of a copy; the token drawn is the only one left
        more |= {"streamer": options.get("streamer")}  # which `generate` does not hand to decoders from outside
        made = model._sample(input_ids, logits_processor=logits_processor, generation_config=generation_config, **more)
        if not isinstance(made, Tensor):
            new = made.sequences[:, input_ids.shape[1] :]
            made.sequences_scores = mean_chance(drawn.chances[:, : new.shape[1]], new, options.get("pad_token_id"))
        return made

    return model.generate(custom_generate=decode, **options)
