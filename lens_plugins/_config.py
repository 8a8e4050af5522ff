"""The base of every configuration: a frozen dataclass that refuses what it does not know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from typing_extensions import Self

from .errors import ConfigError

__all__ = ["FrozenConfig", "trait"]

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {  # by annotation: what a value may be, and the noun for it
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a finite number"),
    "str": ((str,), "a word"),
    "bool": ((bool,), "true or false"),
    "tuple": ((tuple,), "a list"),
}


@dataclass(frozen=True)
class FrozenConfig:
    """A set of named values, checked where it is made; `from_dict(to_dict(c)) == c`."""

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Build from plain values (lists become tuples).

        Raises:
            ConfigError: an unknown or missing field, a value of another kind, or one that the class's own check
                refuses.
        """
        if not isinstance(raw, Mapping):
            raise ConfigError(f"{cls.__name__} is built from named values, not from {raw!r}.")
        known = {f.name: f for f in fields(cls)}
        for name in sorted(raw.keys() - known.keys(), key=str):
            near = get_close_matches(str(name), known, n=1)
            raise ConfigError(
                f"{cls.__name__} has no field {name!r}"
                + (f"; did you mean {near[0]!r}?" if near else f". It has: {', '.join(sorted(known))}.")
            )
        # JSON has lists alone; the fields of a frozen class are tuples.
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}
        for name, value in values.items():
            cls._check_kind(known[name], value)
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"{cls.__name__} cannot be built: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def _require(self, holds: bool, sentence: str) -> None:
        """Refuse a value; `sentence` names the field, its value and what would be right."""
        if not holds:
            raise ConfigError(f"{type(self).__name__}: {sentence}")

    def _check_kinds(self) -> None:
        """Refuse a word where a number belongs, for classes that are built by hand as well as from files."""
        for field in fields(self):
            self._check_kind(field, getattr(self, field.name))

    @classmethod
    def _check_kind(cls, field: Field[Any], value: Any) -> None:
        """Compare one value with its annotation; annotations beside those of `_KINDS` are not compared."""
        text = field.type.__name__ if isinstance(field.type, type) else str(field.type)
        kind, _, rest = text.partition(" | ")
        kind = kind.partition("[")[0]
        if kind not in _KINDS or (value is None and rest == "None"):
            return
        types, noun = _KINDS[kind]
        # In Python True is a whole number, too.
        fits = isinstance(value, types) and isinstance(value, bool) == (kind == "bool")
        numbers = value if isinstance(value, tuple) else (value,)
        if not fits or any(isinstance(n, float) and not math.isfinite(n) for n in numbers):
            raise ConfigError(f"{cls.__name__}: {field.name} is {value!r}; it must be {noun}.")


def trait(owner: Any, name: str, base: type) -> Any:
    """What a class or an object says of itself under `name`, or what `base` says for those that say nothing.

    Packages of others may bring configurations and embeddings that do not derive from our bases. What such a class
    leaves out behaves as if it were inherited: functions are bound to it, properties are read from it.
    """
    if hasattr(owner, name):
        return getattr(owner, name)
    # Read from the class's own dictionary, functions and properties are not yet bound to the base.
    default = next(vars(cls)[name] for cls in base.__mro__ if name in vars(cls))
    if not hasattr(default, "__get__"):
        return default
    return default.__get__(None, owner) if isinstance(owner, type) else default.__get__(owner, type(owner))
