"""Touch, simulated: frames of a GelSight-like sensor pressed on materials, paired with pictures of the same surfaces.

Sensor and surfaces are made by formula (`data/gelsight.py`, `data/materials.py`). No training
saw the surfaces of the held-out frames.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lens_plugins.train.augment import TactileAugment

from ..data.gelsight import frame
from ..data.materials import MATERIALS, SEEDS, make_surface, picture
from ..data.pack import write_lines
from ..vit import SIZE
from .base import Run, Sense, close
from .pairing import write_once

__all__ = ["SENSE", "pairs", "write_heldout"]

SURFACES = {"train": 32, "val": 4}  # of each material
FRAMES = {"train": 4, "val": 2}  # of each surface
PICTURES = 3  # of each surface, in its own and two other colours: touch knows no colour
PER_MATERIAL = 10
QUALITY = 95  # of held-out frames and pictures as JPEG; the loss is that of the sensor's own noise


def pairs(work: Path) -> Path:
    """Frames as files of 128 px, each with pictures of its surface and names of its material; 75 s on one core."""
    return write_once(work / "pairs-tactile", lambda folder: list(_pairs(folder)))


def _pairs(folder: Path) -> Iterator[dict[str, Any]]:
    (folder / "frames").mkdir()
    (folder / "pictures").mkdir()
    for split, count in SURFACES.items():
        for material, seed in ((m, s) for m in MATERIALS for s in SEEDS[split][:count]):
            key = f"{material.replace(' ', '-')}-{seed}"
            images, surface = _save_pictures(folder, material, seed, key), make_surface(material, seed)
            for number in range(FRAMES[split]):
                name = f"frames/{key}-{number}.png"
                Image.fromarray(frame(surface, number)).save(folder / name, compress_level=1)
                shown = {"image": images, "text": _texts(material), "split": split}
                yield {"modality": "tactile", "path": name, **shown, "id": f"tactile-{key}-{number}"}


def _save_pictures(folder: Path, material: str, seed: int, key: str) -> list[str]:
    """Pictures of one relief in as many colours as there are pictures; their names below `folder`."""
    own, known = make_surface(material, seed), sorted(set(MATERIALS[material].colours))
    others = [known[(known.index(own.colour) + step) % len(known)] for step in range(1, PICTURES)]
    names = [f"pictures/{key}-{view}.png" for view in range(PICTURES)]
    for view, surface in enumerate([own, *(make_surface(material, seed, colour) for colour in others)]):
        _resized(picture(surface, view)).save(folder / names[view])
    return names


def _resized(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def _texts(material: str) -> list[str]:
    """The name, and the caption without a colour: "brick" and "a brick wall"."""
    return sorted({material, " ".join(MATERIALS[material].caption.format("").split())})


def write_heldout(work: Path, target: Path) -> int:
    """One press on each of ten new surfaces of every material, and a picture of each surface."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    cases: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    for material, seed in ((m, s) for m in MATERIALS for s in SEEDS["heldout"][:PER_MATERIAL]):
        surface, number = make_surface(material, seed), len(cases)
        row = {"label": material, "words": list(MATERIALS[material].words), "seed": seed}
        shown = {"simulated": True, "licence": "generated"}
        for kept, name, image in (
            (cases, f"{number:03d}.jpg", Image.fromarray(frame(surface, 0))),
            (pictures, f"picture{number:03d}.jpg", _resized(picture(surface, 0))),
        ):
            image.save(target / name, quality=QUALITY, subsampling=0)
            kept.append({"file": name, **row, **shown})
    write_lines(target / "index.jsonl", cases)
    write_lines(target / "pictures.jsonl", pictures)
    return len(cases)


_VARIED = TactileAugment(smallest_crop=0.7)

SENSE = Sense(
    modality="tactile",
    pairs=pairs,
    write_heldout=write_heldout,
    runs=(
        Run(
            "first",
            _VARIED,
            {
                "steps": 1000,
                "batch_size": 48,
                "optimizer": "muon",
                "lr": 2e-3,
                "weight_decay": 0.1,
                "views": "mean",
                "image_weight": 0.25,
            },
        ),
        close(_VARIED, steps=100, optimizer="muon", weight_decay=0.1),
    ),
)
