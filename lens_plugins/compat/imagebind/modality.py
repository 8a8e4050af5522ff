"""Names of modalities: ImageBind's six, three more, and what ViT-Lens calls them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from ...errors import ConfigError, Unsupported

__all__ = ["ModalityType", "modalities_of", "modality_of"]


class ModalityType:
    """Keys of what goes into a model and comes out of it; plain strings."""

    VISION = "vision"
    TEXT = "text"
    AUDIO = "audio"
    THERMAL = "thermal"
    DEPTH = "depth"
    IMU = "imu"
    POINT_CLOUD = "point_cloud"
    TACTILE = "tactile"
    EEG = "eeg"
    IMAGE = VISION  # as ViT-Lens calls them
    PC = POINT_CLOUD
    VIDEO = "video"


_OURS = {"vision": "image", **dict.fromkeys(("text", "audio", "depth", "point_cloud", "tactile", "eeg"))}
_ALSO = {"image": "image", "pc": "point_cloud"}  # ViT-Lens's own strings
_WITHOUT = {
    "thermal": "thermal pictures",
    "imu": "the movements of an IMU",
    "video": "video; take pictures out of it and give those as vision",
}


def modalities_of(keys: str | Iterable[str] | None) -> set[str] | None:
    """What several keys are called in this package, or one; None stays None.

    Raises:
        Unsupported: as `modality_of`.
        ConfigError: as `modality_of`.
    """
    if keys is None:
        return None
    return {modality_of(key) for key in ([keys] if isinstance(keys, str) else keys)}


def modality_of(key: object) -> str:
    """What a key is called in this package: "vision" is "image", all others keep their names.

    Raises:
        Unsupported: thermal pictures, IMU and video, for which there is no lens.
        ConfigError: no modality at all.
    """
    name = str(key)
    if name in _WITHOUT:
        raise Unsupported(f"There is no lens for {_WITHOUT[name]}. There are: {', '.join(_OURS)}.")
    if name not in _OURS and name not in _ALSO:
        near = get_close_matches(name, [*_OURS, *_ALSO], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f". Known: {', '.join(_OURS)}."
        raise ConfigError(f"There is no modality {name!r}{hint}")
    return _ALSO.get(name) or _OURS[name] or name
