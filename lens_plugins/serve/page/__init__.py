"""A page to play with: gradio on the server's own app, engine and limits."""

from .mounting import mount as mount

__all__ = ["mount"]
