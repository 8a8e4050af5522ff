"""A file or an array becomes the tensor of its modality: `read`, and one settings class for each modality."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # lazy: a worker process that reads recordings for us needs none of these, and no torch
    from .audio import AudioSettings as AudioSettings
    from .base import ModalityInput as ModalityInput
    from .base import parse_source as parse_source
    from .base import read as read
    from .depth import DepthSettings as DepthSettings
    from .eeg import EegSettings as EegSettings
    from .image import ImageSettings as ImageSettings
    from .point_cloud import PointCloudSettings as PointCloudSettings
    from .tactile import TactileSettings as TactileSettings

_HOME = {
    "AudioSettings": ".audio",
    "DepthSettings": ".depth",
    "EegSettings": ".eeg",
    "ImageSettings": ".image",
    "ModalityInput": ".base",
    "PointCloudSettings": ".point_cloud",
    "TactileSettings": ".tactile",
    "parse_source": ".base",
    "read": ".base",
}

__all__ = [
    "AudioSettings",
    "DepthSettings",
    "EegSettings",
    "ImageSettings",
    "ModalityInput",
    "PointCloudSettings",
    "TactileSettings",
    "parse_source",
    "read",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name], __name__), name)
