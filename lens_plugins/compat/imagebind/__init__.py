"""ImageBind's interface on the vitlensL lenses: text comes out ×100, audio ×20, depth ×5, pictures of unit length.

``from lens_plugins.compat.imagebind import data`` and ``from lens_plugins.compat.imagebind.models import
imagebind_model`` in place of ImageBind's own; `ViTLens` is the call of ViT-Lens's `mm_vit_lens`. Vectors are 768 wide,
ImageBind's 1024: what was trained on ImageBind's vectors cannot be used with these.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from .modality import ModalityType as ModalityType

if TYPE_CHECKING:
    from . import data as data
    from . import models as models
    from .data import load_and_transform_audio_data as load_and_transform_audio_data
    from .data import load_and_transform_depth_data as load_and_transform_depth_data
    from .data import load_and_transform_eeg_data as load_and_transform_eeg_data
    from .data import load_and_transform_point_cloud_data as load_and_transform_point_cloud_data
    from .data import load_and_transform_tactile_data as load_and_transform_tactile_data
    from .data import load_and_transform_text as load_and_transform_text
    from .data import load_and_transform_video_data as load_and_transform_video_data
    from .data import load_and_transform_vision_data as load_and_transform_vision_data
    from .models import imagebind_model as imagebind_model
    from .models.imagebind_model import imagebind_huge as imagebind_huge
    from .vitlens import ViTLens as ViTLens

_SENSES = ("vision", "audio", "video", "depth", "point_cloud", "tactile", "eeg")
_LOADERS = ("text", *(f"{name}_data" for name in _SENSES))
_HOME = {
    **{f"load_and_transform_{name}": ".data" for name in _LOADERS},
    "imagebind_huge": ".models.imagebind_model",
    "ViTLens": ".vitlens",
}
_MODULES = {"data": ".data", "models": ".models", "imagebind_model": ".models.imagebind_model"}
__all__ = ["ModalityType", *_MODULES, *_HOME]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return _import_module(_MODULES[name], __name__)
    if name in _HOME:
        return getattr(_import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
