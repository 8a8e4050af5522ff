"""What SUN-D and NYU-D share: depth maps of SUN RGB-D as it stores them, and how a lens reads them.

SUN RGB-D's pictures hold millimetres rotated left by three bits: eight times the millimetres up to 8.19 m. ViT-Lens
reads the values as they are stored, and its lens was trained so (`DepthSettings.unit_scale` 8). A lens of true
millimetres (`unit_scale` 1) gets an eighth of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files.jsons import read_json
from ..files.opening import read_bytes
from .benchmark import Folders, Row

if TYPE_CHECKING:
    from ..inputs.settings import InputSettings

__all__ = ["BASELINES", "reading", "rows_of"]

BASELINES = {"kv1": 0.075, "kv2": 0.075, "realsense": 0.095, "xtion": 0.095}  # metres, by camera
_ROTATED = 8.0  # by how much stored values exceed millimetres
_RELEASED = 8.0  # `unit_scale` of the lens that disparity files were made for


def rows_of(folders: Folders, listed: str, label: str, classes: Sequence[str]) -> list[Row]:
    """Rows of a list with `depth_path`, relative to the data folder; where it is absent, `disparity_path`.

    Args:
        folders: of the data set, and of the lists.
        listed: name of the JSON file.
        label: field of a row that holds its class.
        classes: in order.

    Raises:
        InputError: no such list, or a class that is not known.
    """
    found = []
    for one in read_json(folders.find(listed, below="modal_depth/data"), error=InputError):
        if one.get(label) not in classes:
            raise InputError(f"{listed}: {label} {one.get(label)!r} is none of the {len(classes)} classes.")
        name = one["depth_path"]
        ready = not (folders.data / name).is_file() and (folders.data / one.get("disparity_path", name)).is_file()
        name = one["disparity_path"] if ready else name
        file = folders.data / name
        facts = {
            "baseline_m": BASELINES.get(Path(name).parts[0]),
            "intrinsics": file.parents[1] / "intrinsics.txt",
            "ready": ready,
        }
        found.append(Row(name, file, classes.index(one[label]), facts))
    return found


def reading(own: InputSettings, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values as stored, focal length and baseline of the row's own camera.

    Raises:
        InputError: no camera by that folder, no focal length, or a disparity file for another lens than the released.
    """
    scale = own.to_dict()["unit_scale"]
    if facts["ready"]:
        if scale != _RELEASED:
            raise InputError(
                f"Its disparity file is made for lenses of unit_scale {_RELEASED:g}; this lens has {scale:g} and needs "
                "the depth picture."
            )
        return {"kind": "disparity"}
    if facts["baseline_m"] is None:
        raise InputError(f"Its first folder names no camera; known: {', '.join(BASELINES)}.")
    return {
        "kind": "depth_mm",
        "unit_scale": scale / _ROTATED,
        "focal_px": _focal(facts["intrinsics"]),
        "baseline_m": facts["baseline_m"],
    }


def _focal(file: Path) -> float:
    words = read_bytes(file, 2**16).decode("ascii", "replace").split()
    try:
        focal = float(words[0])
    except (IndexError, ValueError):
        focal = 0.0
    if not 0 < focal < 1e5:
        raise InputError(f"{file} begins with no focal length in pixels.")
    return focal
