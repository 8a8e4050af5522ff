"""What a client sent, as bytes with a name: read by threads, kept in memory alone."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Upload"]


@dataclass(frozen=True)
class Upload:
    """The content of one file.

    Args:
        content: its bytes.
        name: what the client calls it; only its ending counts, and it is never opened as a path.
        modality: what it is, where neither ending nor content says it.
    """

    content: bytes
    name: str = ""
    modality: str | None = None
