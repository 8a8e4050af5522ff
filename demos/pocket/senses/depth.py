"""Depth: what a depth camera would measure of the packs' objects, paired with pictures of the same views.

Objects are taken to have a radius of 0.75 m, which puts the cameras 0.8 to 4 m away, where such cameras work. Pairs
hold clean maps, to which training adds noise and holes anew each time (`train.augment.DepthAugment`); held-out maps
went through `measured`, another model of the sensor, once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lens_plugins.inputs.depth import KINECT_FOCAL
from lens_plugins.train.augment import DepthAugment

from ..data.classes import WORDS
from ..data.pack import read_lines, write_lines
from ..data.render import SIDE
from ..heldout import VIEWS as HELD_OUT_VIEWS
from ..packs import Pictures
from ..vit import held_out
from .base import Run, Sense, close
from .pairing import facts, left_out, object_pairs, save_pictures, views_of

__all__ = ["RADIUS", "SENSE", "measured"]

RADIUS = 0.75  # metres
PAIRED = (0, 1, 3, 4, 6, 7)  # of the views that have depth; three of them are among those of the point clouds' pairs
OTHERS = 2  # pictures of other views beside the own one
SHOWN = 2  # held-out views of an object

# Kinect v1 (Khoshelham & Elberink 2012; Nguyen, Izadi & Lovell 2012)
STEP = 2.85e-3  # 1 / m, between two readings of inverse depth: 7 cm at 5 m
NOISE = 1.9e-3  # 1 / m, standard deviation of inverse depth: grows with the square of the distance
JUMP = 0.06  # of the depth, between neighbours, that makes an edge
AT_EDGES, ANYWHERE, BLOBS = 0.5, 0.02, 3  # shares of pixels lost; most holes of dark or shiny places


def pairs(work: Path) -> Path:
    """Clean depth maps as 16-bit PNG in millimetres, each with the picture of its view twice and of two others once.

    Held-out generated objects become the validation split; held-out catalogue objects are left out altogether.
    """
    return object_pairs(work, "pairs-depth", _pairs_of)


def _pairs_of(pack: Path, folder: Path) -> Iterator[dict[str, Any]]:
    pictures = Pictures.open([pack])
    depths = np.load(pack / "depth.npy", mmap_mode="r", allow_pickle=False)
    for name, numbers in views_of(pictures).items():
        row = pictures.rows[numbers[0]]
        if left_out(row, pack):
            continue
        home = f"{pack.name}/{name.replace('/', '_')}"
        taken = {n: view for n in numbers if (view := pictures.rows[n]["view"]) in PAIRED and _has_depth(pictures, n)}
        save_pictures(pictures, {n: folder / f"{home}/view{view}.png" for n, view in taken.items()})
        for n, view in taken.items():
            save_depth(metres(depths[pictures.rows[n]["depth"]]), folder / f"{home}/depth{view}.png")
            others = np.random.default_rng([view, len(name)]).permutation([v for v in taken.values() if v != view])
            yield {
                "modality": "depth",
                "path": f"{home}/depth{view}.png",
                "image": [f"{home}/view{v}.png" for v in (view, view, *others[:OTHERS])],
                **facts(row),
                "id": f"{name}/{view}",
            }


def _has_depth(pictures: Pictures, number: int) -> bool:
    return pictures.rows[number]["depth"] is not None


def metres(rendered: np.ndarray) -> np.ndarray:
    """Depth in thousandths of the object's radius, 0 where nothing is, to metres."""
    return rendered.astype(np.float64) * (RADIUS / 1000)


def save_depth(depth: np.ndarray, path: Path) -> None:
    """Metres as a 16-bit PNG in millimetres."""
    Image.fromarray((depth * 1000).round().clip(0, 65535).astype(np.uint16)).save(path)


# ---- the sensor


def measured(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a structured-light camera reports of a depth map in metres (H, W): noise, steps and holes (0)."""
    seen = depth > 0
    inverse = np.where(seen, 1 / np.maximum(depth, 1e-3), 0.0)
    inverse = inverse + rng.normal(0, NOISE, depth.shape)
    inverse = np.maximum((inverse / STEP).round(), 1) * STEP
    lost = _lost_at_edges(depth, rng) | (rng.random(depth.shape) < ANYWHERE) | _blobs(depth, rng)
    return np.where(seen & ~lost, 1 / inverse, 0.0)


def _lost_at_edges(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # (H, W) -> (H, W) bool
    padded = np.pad(depth, 1, "edge")
    height, width = depth.shape
    shifted = [padded[1 + a : 1 + a + height, 1 + b : 1 + b + width] for a, b in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    jump = np.max([np.abs(other - depth) for other in shifted], axis=0) > JUMP * depth
    return jump & (rng.random(depth.shape) < AT_EDGES)


def _blobs(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # (H, W) -> (H, W) bool
    """Up to BLOBS round holes on the object."""
    rows, columns = np.nonzero(depth)
    lost = np.zeros(depth.shape, bool)
    if not len(rows):
        return lost
    down, right = np.mgrid[: depth.shape[0], : depth.shape[1]]
    for place in rng.integers(len(rows), size=rng.integers(BLOBS + 1)):
        lost |= (down - rows[place]) ** 2 + (right - columns[place]) ** 2 < rng.uniform(2, 6) ** 2
    return lost


# ---- held out


def write_heldout(work: Path, target: Path) -> int:
    """Two measured views of each held-out catalogue object, with an index; returns their number."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    pack = work / "pack" / "sweethome"
    lines: list[dict[str, Any]] = []
    pictures = Pictures.open([pack])
    depths = np.load(pack / "depth.npy", mmap_mode="r", allow_pickle=False)
    numbers = [n for n in held_out(pictures.rows, HELD_OUT_VIEWS) if _has_depth(pictures, n)]
    for n in sorted(numbers, key=lambda n: (pictures.rows[n]["object"], pictures.rows[n]["view"])):
        row, name = pictures.rows[n], f"{len(lines):03d}.png"
        depth = metres(depths[row["depth"]])
        save_depth(measured(depth, np.random.default_rng([3, len(lines)])), target / name)
        kept = {"object": row["object"], "label": row["class"], "words": list(WORDS.get(row["class"], ()))}
        lines.append({"file": name, **kept, "view": row["view"], "licence": row["licence"]})
    write_lines(target / "index.jsonl", lines)
    write_lines(target / "pictures.jsonl", _picture_lines(target.parent / "objects"))
    return len(lines)


def _picture_lines(objects: Path) -> list[dict[str, Any]]:
    """Pictures of the same objects from the same views, as places in the strips of the held-out objects."""
    return [
        {"label": row["class"], "words": row["words"], "strip": f"../{objects.name}/{row['strip']}", "place": place}
        for row in read_lines(objects / "index.jsonl")
        for place in range(SHOWN)
    ]


_VARIED = DepthAugment(
    smallest_crop=0.8,
    erase=0.15,
    largest_hole=0.3,
    erased=DepthAugment().missing,
    nearer=(0.75, 1.35),
    wall=0.2,
    noise=0.03,
    edge=0.5,
    drop=0.04,
)

_MUON = {"batch_size": 64, "optimizer": "muon", "weight_decay": 0.1}

SENSE = Sense(
    modality="depth",
    pairs=pairs,
    write_heldout=write_heldout,
    runs=(
        Run("first", _VARIED, {**_MUON, "steps": 450, "lr": 2e-3}),
        Run("further", _VARIED, {**_MUON, "steps": 350, "lr": 1e-3}),
        close(_VARIED, steps=150, optimizer="muon", weight_decay=0.1),
    ),
    # true metres, whatever the map's width: 2.5 m become the mean disparity of the recipe
    lens={"unit_scale": 1.0, "focal_px": round(KINECT_FOCAL * SIDE, 2), "holes": "far"},
)
