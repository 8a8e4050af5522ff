"""Plug trained modality lenses into frozen multimodal hosts. Names load on first use; importing this is torch-free."""

from typing import TYPE_CHECKING

from ._lazy import lazy_names as _lazy_names
from .errors import LensPluginsError as LensPluginsError

if TYPE_CHECKING:
    from .hosts.base import Host as Host
    from .hosts.loading import load_host as load_host
    from .hosts.messages import Request as Request
    from .hosts.messages import Text as Text
    from .hosts.reply import Reply as Reply
    from .index.table import Index as Index
    from .inputs import ModalityInput as ModalityInput
    from .inputs import read as read
    from .lens.config import LensConfig as LensConfig
    from .lens.lens import Lens as Lens
    from .lens.loading import load_lens as load_lens
    from .serve.client import connect as connect

__version__ = "0.1.0"

_HOME = {
    "load_host": ".hosts.loading",
    "load_lens": ".lens.loading",
    "read": ".inputs",
    "ModalityInput": ".inputs",
    "Host": ".hosts.base",
    "Request": ".hosts.messages",
    "Reply": ".hosts.reply",
    "Text": ".hosts.messages",
    "Lens": ".lens.lens",
    "LensConfig": ".lens.config",
    "Index": ".index.table",
    "connect": ".serve.client",
}
__all__ = [*_HOME, "LensPluginsError", "__version__"]

__getattr__, __dir__ = _lazy_names(__name__, _HOME)
