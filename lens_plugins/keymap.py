"""The one engine that renames checkpoint keys by tables.

A table is a list of rows. A `Rename` moves one key; a `Convert` turns several tensors into others by an operation that
has an inverse. Patterns cover whole keys, never parts of them::

    Rename("blocks.{i}.norm1.{leaf}", "encoder.layers.{i}.layer_norm1.{leaf}")
    Rename("head.**", None)                                      # known and not ours
    Convert(("blocks.{i}.attn.q_bias", "blocks.{i}.attn.v_bias"), ("encoder.layers.{i}.self_attn.qkv.bias",), QV_BIAS)

Between the dots a segment is

* ``{i}``, one letter: a running number; ``{i<39}``: one below 39,
* ``{leaf}``, a longer word: a name (it does not begin with a digit),
* ``**`` at the end: a whole subtree, one segment or more,
* anything else: itself.

Two rows of a table never match one key, so their order does not matter; a table that breaks this cannot be built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TypeAlias

import torch
from torch import Tensor

from .errors import CheckpointError, InternalError

__all__ = [
    "QV_BIAS",
    "TRANSPOSE",
    "Convert",
    "KeyMap",
    "KeyMismatch",
    "Match",
    "Operation",
    "Rename",
    "check_state",
    "compare_state",
    "split",
]

_NUMBER = re.compile(r"\{([A-Za-z])(?:<(\d+))?\}")
_NAME = re.compile(r"\{([A-Za-z_]{2,})\}")
_SHOWN = 40  # names of each kind in a message; the error's attributes hold them all

Bindings: TypeAlias = dict[str, str]


@dataclass(frozen=True)
class Operation:
    """What a `Convert` row does to its tensors, there and back."""

    name: str
    forward: Callable[[Sequence[Tensor]], Sequence[Tensor]]
    backward: Callable[[Sequence[Tensor]], Sequence[Tensor]]

    @property
    def inverse(self) -> Operation:
        """The same operation, the other way round."""
        return Operation(f"inverse of {self.name}", self.backward, self.forward)


@dataclass(frozen=True)
class Rename:
    """One key under another name; target None: known and not ours."""

    source: str
    target: str | None


@dataclass(frozen=True)
class Convert:
    """Several keys that share their indices, turned by an operation into others that use the same indices."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    operation: Operation


Row: TypeAlias = "Rename | Convert"
_Found: TypeAlias = "dict[tuple[Row, tuple[tuple[str, str], ...]], list[str | None]]"


class KeyMismatch(CheckpointError):
    """A state that is not the one expected; every name is in the attributes, each kind sorted."""

    def __init__(self, message: str, match: Match) -> None:
        super().__init__(message)
        self.missing, self.unexpected, self.misshapen = match.missing, match.unexpected, match.misshapen


@dataclass(frozen=True)
class Match:
    """What a table made of a state."""

    tensors: dict[str, Tensor]
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)  # "name (found, expected)"
    ignored: list[str] = field(default_factory=list)  # known and not ours

    def raise_if_partial(self, source: str) -> None:
        """Nothing loads in part.

        Raises:
            KeyMismatch: anything is missing, unexpected or misshapen.
        """
        kinds = (("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", self.misshapen))
        parts = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds if names]
        if parts:
            raise KeyMismatch(f"The tensors of {source} are not the ones expected. {'; '.join(parts)}.", self)


class KeyMap:
    """A checked table of rows.

    Args:
        rows: the table. Two-tuples ``(source, target)`` are read as `Rename` rows.

    Raises:
        InternalError: a malformed pattern, two rows that match one key, a target with an index its source lacks.
    """

    def __init__(self, rows: Iterable[Row | tuple[str, str | None]]) -> None:
        self.rows: tuple[Row, ...] = tuple(Rename(*row) if isinstance(row, tuple) else row for row in rows)
        self._patterns = [(_Pattern(source), row) for row in self.rows for source in _sources(row)]
        # Checked where it is made: a wrong table is a mistake of ours, and shows at import.
        self._check()

    def __add__(self, other: KeyMap) -> KeyMap:
        return KeyMap(self.rows + other.rows)

    def under(self, source: str = "", target: str = "") -> KeyMap:
        """The same table for keys below a prefix (with its dot) on either side."""
        return KeyMap(_prefixed(row, source, target) for row in self.rows)

    def inverse(self) -> KeyMap:
        """The table back: rows that lead nowhere are left out."""
        back: list[Row] = []
        for row in self.rows:
            if isinstance(row, Convert):
                back.append(Convert(row.targets, row.sources, row.operation.inverse))
            elif row.target is not None:
                back.append(Rename(row.target, row.source))
        return KeyMap(back)

    def row_of(self, key: str) -> Row | None:
        """The row that a key falls under."""
        found = self._find(key)
        return None if found is None else found[1]

    def match(
        self, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor] | Iterable[str] | None = None
    ) -> Match:
        """Rename and convert what is there; collect what does not fit.

        Args:
            tensors: the state to read. Tensors are passed on, not copied, except through a `Convert`.
            expected: the names that must come out; a mapping's tensors give their shapes too. None: whatever comes.

        Missing names are given as the source names them.
        """
        found, ignored, unexpected = self._gather(tensors)
        result, incomplete = self._apply(tensors, found)
        if expected is None:
            return Match(result, sorted(incomplete), sorted(unexpected), ignored=sorted(ignored))
        names = set(expected)
        back = self.inverse()
        # What is absent is named as the file would name it: that is what its author can look for.
        missing = set(incomplete) | {s for name in names - result.keys() for s in back._names(name) if s not in tensors}
        unexpected += [source for name in result.keys() - names for source in back._names(name)]
        shapes = expected if isinstance(expected, Mapping) else {}
        return Match(
            result, sorted(missing), sorted(set(unexpected)), _misshapen(result, shapes), ignored=sorted(ignored)
        )

    def convert(
        self,
        tensors: Mapping[str, Tensor],
        expected: Mapping[str, Tensor] | Iterable[str] | None = None,
        *,
        source: str = "the file",
    ) -> dict[str, Tensor]:
        """`match`, strict; `source` names the state in the error.

        Raises:
            KeyMismatch: with every missing, unexpected and misshapen name at once.
        """
        match = self.match(tensors, expected)
        match.raise_if_partial(source)
        return match.tensors

    def _gather(self, keys: Iterable[str]) -> tuple[_Found, list[str], list[str]]:
        """Keys by row and indices, in the order of the row's sources; those that lead nowhere; those without a row."""
        found: _Found = {}
        ignored: list[str] = []
        unexpected: list[str] = []
        for key in keys:
            match = self._find(key)
            if match is None:
                unexpected.append(key)
                continue
            pattern, row, bindings = match
            if not _targets(row):
                ignored.append(key)
            else:
                place = found.setdefault((row, tuple(sorted(bindings.items()))), [None] * len(_sources(row)))
                place[_sources(row).index(pattern.text)] = key
        return found, ignored, unexpected

    def _find(self, key: str) -> tuple[_Pattern, Row, Bindings] | None:
        for pattern, row in self._patterns:
            bindings = pattern.match(key)
            if bindings is not None:
                return pattern, row, bindings
        return None

    @staticmethod
    def _apply(tensors: Mapping[str, Tensor], found: _Found) -> tuple[dict[str, Tensor], list[str]]:
        """Run the rows whose sources are all there; name the absent sources of the others."""
        result: dict[str, Tensor] = {}
        incomplete: list[str] = []
        for (row, bound), keys in found.items():
            bindings = dict(bound)
            absent = [_fill(text, bindings) for text, key in zip(_sources(row), keys) if key is None]
            incomplete += absent
            if absent:
                continue
            values: Sequence[Tensor] = [tensors[key] for key in keys if key is not None]
            if isinstance(row, Convert):
                values = row.operation.forward(values)
            result.update((_fill(text, bindings), value) for text, value in zip(_targets(row), values))
        return result, incomplete

    def _names(self, key: str) -> list[str]:
        """What a key is called on the other side, or itself where no row knows it."""
        found = self._find(key)
        if found is None:
            return [key]
        _, row, bindings = found
        return [_fill(text, bindings) for text in _targets(row)]

    def _check(self) -> None:
        for (a, _), (b, _) in combinations(self._patterns, 2):
            if a.overlaps(b):
                raise InternalError(f"Two rows of a key table match one key: {a.text!r} and {b.text!r}.")
        targets = [(_Pattern(text), row) for row in self.rows for text in _targets(row)]
        for (a, _), (b, _) in combinations(targets, 2):
            if a.overlaps(b):
                raise InternalError(f"Two rows of a key table lead to one key: {a.text!r} and {b.text!r}.")
        for pattern, row in [*self._patterns, *targets]:
            if pattern.subtree and _targets(row):
                raise InternalError(f"A subtree has no target but None: {pattern.text!r}.")
            if len({_Pattern(text).variables for text in (*_sources(row), *_targets(row))}) > 1 and _targets(row):
                raise InternalError(f"The patterns of one row have different indices: {row!r}.")


class _Pattern:
    """One whole-key pattern, compiled."""

    def __init__(self, text: str) -> None:
        self.text = text
        segments = text.split(".")
        self.subtree = segments[-1] == "**"
        self.segments = segments[:-1] if self.subtree else segments
        if any(
            not s or "*" in s or ("{" in s and not (_NUMBER.fullmatch(s) or _NAME.fullmatch(s))) for s in self.segments
        ):
            raise InternalError(f"{text!r} is not a key pattern.")
        self._regex = re.compile(self._expression())
        self._bounds = {m[1]: int(m[2]) for s in self.segments if (m := _NUMBER.fullmatch(s)) and m[2]}

    @property
    def variables(self) -> frozenset[str]:
        return frozenset(self._regex.groupindex)

    def match(self, key: str) -> Bindings | None:
        """The indices of a key, or None where the pattern does not cover it."""
        found = self._regex.fullmatch(key)
        if found is None or any(int(found[name]) >= bound for name, bound in self._bounds.items()):
            return None
        return found.groupdict()

    def overlaps(self, other: _Pattern) -> bool:
        """Whether some key matches both."""
        shorter, longer = sorted((self, other), key=lambda p: len(p.segments))
        if len(shorter.segments) < len(longer.segments) and not shorter.subtree:
            return False
        if len(shorter.segments) == len(longer.segments) and shorter.subtree != longer.subtree:
            return False
        return all(_unify(a, b) for a, b in zip(self.segments, other.segments))

    def _expression(self) -> str:
        seen: set[str] = set()
        parts = [_segment_expression(segment, seen) for segment in self.segments]
        return r"\.".join([*parts, ".+"] if self.subtree else parts)


def _segment_expression(segment: str, seen: set[str]) -> str:
    number = _NUMBER.fullmatch(segment)
    found = number or _NAME.fullmatch(segment)
    if found is None:
        return re.escape(segment)
    variable = found[1]
    if variable in seen:
        return f"(?P={variable})"
    seen.add(variable)
    # No leading zeros: a number must come back as it was written.
    return rf"(?P<{variable}>0|[1-9]\d*)" if number else rf"(?P<{variable}>[^.\d][^.]*)"


def _unify(a: str, b: str) -> bool:
    """Whether one segment can match both."""
    for x, y in ((a, b), (b, a)):
        number, name = _NUMBER.fullmatch(x), _NAME.fullmatch(x)
        if number and not y.startswith("{"):
            return y.isdigit() and int(y) < int(number[2] or int(y) + 1)
        if name and not y.startswith("{"):
            return not y[:1].isdigit()
    # Two numbers may be the same, whatever their bounds, and so may two names.
    if a.startswith("{") and b.startswith("{"):
        return bool(_NUMBER.fullmatch(a)) == bool(_NUMBER.fullmatch(b))
    return a == b


def _fill(text: str, bindings: Bindings) -> str:
    """A pattern with its indices put in."""
    return re.sub(r"\{([A-Za-z_]+)(?:<\d+)?\}", lambda m: bindings[m[1]], text)


def _sources(row: Row) -> tuple[str, ...]:
    return row.sources if isinstance(row, Convert) else (row.source,)


def _targets(row: Row) -> tuple[str, ...]:
    if isinstance(row, Convert):
        return row.targets
    return () if row.target is None else (row.target,)


def _prefixed(row: Row, source: str, target: str) -> Row:
    if isinstance(row, Convert):
        return Convert(tuple(source + s for s in row.sources), tuple(target + t for t in row.targets), row.operation)
    return Rename(source + row.source, None if row.target is None else target + row.target)


def _misshapen(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{name} ({tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)})"
        for name in sorted(tensors.keys() & expected.keys())
        if tensors[name].shape != expected[name].shape
    ]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def compare_state(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Match:
    """A state beside the one a module has: names and shapes."""
    return Match(
        dict(tensors),
        sorted(expected.keys() - tensors.keys()),
        sorted(tensors.keys() - expected.keys()),
        _misshapen(tensors, expected),
    )


def check_state(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, source: str) -> None:
    """`compare_state`, strict; `source` names the state in the error.

    Raises:
        KeyMismatch: with every missing, unexpected and misshapen name at once.
    """
    compare_state(tensors, expected).raise_if_partial(source)


def split(parts: int) -> Operation:
    """One tensor cut into equal parts along its first axis (query, key and value of a fused projection)."""
    return Operation(
        f"split({parts})",
        lambda tensors: [part.contiguous() for part in tensors[0].chunk(parts)],
        lambda tensors: [torch.cat(list(tensors))],
    )


def _join_qv_bias(tensors: Sequence[Tensor]) -> list[Tensor]:
    query, value = tensors
    return [torch.cat([query, torch.zeros_like(query), value])]


def _cut_qv_bias(tensors: Sequence[Tensor]) -> list[Tensor]:
    query, key, value = tensors[0].chunk(3)
    if key.count_nonzero():
        raise CheckpointError(
            f"A key bias must be zero to be left out; {int(key.count_nonzero())} of its {key.numel()} values are not."
        )
    return [query.contiguous(), value.contiguous()]


TRANSPOSE = Operation(
    "transpose", lambda tensors: [tensors[0].T.contiguous()], lambda tensors: [tensors[0].T.contiguous()]
)
QV_BIAS = Operation("[query bias, 0, value bias]", _join_qv_bias, _cut_qv_bias)
