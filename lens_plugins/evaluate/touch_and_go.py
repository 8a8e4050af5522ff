"""Touch-and-Go: GelSight frames, by material, hard or soft, rough or smooth.

Two words are misspelt in the original, "ruber" and "meterial"; they stay so, since the published figures have them.
The benchmarks with `_SPELT` are the same with both words spelt right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..errors import InputError
from ..files.jsons import read_json
from .benchmark import Benchmark, Folders, Published, Row, Task
from .checks import whole
from .metrics import TopK
from .sound import JSON_BYTES

__all__ = ["HARD", "HARD_SPELT", "MATERIAL", "MATERIALS", "MATERIAL_SPELT", "ROUGH", "ROUGH_SPELT"]

MATERIALS = (
    "concrete", "plastic", "glass", "wood", "metal", "brick", "tile", "leather", "synthetic fabric", "natural fabric",
    "ruber", "paper", "tree", "grass", "soil", "rock", "gravel", "sand", "plants", "others",
)  # fmt: skip
_SPELT = tuple("rubber" if name == "ruber" else name for name in MATERIALS)
_SHOWS = ("an image of {c}.", "a tactile image of {c}.")
_FEELS = ("the meterial is {c}.", "this type of material is {c}.")
_FEELS_SPELT = ("the material is {c}.", "this type of material is {c}.")
_HARD, _ROUGH = ("hard", "soft"), ("smooth", "rough")


def _rows(listed: str, field: str, classes: int) -> Callable[[Folders], list[Row]]:
    def rows(folders: Folders) -> list[Row]:
        """Rows {gel_path, FIELD}; those that nobody could decide (-1) are left out."""
        file = folders.find(listed, below="modal_tactile/data")
        found = []
        for one in read_json(file, error=InputError, max_bytes=JSON_BYTES):
            label = whole(one[field])
            if type(label) is not int or not -1 <= label < classes:
                raise InputError(
                    f"{file}: {field} of {one['gel_path']} is {label!r}; classes are 0 to {classes - 1}, -1 undecided."
                )
            if label >= 0:
                found.append(Row(one["gel_path"], folders.data / one["gel_path"], label))
        return found

    return rows


MATERIAL = Benchmark(
    name="touch-material",
    title="Touch-and-Go, material",
    modality="tactile",
    rows=_rows("test.json", "material_label", len(MATERIALS)),
    tasks=lambda folders, rows: [Task(MATERIALS, _SHOWS, TopK((1, 5)))],
    published=(Published("ViT-Lens-L", {"top1": 65.8}, "vitlensL_tactile.pt"),),
)
HARD = replace(
    MATERIAL,
    name="touch-hard",
    title="Touch-and-Go, hard or soft",
    rows=_rows("test.json", "hs_label", 2),
    tasks=lambda folders, rows: [Task(_HARD, _FEELS, TopK((1,)))],
    published=(Published("ViT-Lens-L", {"top1": 74.7}, "vitlensL_tactile.pt"),),
)
ROUGH = replace(
    MATERIAL,
    name="touch-rough",
    title="Touch-and-Go, rough or smooth",
    rows=_rows("test_rough.json", "sr_label", 2),
    tasks=lambda folders, rows: [Task(_ROUGH, _FEELS, TopK((1,)))],
    expected=8085,
    published=(Published("ViT-Lens-L", {"top1": 63.8}, "vitlensL_tactile.pt"),),
    notes=("Only four recordings, 56.3 % of whose frames are rough.",),
)

_NOT_THEIRS = "Prompts are spelt right here, those of the published figure are not."
MATERIAL_SPELT = replace(
    MATERIAL,
    name="touch-material-spelt",
    tasks=lambda folders, rows: [Task(_SPELT, _SHOWS, TopK((1, 5)))],
    departs=_NOT_THEIRS,
)
HARD_SPELT = replace(
    HARD,
    name="touch-hard-spelt",
    tasks=lambda folders, rows: [Task(_HARD, _FEELS_SPELT, TopK((1,)))],
    departs=_NOT_THEIRS,
)
ROUGH_SPELT = replace(
    ROUGH,
    name="touch-rough-spelt",
    tasks=lambda folders, rows: [Task(_ROUGH, _FEELS_SPELT, TopK((1,)))],
    departs=_NOT_THEIRS,
)
