"""What the shipped host says of its held-out objects, beside simpler systems: ``lens-plugins bench captions``.

No captions by people ship for these objects, and no training pairs. So the references are "a NAME" of the class and
its other names, and the nearest caption and the linear probe learn from the other held-out objects.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..evaluate.caption_page import write_page
from ..evaluate.captions import SYSTEMS, Setting, Thing, compare_captions
from ..hosts.loading import load_host
from ..lens.loading import load_lens
from .heldout import open_objects
from .lens import hardware

__all__ = ["run"]

_GENERATION = {"num_beams": 1, "max_new_tokens": 16}
_SHIPS = (
    "References are names with an article: captions by people do not ship. Nearest and probe learn from the other "
    "held-out objects: training pairs do not ship either."
)


def run(
    host: str = "pocket-instructblip",
    lens: str = "pocket-point-cloud",
    *,
    objects: int | None = None,
    page: Path | None = None,
    note: Callable[[str], Any] = lambda line: None,
) -> str:
    """Measure; returns a Markdown table, and writes a page of all inputs and answers where one is asked for.

    Args:
        host: which host writes.
        lens: which point cloud lens.
        objects: how many; None: all.
        page: an HTML file.
        note: called with a line now and then.

    Raises:
        CheckpointError: the held-out cases are not in this installation.
    """
    things = [
        Thing(each.object, each.cloud, "point_cloud", tuple(map(_article, (each.label, *each.words))), each.label,
              each.words, each.pictures[0])
        for each in open_objects()
    ][:objects]  # fmt: skip
    loaded = load_host(host)
    loaded.plug(load_lens(lens))
    result = compare_captions(Setting(loaded, things, generation=_GENERATION), list(SYSTEMS))
    if page is not None:
        write_page(result, loaded, page, title=f"{host}: {len(things)} held-out objects")
        note(f"page: {page}")
    head = "| system | BLEU-1 | ROUGE-L | CIDEr | similarity | names the class |"
    lines = [f"{len(result.things)} held-out objects; {hardware()}", "", head, "| --- | --- | --- | --- | --- | --- |"]
    for name, scores in result.scores.items():
        lines.append(f"| {_TITLES[name]} | {' | '.join(scores.shown()[1:])} |")
    return "\n".join([*lines, "", _SHIPS])


_TITLES = {
    "lens": "through the lens",
    "picture": "from one picture",
    "nearest": "nearest caption of another object",
    "probe": "linear probe, the class alone",
}


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
