"""What clients of a server may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["ServeSettings"]


@dataclass(frozen=True)
class ServeSettings:
    """What clients may do.

    Args:
        api_key: that requests must bring; None: anyone may ask.
        admin_key: for plugging lenses; None: nobody may.
        allow_domains: from which web addresses are fetched; none: data URIs only.
        lenses: lenses that may be plugged besides the shipped ones: what `load_lens` takes, by the name that a request
            gives.
        hosts: names under which the server may be asked (the Host header); none: any.
        max_body: bytes of one request.
        max_held: bytes of all requests that are being received and answered.
        max_parts: inputs of one request, and texts of one embedding.
        max_pixels: of one picture.
        max_points: of one cloud.
        max_seconds: of one recording.
        max_tokens: of one reply.
        max_choices: replies to one request.
        body_seconds: within which a body must be there.
    """

    api_key: str | None = field(default=None, repr=False)
    admin_key: str | None = field(default=None, repr=False)
    allow_domains: tuple[str, ...] = ()
    lenses: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    max_body: int = 64 * 2**20
    max_held: int = 512 * 2**20
    max_parts: int = 16
    max_pixels: int = 2**25
    max_points: int = 5_000_000
    max_seconds: float = 600.0
    max_tokens: int = 1024
    max_choices: int = 8
    body_seconds: float = 60.0
