"""ImageNet-EEG: trials of 128 channels while a picture was seen, 40 classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import InputError
from ..files.jsons import read_json
from ..files.tensors import read_pt_value
from .benchmark import Benchmark, Folders, Published, Row, Task
from .checks import whole
from .metrics import TopK

__all__ = ["BENCHMARK", "TEMPLATES", "VALIDATION"]

TEMPLATES = ("a photo of {c}.", "an image of {c}.", "a picture of {c}.")
_TRIALS, _SPLITS = "eeg_5_95_std.pth", "block_splits_by_image_all.pth"
_SHORTEST, _LONGEST = 450, 600  # samples of a trial that counts
_BLOCKS = (
    "Each class was shown in a block of its own, so the order in time tells much of the class (Li et al., TPAMI; Ahmed "
    "et al.: near chance with trials in random order; the other side: arXiv 2012.03849)."
)


def _trials(folders: Folders) -> Mapping[str, Any]:
    file = folders.find(_TRIALS)
    value = read_pt_value(file, error=InputError)
    if not isinstance(value, Mapping) or not {"dataset", "labels"} <= value.keys():
        raise InputError(f"{file} holds no dataset and labels.")
    return value


def _rows(split: str) -> Callable[[Folders], list[Row]]:
    def rows(folders: Folders) -> list[Row]:
        """Trials of the split, of 450 to 600 samples; others are left out, as in the original."""
        trials = _trials(folders)["dataset"]
        file = folders.find(_SPLITS)
        try:
            chosen = [whole(number) for number in read_pt_value(file, error=InputError)["splits"][0][split]]
            wrong = next((n for n in chosen if type(n) is not int or not 0 <= n < len(trials)), None)
            if wrong is not None:  # -2 would be a trial from the end
                raise InputError(f"{file}: split {split} has trial {wrong!r}; trials are 0 to {len(trials) - 1}.")
            kept = [number for number in chosen if _SHORTEST <= trials[number]["eeg"].shape[1] <= _LONGEST]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise InputError(f"{file} does not split the trials of {_TRIALS} ({error}).") from error
        return [Row(f"trial {n}", trials[n]["eeg"].float(), whole(trials[n]["label"])) for n in kept]

    return rows


def tasks(folders: Folders, rows: Sequence[Row]) -> list[Task]:
    """The first name of each synset, of `imagenet_cls_mapping.json`."""
    file = folders.find("imagenet_cls_mapping.json", below="modal_eeg/data")
    names = read_json(file, error=InputError)
    try:
        firsts = [_first(names[synset]) for synset in _trials(folders)["labels"]]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"{file} has no name of the class {error}.") from error
    return [Task(firsts, TEMPLATES, TopK((1, 5)))]


def _first(names: str | Sequence[str]) -> str:
    return (names if isinstance(names, str) else names[0]).split(",")[0].strip()


BENCHMARK = Benchmark(
    name="in-eeg",
    title="ImageNet-EEG, test",
    modality="eeg",
    rows=_rows("test"),
    tasks=tasks,
    published=(
        Published("ViT-Lens-L", {"top1": 42.7}, "vitlensL_eeg.pt"),
        Published("ViT-Lens-B", {"top1": 35.9}),
    ),
    notes=(_BLOCKS,),
)
VALIDATION = replace(
    BENCHMARK,
    name="in-eeg-val",
    title="ImageNet-EEG, validation",
    rows=_rows("val"),
    published=(
        Published("ViT-Lens-L", {"top1": 41.8}, "vitlensL_eeg.pt"),
        Published("ViT-Lens-B", {"top1": 37.3}),
    ),
)
