"""Features of the frozen ViT in, text or pictures out."""

from .base import CodeHost, Host, PrefixHost
from .loading import load_host
from .messages import Reply, Request

__all__ = ["CodeHost", "Host", "PrefixHost", "Reply", "Request", "load_host"]
