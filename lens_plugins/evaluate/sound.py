"""What the benchmarks of sounds share: clips by data set, channel 0, the twelve templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files.jsons import read_json_object
from .benchmark import Folders, Row, Task
from .metrics import CaptionRecall
from .pairs import texts_of
from .tables import read_table

if TYPE_CHECKING:
    from ..inputs.settings import InputSettings

__all__ = ["BELOW", "CLIPS", "JSON_BYTES", "MISSES", "UNIT_CAPTIONS", "caption_rows", "caption_tasks", "clips_of"]

BELOW = "modal_audio/data"
JSON_BYTES = 128 * 2**20

CLIPS = {  # seconds of a clip, as the lens was trained -> clips of a recording, by data set
    2.0: {"audioset": 6, "esc50": 3, "clotho": 10, "vggsound": 6, "audiocaps": 6},
    5.0: {"audioset": 3, "esc50": 2, "clotho": 6, "vggsound": 3, "audiocaps": 3},
    8.0: {"audioset": 2, "esc50": 2, "clotho": 6, "vggsound": 2, "audiocaps": 2},
    10.0: {"audioset": 2, "esc50": 2, "clotho": 5, "vggsound": 2, "audiocaps": 2},
}
MISSES = "ViT-Lens puts another random recording in place of one that cannot be read; here it is counted as missed."
UNIT_CAPTIONS = "Captions are of unit length here and not in ViT-Lens; audio to text alone is different by it."


def clips_of(data_set: str) -> Callable[[InputSettings, Mapping[str, Any]], Mapping[str, Any]]:
    """How a data set's recordings are read: so many clips, and the first channel alone, as the original does.

    A lens of another clip length keeps its own number of clips.
    """

    def reading(own: InputSettings, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        clips = CLIPS.get(own.to_dict()["clip_seconds"], {}).get(data_set)
        return {"channel": 0} if clips is None else {"channel": 0, "clips": clips}

    return reading


def caption_rows(folders: Folders, *listed: str) -> list[Row]:
    """Recordings of a table with the columns uniq_id and audio; the target is the number of the row, and its id."""
    file = folders.find(*listed, below=BELOW)
    lines = read_table(file, ("uniq_id", "audio"), delimiter="\t", quoted=False)
    return [
        Row(line["audio"], folders.data / line["audio"], (number, line["uniq_id"]))
        for number, (_, line) in enumerate(lines)
    ]


def caption_tasks(folders: Folders, rows: Sequence[Row], *texts: str) -> list[Task]:
    """All captions of the rows' recordings, raw, as the JSON file has them: uniq_id -> captions."""
    file = folders.find(*texts, below=BELOW)
    written = read_json_object(file, error=InputError, max_bytes=JSON_BYTES)
    captions: list[str] = []
    owners: list[tuple[int]] = []
    for row in rows:
        number, name = row.target
        if not written.get(name):
            raise InputError(f"{file} has no captions of {name}.")
        # A text alone would be cut into letters.
        own = texts_of(written[name]) if isinstance(written[name], list) else None
        if own is None:
            raise InputError(f"{file}: the captions of {name} must be a list of texts that are not empty.")
        captions += own
        owners += [(number,)] * len(own)
    return [Task(captions, ("{c}",), CaptionRecall(tuple(owners)), lambda target: target[0])]
