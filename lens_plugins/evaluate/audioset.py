"""AudioSet: recordings of several classes each, mean average precision over 527."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InputError
from ..files.jsons import read_json
from .benchmark import Benchmark, Folders, Published, Row, Task
from .metrics import MeanAveragePrecision
from .sound import BELOW, JSON_BYTES, MISSES, clips_of
from .tables import read_table
from .templates import SOUND_AS_IMAGE_12

__all__ = ["BENCHMARK"]


def rows(folders: Folders) -> list[Row]:
    """Of `audioset_val.json`, rows {audio_path, class_labels}; labels are numbers, or ids as /m/09x0r."""
    listed = folders.find("audioset_val.json", below=BELOW)
    numbers = {name: number for number, (name, _) in enumerate(classes(folders))}
    found = []
    for one in read_json(listed, error=InputError, max_bytes=JSON_BYTES):
        labels = [numbers.get(label, label) for label in one["class_labels"]]
        if not labels or not all(type(label) is int and 0 <= label < len(numbers) for label in labels):
            raise InputError(f"{listed}: {one['audio_path']} has class_labels {one['class_labels']!r}.")
        found.append(Row(one["audio_path"], folders.data / one["audio_path"], tuple(labels)))
    return found


def classes(folders: Folders) -> list[tuple[str, str]]:
    """Ids and display names of `audioset_class_labels_indices.csv` (Google, CC BY 4.0), in its order."""
    file = folders.find("audioset_class_labels_indices.csv", "class_labels_indices.csv", below=BELOW)
    return [(line["mid"], line["display_name"]) for _, line in read_table(file, ("mid", "display_name"))]


def tasks(folders: Folders, rows: Sequence[Row]) -> list[Task]:
    """The display names in lower case."""
    return [Task([name.lower() for _, name in classes(folders)], SOUND_AS_IMAGE_12, MeanAveragePrecision())]


BENCHMARK = Benchmark(
    name="audioset",
    title="AudioSet",
    modality="audio",
    rows=rows,
    tasks=tasks,
    reading=clips_of("audioset"),
    expected=20400,
    published=(
        Published("ViT-Lens-L", {"mAP": 26.7}, "vitlensL_audio.pt"),
        Published("ViT-Lens-B", {"mAP": 26.3}, "vitlensB_audio_dur5.pt"),
        Published("ImageBind-H", {"mAP": 17.6}),
    ),
    notes=(MISSES, "The official list has about 20,400 clips, which nobody has whole any more."),
)
