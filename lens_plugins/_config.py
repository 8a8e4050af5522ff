"""The base of every configuration: a frozen dataclass that refuses what it does not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from typing_extensions import Self

from .errors import ConfigError

__all__ = ["FrozenConfig"]


@dataclass(frozen=True)
class FrozenConfig:
    """A set of named values, checked where it is made; `from_dict(to_dict(c)) == c`."""

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Build from plain values (lists become tuples).

        Raises:
            ConfigError: an unknown or missing field, or a value that the class's own check refuses.
        """
        known = {f.name for f in fields(cls)}
        for name in sorted(raw.keys() - known):
            near = get_close_matches(name, known, n=1)
            raise ConfigError(
                f"{cls.__name__} has no field {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else f". It has: {', '.join(sorted(known))}.")
            )
        try:
            return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()})
        except TypeError as error:
            raise ConfigError(f"{cls.__name__} cannot be built: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def _require(self, holds: bool, sentence: str) -> None:
        """Refuse a value; `sentence` names the field, its value and what would be right."""
        if not holds:
            raise ConfigError(f"{type(self).__name__}: {sentence}")
