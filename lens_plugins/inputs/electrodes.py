"""What recordings of every format have in common: labels that say what a channel is, rates, units."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import InputError

__all__ = ["Choose", "Signals", "check_rate", "choose_channels", "electrode", "is_auxiliary", "microvolts"]

RATES = (32, 20_000)  # Hz
Choose = Callable[[Sequence[str]], list[int]]  # labels -> the numbers of the channels that a lens reads, in its order

# words of labels that name no electrode on a scalp
_AUXILIARY = re.compile(
    r"""
    eog | ecg | ekg | emg | erg | (?<![a-z])(?:
    loc | roc | [hv]eo[lrud]?                                                       # eyes
    | exg(?!\ channel) | aux | ana | analog | bip | misc | dc | meg | mag                    # whatever was plugged in
    | gsr | eda | scr | scl | temp | temperature                                # skin
    | resp | respiration | breath | flow | airflow | nasal | oral | cannula | therm | thermistor | tho | thor | thorax
    | abd | abdo | abdomen | chest | belt | effort | snore? | co | etco | cpap  # breath
    | spo | sao | osat | puls | pulse | pleth? | ppg | bvp | hr | ibi | bpm | bp | nibp | art  # heart
    | chin | legs? | lleg | rleg | lat | rat | tib | tibial | body | pos | position | mvmt | nystagm
    | acc[xyz]? | accel | gyr[oxyz]? | gyro[xyz]                                                  # movement
    | status | sti | stim | trig | trigger | events? | mark | markers? | annotations | photic | light | sound | audio
    | mic | dig | digital | batt | battery | counter | sample | time | bursts? | suppr  # what the recorder adds
    | ref | vref | gnd | ground
    )(?![a-z])
    """,
    re.VERBOSE,
)
_TYPED = re.compile(r"^(?:eeg|pol)\s+", re.IGNORECASE)  # "EEG Fp1", as EDF's specification has it
_REFERRED = re.compile(r"\s*-\s*(?:ref|le|ler|ar|avg?|car|cle|[am][12]|a1\+?a2|m1\+?m2)$", re.IGNORECASE)
_EARS_OR_EYES = {"a1", "a2", "m1", "m2", "e1", "e2"}  # unless their letter goes on to 3: BioSemi's A1, EGI's E1
_NEW_NAMES = {"t3": "t7", "t4": "t8", "t5": "p7", "t6": "p8"}  # of the ten-twenty system
_PREFIXES = {"": 1e6, "m": 1e3, "milli": 1e3, "n": 1e-3, "nano": 1e-3, "micro": 1.0, "u": 1.0} | dict.fromkeys(
    ("\u00b5", "\u03bc", "\u00e2\u00b5", "\u00ee\u00bc", "\x83\u00ea"), 1.0
)  # both letters mu of Unicode, and mu as UTF-8 and Shift-JIS read as Latin-1 and made small
_LISTED = 12  # labels that a message names


class Signals(NamedTuple):
    """The chosen channels of a file."""

    rows: np.ndarray | list[np.ndarray]  # (C, time), or (time,) each where the rates differ; float64
    rates: Sequence[float]  # Hz
    scales: Sequence[float | None]  # microvolts that 1 means; None where the file names no unit
    until: str = ""  # where the reading stopped, for messages


def check_rate(rate: float, name: str) -> None:
    """Refuse a rate that no recording of EEG has."""
    low, high = RATES
    if not low <= rate <= high:
        raise InputError(f"{name} has a sample rate of {rate:g} Hz; it must be {low} to {high}.")


def microvolts(unit: str) -> float | None:
    """How many microvolts a unit is; None where it is no unit of voltage."""
    word = unit.strip().lower()
    if word.endswith("v") and word[:-1] and all(ord(letter) > 127 for letter in word[:-1].strip()):
        return 1.0  # mu in a code page that nobody named
    ending = next((ending for ending in ("volts", "volt", "vol", "v") if word.endswith(ending)), None)
    return None if ending is None else _PREFIXES.get(word.removesuffix(ending).rstrip())


def electrode(label: str) -> str:
    """The electrode that a label names, in small letters: "EEG Fp1-Ref" and "Fp1." are "fp1"."""
    name = _REFERRED.sub("", _TYPED.sub("", label.strip())).strip(" .").lower()
    return _NEW_NAMES.get(name, name)


def is_auxiliary(label: str) -> bool:
    """Whether a label names anything but an electrode on the scalp."""
    return not electrode(label).strip("-") or _AUXILIARY.search(electrode(label)) is not None  # CHB-MIT's "-"


def choose_channels(labels: Sequence[str], count: int, names: Sequence[str], path: object) -> list[int]:
    """The channels that a lens reads.

    With `names` those, in that order. Without, all but the auxiliary ones by place; earlobes, mastoids (A1, M2) and the
    eyes of sleep recordings (E1) count only where the number is not right without them.

    Raises:
        InputError: another number of channels than `count`, or a name that the file does not have.
    """
    known = [electrode(label) for label in labels]
    if names:
        missing = [name for name in names if electrode(name) not in known]
        if missing:
            raise InputError(
                f"{path} lacks {len(missing)} of the {len(names)} channels that the lens reads: {_some(missing)}. "
                f"It has {_some(labels)}."
            )
        return [known.index(electrode(name)) for name in names]
    scalp = [number for number, label in enumerate(labels) if not is_auxiliary(label)]
    doubtful = {name for name in _EARS_OR_EYES if f"{name[0]}3" not in known}
    chosen = [number for number in scalp if known[number] not in doubtful]
    if len(chosen) != count and len(scalp) == count:
        chosen = scalp
    typed = [number for number in chosen if labels[number].strip().lower().startswith("eeg ")]
    if len(chosen) != count and len(typed) == count:
        chosen = typed  # beside "EEG Fp1", "POL E" is what else the amplifier had
    if len(chosen) != count:
        left_out = [label for number, label in enumerate(labels) if number not in set(chosen)]
        others = f", left out are {_some(left_out)}" if left_out else ""
        raise InputError(
            f"{path} has {len(chosen)} EEG channels; the lens reads {count}. Counted are "
            f"{_some([labels[number] for number in chosen])}{others}; EegSettings(names=...) chooses by name."
        )
    return chosen


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return (", ".join(name[:40] for name in names[:_LISTED]) or "none") + more
