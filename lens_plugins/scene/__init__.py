"""Find things in a room: a scan becomes instances, instances become vectors, a query of any modality ranks them."""

from typing import TYPE_CHECKING

from .._lazy import lazy_names as _lazy_names

if TYPE_CHECKING:  # lazy: the command line names this room before it needs torch
    from .data import Crop as Crop
    from .data import Instance as Instance
    from .data import Scene as Scene
    from .output import write_ply as write_ply
    from .output import write_rrd as write_rrd
    from .ranking import Found as Found
    from .ranking import SceneVectors as SceneVectors
    from .ranking import embed_scene as embed_scene
    from .ranking import search_scene as search_scene
    from .reading import read_scene as read_scene

_HOME = {
    "Crop": ".data",
    "Found": ".ranking",
    "Instance": ".data",
    "Scene": ".data",
    "SceneVectors": ".ranking",
    "embed_scene": ".ranking",
    "read_scene": ".reading",
    "search_scene": ".ranking",
    "write_ply": ".output",
    "write_rrd": ".output",
}

__all__ = [
    "Crop",
    "Found",
    "Instance",
    "Scene",
    "SceneVectors",
    "embed_scene",
    "read_scene",
    "search_scene",
    "write_ply",
    "write_rrd",
]

__getattr__, __dir__ = _lazy_names(__name__, _HOME)
