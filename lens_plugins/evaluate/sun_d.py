"""SUN-D: depth maps of SUN RGB-D's test set, 19 scenes."""

from __future__ import annotations

from .benchmark import Benchmark, Published, Task
from .metrics import TopK
from .sunrgbd import reading, rows_of
from .templates import SCENES_19

__all__ = ["BENCHMARK", "CLASSES"]

CLASSES = (
    "bathroom", "bedroom", "classroom", "computer room", "conference room", "corridor", "dining area", "dining room",
    "discussion area", "furniture store", "home office", "kitchen", "lab", "lecture theatre", "library", "living room",
    "office", "rest space", "study space",
)  # fmt: skip

BENCHMARK = Benchmark(
    name="sun-d",
    title="SUN-D",
    modality="depth",
    rows=lambda folders: rows_of(folders, "SUN-RGBD_val.json", "cleaned_label", CLASSES),
    tasks=lambda folders, rows: [Task(CLASSES, SCENES_19, TopK((1, 5)))],
    reading=reading,
    expected=4659,
    published=(
        Published("ViT-Lens-L", {"top1": 52.2}, "vitlensL_depth.pt"),
        Published("ViT-Lens-B", {"top1": 51.4}),
        Published("ViT-Lens-G", {"top1": 54.6}),
        Published("ImageBind-H", {"top1": 35.1}),
    ),
    notes=("ImageBind reads depth in another way: true millimetres, at most 8 m.",),
)
