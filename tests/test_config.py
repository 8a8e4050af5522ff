"""The base of every configuration: kinds of values, and what classes of others inherit without deriving."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from lens_plugins._config import FrozenConfig, trait
from lens_plugins.errors import ConfigError


@dataclass(frozen=True)
class Cup(FrozenConfig):
    size: int = 1
    volume: float = 0.5
    colour: str | None = None
    handles: tuple[float, ...] = ()
    hot: bool = False


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"size": "big"}, "Cup: size is 'big'; it must be a whole number"),
        ({"size": 1.5}, "size is 1.5; it must be a whole number"),
        ({"size": True}, "size is True; it must be a whole number"),
        ({"size": None}, "size is None; it must be a whole number"),
        ({"volume": float("nan")}, "volume is nan; it must be a finite number"),
        ({"volume": "much"}, "volume is 'much'; it must be a finite number"),
        ({"handles": [1.0, float("inf")]}, r"handles is \(1.0, inf\); it must be a list"),
        ({"handles": 3}, "handles is 3; it must be a list"),
        ({"colour": 3}, "colour is 3; it must be a word"),
        ({"hot": 1}, "hot is 1; it must be true or false"),
        ({"colr": "red"}, "Cup has no field 'colr'; did you mean 'colour'"),
        ({3: 4}, "Cup has no field 3"),
        ([1], r"Cup is built from named values, not from \[1\]"),
    ],
)
def test_values_of_another_kind_are_refused(raw, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Cup.from_dict(raw)


def test_values_of_its_kind_are_not():
    cup = Cup.from_dict({"size": 2, "volume": 1, "colour": None, "handles": [1, 2.5]})
    assert cup == Cup(2, 1, None, (1, 2.5))
    assert Cup.from_dict(cup.to_dict()) == cup


class Base:
    colour = "white"

    @classmethod
    def make(cls):
        return cls

    @property
    def double(self):
        return 2 * self.size

    def add(self, more):
        return self.size + more


class Foreign:
    size = 4


class Telling(Foreign):
    colour = "red"


def test_what_a_class_leaves_out_behaves_as_if_inherited():
    assert trait(Foreign(), "colour", Base) == "white"
    assert trait(Foreign, "make", Base)() is Foreign
    assert trait(Foreign(), "double", Base) == 8
    assert trait(Foreign(), "add", Base)(3) == 7
    assert trait(Telling(), "colour", Base) == "red"
