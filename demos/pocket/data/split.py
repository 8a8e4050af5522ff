"""Training and held-out objects: by object, stratified by class, stable, with near-duplicates on one side."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from .clouds import shape_ratios

__all__ = ["HELD_OUT", "base_name", "find_groups", "hash01", "split_groups"]

HELD_OUT = 0.25
SAME, ALIKE = 1.2, 1.6  # shape ratios up to which two clouds are one shape, and one shape if their names say so too
VARIANT = re.compile(
    r"(snow|opened|closed|open|bended|textured|shadows|whites|sport|[-_. ]*\d+[a-z]?|[-_ ])+$", re.IGNORECASE
)
FAMILY = re.compile(r"^(rounded|square|wall) (.*(plug|switch))$", re.IGNORECASE)


def hash01(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def base_name(catalogue: str, creator: str, name: str, stem: str) -> str:
    """What models that differ only in a counter or a variant share: "Scopia||pine" for pine and pineSnow."""
    if family := FAMILY.match(name):
        return f"{catalogue}||{family[1].lower()} {family[3].lower()}"
    return f"{catalogue}|{creator}|{VARIANT.sub('', stem).lower()}"


def find_groups(
    buckets: Mapping[str, str], bases: Mapping[str, str], clouds: Mapping[str, np.ndarray]
) -> dict[str, str]:
    """The group of each object id.

    Args:
        buckets: class or name of each object; only within one are shapes compared.
        bases: `base_name` of each object. Two of one base name belong together if their shapes are `ALIKE`, or
            if it names a family of plates.
        clouds: (P, 3) points of each object, P at least 2,048.
    """
    parent = {key: key for key in buckets}

    def root(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    members = defaultdict(list)
    for key, bucket in buckets.items():
        members[bucket].append(key)
    for keys in members.values():
        for i, j, ratio in shape_ratios([clouds[key] for key in keys], ALIKE):
            if ratio <= SAME or bases[keys[i]] == bases[keys[j]]:
                parent[root(keys[j])] = root(keys[i])
        families: dict[str, str] = {}
        for key in keys:
            if "||" in bases[key]:
                parent[root(key)] = root(families.setdefault(bases[key], key))
    return {key: root(key) for key in buckets}


def split_groups(groups: Mapping[str, str], fraction: float = HELD_OUT, keep: Iterable[str] = ()) -> dict[str, str]:
    """The side, "train" or "test", of each object of one class: groups by their hashes, until `fraction` is held out.

    A group that would overshoot (by more than an object, the first one) is passed over; if all would, the smallest is
    held out unless it is most of the class; objects in `keep` and their groups stay in train.
    """
    members = defaultdict(list)
    for key, group in groups.items():
        members[group].append(key)
    kept = {groups[key] for key in keep}
    wanted, test = round(fraction * len(groups)), set()
    for group in sorted(members, key=lambda g: hash01(min(members[g]))):
        if group not in kept and len(test) + len(members[group]) <= wanted + (len(test) == 0):
            test.update(members[group])
        if len(test) >= wanted:
            break
    smallest = min((m for g, m in members.items() if g not in kept), key=lambda m: (len(m), min(m)), default=[])
    if wanted and not test and len(smallest) <= len(groups) / 2:
        test.update(smallest)
    return {key: "test" if key in test else "train" for key in groups}
