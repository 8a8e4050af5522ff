"""A file or an array becomes the tensor of its modality: `read`, and one settings class for each modality."""

from typing import TYPE_CHECKING

from .._lazy import lazy_names as _lazy_names

if TYPE_CHECKING:  # lazy: a worker process that reads recordings for us needs none of these, and no torch
    from .audio import AudioSettings as AudioSettings
    from .base import ModalityInput as ModalityInput
    from .base import read as read
    from .depth import DepthSettings as DepthSettings
    from .eeg import EegSettings as EegSettings
    from .image import ImageSettings as ImageSettings
    from .names import parse_source as parse_source
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
    "parse_source": ".names",
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

__getattr__, __dir__ = _lazy_names(__name__, _HOME)
