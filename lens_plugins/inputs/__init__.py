"""A file or an array becomes the tensor of its modality: `read`, and one settings class for each modality."""

from .audio import AudioSettings
from .base import ModalityInput, parse_source, read
from .depth import DepthSettings
from .eeg import EegSettings
from .image import ImageSettings
from .point_cloud import PointCloudSettings
from .tactile import TactileSettings

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
