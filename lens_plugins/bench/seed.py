"""Where the time of a picture goes on a SEED-LLaMA host: ``python -m lens_plugins.bench.seed``.

Tokenizer, language model and diffusion are timed apart, and what constrained decoding adds to a token beside the token.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..errors import Unsupported
from ..hosts.loading import load_host
from ..hosts.seed_llama.constrain import WholePictures
from ..hosts.seed_llama.host import SeedLlamaHost
from ..inputs import ModalityInput
from .lens import hardware

__all__ = ["Stage", "constraint_seconds", "run", "stages"]

_CALLS = 50  # of the constraint, which takes microseconds


@dataclass(frozen=True)
class Stage:
    """One part of the way from a picture to a picture."""

    name: str
    seconds: float  # median wall clock
    count: int  # of what it makes: tokens, steps
    unit: str


def run(host: SeedLlamaHost | str = "pocket-seed-llama", *, repeats: int = 5, threads: int = 2) -> str:
    """Measure and lay out as a table.

    Args:
        host: a host or its id.
        repeats: counted calls of each part; the medians are shown.
        threads: that torch may use; set back afterwards.

    Raises:
        Unsupported: the host makes no pictures.
    """
    found = load_host(host) if isinstance(host, str) else host
    if not isinstance(found, SeedLlamaHost):
        raise Unsupported(f"{found.name} makes no pictures, so there is nothing to time; give a SEED-LLaMA host.")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = stages(found, repeats)
        constraint = constraint_seconds(found, repeats)
    finally:
        torch.set_num_threads(before)
    token = rows[1].seconds / rows[1].count
    title = f"{found.name}: one picture, {threads} threads, medians of {repeats}; {hardware()}"
    share = (
        f"constrained decoding: {constraint * 1e3:.3f} ms of {token * 1e3:.3f} ms a token ({constraint / token:.1%})"
    )
    return "\n".join([title, *map(_line, rows), share])


def stages(host: SeedLlamaHost, repeats: int) -> list[Stage]:
    """Tokenizer, language model, embedding and diffusion, each alone, in the order in which they run."""
    side, queries = host.vit.image_size, host.vocabulary.queries
    pixels = torch.randn(3, side, side, generator=torch.Generator().manual_seed(0))
    picture = ModalityInput("image", pixels, None)
    codes = host.encode_codes(picture)
    text = host.style.render(host.vocabulary.text(codes[0]) + host.prompt_of(None, 1))
    tokenizer, drawing = host.model.tokenizer, host.drawing
    steps = "steps" if drawing.candidates == 1 else f"steps of {drawing.candidates} candidates and the choice"

    def write() -> object:
        return host.write([text], force_image=True, do_sample=False, max_new_tokens=queries + 1)

    with torch.no_grad():
        return [
            Stage("tokenizer", _median(lambda: host.encode_codes(picture), repeats), queries, "codes"),
            Stage("language model", _median(write, repeats), queries + 1, "tokens"),
            Stage("image embedding", _median(lambda: tokenizer.image_embeds(codes), repeats), 1, "embedding"),
            Stage("diffusion", _median(lambda: host.decode_codes(codes), repeats), drawing.steps, steps),
        ]


def constraint_seconds(host: SeedLlamaHost, repeats: int) -> float:
    """Seconds that constrained decoding adds to a token, at the end of a long reply."""
    head = host.language_model.get_output_embeddings()
    size, device = head.out_features, head.weight.device
    whole = WholePictures(host.vocabulary, size, forced=True, prompt_length=0, max_new_tokens=2048)
    ids = torch.full((1, 1024), host.vocabulary.ids[0], device=device)
    scores = torch.zeros(1, size, device=device)

    def many() -> None:
        for _ in range(_CALLS):
            whole(ids, scores)

    return _median(many, repeats) / _CALLS


def _median(call: Callable[[], object], repeats: int) -> float:
    """Seconds of a call, the first one not counted."""
    call()
    times = []
    for _ in range(repeats):
        _finish()
        start = time.perf_counter()
        call()
        _finish()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _finish() -> None:
    """Wait for the accelerator, which computes while Python goes on."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _line(stage: Stage) -> str:
    each = stage.seconds / stage.count
    return f"{stage.name:18}{stage.seconds * 1e3:>10.1f} ms   {stage.count} {stage.unit}, {each * 1e3:.2f} ms each"


if __name__ == "__main__":
    sys.stdout.write(run() + "\n")
