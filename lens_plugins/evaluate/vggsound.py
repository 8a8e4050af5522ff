"""VGGSound: 15,434 recordings of its test set, 309 classes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from ..errors import InputError
from ..files.jsons import read_json
from .benchmark import Benchmark, Folders, Published, Row, Task
from .checks import whole
from .metrics import TopK
from .sound import BELOW, JSON_BYTES, MISSES, clips_of
from .tables import read_utf8
from .templates import SOUND_AS_IMAGE_12

__all__ = ["BENCHMARK"]


def rows(folders: Folders) -> list[Row]:
    """Of `vggsound_audio-only_val.json`, rows {audio_path, class_labels}: one number each."""
    listed = folders.find("vggsound_audio-only_val.json", below=BELOW)
    return [
        Row(one["audio_path"], folders.data / one["audio_path"], whole(one["class_labels"]))
        for one in read_json(listed, error=InputError, max_bytes=JSON_BYTES)
    ]


def tasks(folders: Folders, rows: Sequence[Row]) -> list[Task]:
    """Names as they stand in the first column of `vggsound_stat.csv`."""
    file = folders.find("vggsound_stat.csv", below=BELOW)
    names = [line[0] for line in csv.reader(io.StringIO(read_utf8(file), newline="")) if line]
    return [Task(names, SOUND_AS_IMAGE_12, TopK((1, 5)))]


BENCHMARK = Benchmark(
    name="vggsound",
    title="VGGSound",
    modality="audio",
    rows=rows,
    tasks=tasks,
    reading=clips_of("vggsound"),
    expected=15434,
    published=(
        Published("ViT-Lens-L", {"top1": 31.7}, "vitlensL_audio.pt"),
        Published("ViT-Lens-B", {"top1": 29.9}, "vitlensB_audio_dur5.pt"),
        Published("ImageBind-H", {"top1": 27.8}),
    ),
    notes=(MISSES,),
)
