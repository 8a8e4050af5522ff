"""NYU-D: depth maps of NYU Depth v2's test set; 16 prompts, seven of which count as "others".

The list of the 795 training maps, which ViT-Lens's code calls "val1", is never read: all of it lies in SUN RGB-D's
training set.
"""

from __future__ import annotations

from .benchmark import Benchmark, Published, Task
from .metrics import TopK
from .sunrgbd import reading, rows_of
from .templates import SCENES_19

__all__ = ["BENCHMARK", "CLASSES", "OTHERS"]

OTHERS = ("playroom", "study", "reception room", "office kitchen", "computer room", "study space", "lobby")
CLASSES = (
    "bedroom", "living room", "kitchen", "bathroom", "dining room", "office", "home office", "classroom", "bookstore",
    *OTHERS,
)  # fmt: skip
_MERGED = tuple(len(CLASSES) if name in OTHERS else number for number, name in enumerate(CLASSES))

BENCHMARK = Benchmark(
    name="nyu-d",
    title="NYU-D",
    modality="depth",
    rows=lambda folders: rows_of(folders, "NYU-Depth-v2_val.json", "cleaned_label", CLASSES),
    tasks=lambda folders, rows: [Task(CLASSES, SCENES_19, TopK((1, 5), merged=_MERGED))],
    reading=reading,
    expected=654,
    published=(
        Published("ViT-Lens-L", {"top1": 68.5}, "vitlensL_depth.pt"),
        Published("ViT-Lens-B", {"top1": 65.0}),
        Published("ViT-Lens-G", {"top1": 69.0}),
        Published("ImageBind-H", {"top1": 54.0}),
    ),
    notes=("Seven of the 16 prompts count as one class, others; no prompt says that word.",),
)
