"""Features of the frozen ViT in, text or pictures out."""

from .base import CodeHost, Host, PrefixHost
from .loading import load_host
from .messages import Reply, Request, Text

__all__ = ["CodeHost", "Host", "PrefixHost", "Reply", "Request", "Text", "load_host"]
