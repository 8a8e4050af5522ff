"""Which benchmarks there are: a name, the file that describes it, one line for `--help`. Nothing heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ..catalog import resolve
from ..errors import ConfigError

if TYPE_CHECKING:
    from .benchmark import Benchmark

__all__ = ["BENCHMARKS", "Named", "find_benchmark"]

_HERE = "lens_plugins.evaluate"


@dataclass(frozen=True)
class Named:
    """Where a benchmark is described, and what it is."""

    where: str  # "module:NAME" of a `Benchmark`
    title: str


BENCHMARKS = {
    "modelnet40": Named(f"{_HERE}.modelnet40:BENCHMARK", "Point clouds: ModelNet40 as ULIP has it."),
    "modelnet40-openshape": Named(f"{_HERE}.openshape:MODELNET40", "Point clouds: ModelNet40 as OpenShape has it."),
    "scanobjectnn": Named(f"{_HERE}.scanobjectnn:BENCHMARK", "Point clouds: ScanObjectNN as OpenShape has it."),
    "objaverse-lvis": Named(f"{_HERE}.objaverse_lvis:BENCHMARK", "Point clouds: Objaverse-LVIS, 1,156 classes."),
    "sun-d": Named(f"{_HERE}.sun_d:BENCHMARK", "Depth maps: SUN RGB-D, 19 scenes."),
    "nyu-d": Named(f"{_HERE}.nyu_d:BENCHMARK", "Depth maps: NYU Depth v2, 10 scenes."),
    "audioset": Named(f"{_HERE}.audioset:BENCHMARK", "Sounds: AudioSet, 527 classes, mAP."),
    "vggsound": Named(f"{_HERE}.vggsound:BENCHMARK", "Sounds: VGGSound, 309 classes."),
    "esc50": Named(f"{_HERE}.esc50:BENCHMARK", "Sounds: ESC-50, all five folds."),
    "clotho": Named(f"{_HERE}.clotho:BENCHMARK", "Sounds and captions: Clotho."),
    "audiocaps": Named(f"{_HERE}.audiocaps:BENCHMARK", "Sounds and captions: AudioCaps, ImageBind's 813."),
    "audiocaps-full": Named(f"{_HERE}.audiocaps:FULL", "Sounds and captions: AudioCaps, all 963."),
    "touch-material": Named(f"{_HERE}.touch_and_go:MATERIAL", "Touch: Touch-and-Go, 20 materials."),
    "touch-hard": Named(f"{_HERE}.touch_and_go:HARD", "Touch: Touch-and-Go, hard or soft."),
    "touch-rough": Named(f"{_HERE}.touch_and_go:ROUGH", "Touch: Touch-and-Go, rough or smooth."),
    "touch-material-spelt": Named(f"{_HERE}.touch_and_go:MATERIAL_SPELT", "touch-material with rubber spelt right."),
    "touch-hard-spelt": Named(f"{_HERE}.touch_and_go:HARD_SPELT", "touch-hard with material spelt right."),
    "touch-rough-spelt": Named(f"{_HERE}.touch_and_go:ROUGH_SPELT", "touch-rough with material spelt right."),
    "in-eeg": Named(f"{_HERE}.in_eeg:BENCHMARK", "EEG: ImageNet-EEG, 40 classes, split test."),
    "in-eeg-val": Named(f"{_HERE}.in_eeg:VALIDATION", "EEG: ImageNet-EEG, 40 classes, split val."),
    "pairs": Named(f"{_HERE}.pairs:BENCHMARK", "Your own pairs: labels, texts or pictures in JSON lines."),
}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in BENCHMARKS:
        near = get_close_matches(name, BENCHMARKS, n=1)
        raise ConfigError(
            f"There is no benchmark {name!r}; "
            + (f"did you mean {near[0]!r}? " if near else "")
            + f"Known: {', '.join(BENCHMARKS)}."
        )
    found: Benchmark = resolve(BENCHMARKS[name].where)
    return found
