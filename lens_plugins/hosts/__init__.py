"""Features of the frozen ViT in, text or pictures out."""

from typing import TYPE_CHECKING

from .._lazy import lazy_names as _lazy_names

if TYPE_CHECKING:  # lazy: a client of a server needs replies and no torch
    from .base import CodeHost as CodeHost
    from .base import Host as Host
    from .base import PrefixHost as PrefixHost
    from .loading import load_host as load_host
    from .messages import Request as Request
    from .messages import Text as Text
    from .reply import Reply as Reply

_HOME = {
    "CodeHost": ".base",
    "Host": ".base",
    "PrefixHost": ".base",
    "Reply": ".reply",
    "Request": ".messages",
    "Text": ".messages",
    "load_host": ".loading",
}
__all__ = [*_HOME]

__getattr__, __dir__ = _lazy_names(__name__, _HOME)
